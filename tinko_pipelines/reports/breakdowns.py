"""The report's tables that are one query each: hours, mails, risk, subscriptions, uplift, network rules, what was restated."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tinko_pipelines.reports.metrics import MODE, measured, rows

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]
ROWS_MAX = 60
MONTHS_MAX = 24
RECENT = f"""(SELECT max({{0}}) - INTERVAL {MONTHS_MAX - 1} MONTH FROM {{1}} WHERE {MODE})"""
QUERIES = {
    "risk": f"""SELECT currency, standing, sum(open_count)::bigint AS open_count,
        sum(open_amount_minor)::bigint AS open_amount_minor, min(oldest_failed_at) AS oldest_failed_at
        FROM revenue_at_risk WHERE {MODE} GROUP BY ALL ORDER BY currency, open_amount_minor DESC""",
    "predicted": f"""SELECT currency, sum(open_count)::bigint AS open_count, sum(predicted_count) AS predicted_count,
        sum(open_amount_minor)::bigint AS open_amount_minor, sum(predicted_amount_minor)::bigint AS predicted_amount_minor
        FROM predicted_recovery WHERE {MODE} GROUP BY currency ORDER BY open_count DESC, currency""",
    "saved": f"""SELECT cohort_month, currency, sum(subscriptions_at_risk)::bigint AS at_risk,
        sum(subscriptions_saved)::bigint AS saved, sum(subscriptions_undecided)::bigint AS undecided,
        sum(subscriptions_ended)::bigint AS ended, sum(mrr_at_risk_minor)::bigint AS mrr_at_risk_minor,
        sum(mrr_saved_minor)::bigint AS mrr_saved_minor FROM subscriptions_saved
        WHERE {MODE} AND cohort_month >= {RECENT.format("cohort_month", "subscriptions_saved")}
        GROUP BY ALL ORDER BY ALL""",
    "churn": f"""SELECT ended_month, currency, sum(ended_count)::bigint AS ended,
        sum(involuntary_count)::bigint AS involuntary, sum(left_while_owing_count)::bigint AS left_while_owing,
        sum(ended_mrr_minor)::bigint AS ended_mrr_minor, sum(involuntary_mrr_minor)::bigint AS involuntary_mrr_minor
        FROM involuntary_churn
        WHERE {MODE} AND ended_month >= {RECENT.format("ended_month", "involuntary_churn")} GROUP BY ALL ORDER BY ALL""",
    "uplift": f"""SELECT * FROM experiment_uplift WHERE {MODE}
        ORDER BY experiment <> 'retries', subjects DESC, account_id, experiment, arm LIMIT {ROWS_MAX}""",
    "compliance": f"""SELECT network, rule, sum(refusals)::bigint AS refusals, sum(excess_attempts)::bigint AS excess_attempts,
        sum(own_excess_attempts)::bigint AS own_excess_attempts, sum(avoided_attempts)::bigint AS avoided_attempts,
        fee_currency, sum(incurred_fee_minor)::bigint AS incurred_fee_minor, sum(avoided_fee_minor)::bigint AS avoided_fee_minor
        FROM network_compliance WHERE {MODE} GROUP BY network, rule, fee_currency
        ORDER BY excess_attempts DESC, refusals DESC, rule LIMIT {ROWS_MAX}""",
    "restated": f"""SELECT cohort_month, currency, sum(restated_count)::bigint AS restated_count,
        sum(paid_amount_minor)::bigint AS paid_amount_minor, sum(reversed_amount_minor)::bigint AS reversed_amount_minor,
        sum(recovered_amount_minor)::bigint AS recovered_amount_minor, max(last_restated_at) AS last_restated_at
        FROM recovery_cohorts WHERE {MODE} GROUP BY ALL HAVING sum(restated_count) > 0
        ORDER BY cohort_month DESC, currency LIMIT {ROWS_MAX}""",
    "troubled": f"""SELECT template, step, sum(dropped_count)::bigint AS dropped_count,
        sum(troubled_count)::bigint AS troubled_count FROM recovery_by_message_step WHERE {MODE} GROUP BY ALL""",
}
HOURS = ("executed_count", "succeeded_count", "success_rate")
MAILS = ("sent_count", "followed_count", "payment_rate", "bounced_count", "clicked_count")


def breakdowns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Row]]:
    """The rows of each table by its name; `hours` has a row for each weekday and hour that was tried."""
    found = {name: rows(connection, sql) for name, sql in QUERIES.items()}
    found["hours"] = measured(connection, HOURS, ["weekday", "hour_of_day"], mart="recovery_by_hour")
    found["weekdays"] = measured(connection, HOURS, ["weekday"], mart="recovery_by_hour")
    step = "recovery_by_message_step"
    troubled = {(row["template"], row["step"]): row for row in found.pop("troubled")}
    paid: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in measured(connection, ("followed_amount_minor",), ["template", "step", "currency"], mart=step):
        if row["followed_amount_minor"]:
            paid[row["template"], row["step"]].append(row)
    found["mails"] = [
        row | troubled[row["template"], row["step"]] | {"amounts": paid[row["template"], row["step"]]}
        for row in measured(connection, MAILS, ["template", "step"], mart=step)
    ]
    return found
