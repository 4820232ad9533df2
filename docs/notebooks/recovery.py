"""Where an analyst begins: the snapshot opened, and the first questions asked of it in SQL: `make explore`."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="What was recovered")


@app.cell
def _():
    import altair as alt
    import duckdb
    import marimo as mo
    import pandas as pd

    from tinko_pipelines.console import application
    from tinko_pipelines.errors import TinkoError

    return TinkoError, alt, application, duckdb, mo, pd


@app.cell
def _(mo):
    mo.md("""
    # What was recovered

    The snapshot is one DuckDB file with the marts alone. It is swapped in whole after each good build, so it can be read
    at any time, by this notebook, the DuckDB shell or a BI tool. Nothing here can change it. Every table and every column
    carries its description, every metric its definition; amounts are integer minor units and never cross a currency.
    """)


@app.cell
def _(TinkoError, application, duckdb, mo):
    tinko = application()
    try:
        tinko.summary()
    except TinkoError as _error:
        mo.stop(True, mo.callout(mo.md(f"Nothing to look at: {_error}"), kind="danger"))
    snapshot = duckdb.connect(str(tinko.settings.snapshot_path), read_only=True)
    snapshot.execute("SET TimeZone = 'UTC'")
    as_of, live = snapshot.execute(
        "SELECT (SELECT max(as_of) AT TIME ZONE 'UTC' FROM build_info), (SELECT coalesce(bool_or(livemode), false) FROM fct_failed_payments)"
    ).fetchall()[0]
    mo.md(
        f"`{tinko.settings.snapshot_path}`, built as of **{as_of:%Y-%m-%d %H:%M}** UTC, {'live' if live else 'test'} mode."
        " After a new build restart the notebook: an open connection keeps the file it has opened."
    )
    return as_of, live, snapshot, tinko


@app.cell
def _(mo):
    mo.md("""
    ## 1. The headline, by name

    A metric is asked for by its name, as `tinko metric` does; what it means is written in the snapshot beside it.
    """)


@app.cell
def _(mo, snapshot):
    definitions = mo.sql(
        """
        SELECT metric, label, unit, description, made_of FROM metrics ORDER BY made_of, metric
        """,
        engine=snapshot,
    )
    return (definitions,)


@app.cell
def _(mo, snapshot, tinko):
    headline = mo.sql(
        tinko.metrics_sql(
            [
                "failed_count",
                "recovered_count",
                "recovery_rate_count",
                "closed_count",
                "recovery_rate_closed_count",
            ],
            [],
            "",
        ),
        engine=snapshot,
    )
    return (headline,)


@app.cell
def _(mo, snapshot, tinko):
    by_currency = mo.sql(
        tinko.metrics_sql(
            ["failed_amount_minor", "recovered_amount_minor", "recovery_rate_amount", "open_amount_minor"],
            ["currency"],
            "",
        ),
        engine=snapshot,
    )
    return (by_currency,)


@app.cell
def _(mo):
    mo.md("""
    ## 2. Cohorts

    A debt belongs to the month in which its first charge failed, and stays there. A month that is not mature will rise.
    """)


@app.cell
def _(live, mo, snapshot):
    cohorts = mo.sql(
        f"""
        SELECT cohort_month, bool_and(is_mature) AS is_mature,
          sum(failed_count)::bigint AS failed_count, sum(recovered_count)::bigint AS recovered_count,
          sum(closed_count)::bigint AS closed_count, sum(recovered_count) / sum(failed_count) AS recovery_rate_count,
          sum(restated_count)::bigint AS restated_count
        FROM recovery_cohorts WHERE livemode = {live} GROUP BY cohort_month ORDER BY cohort_month
        """,
        engine=snapshot,
    )
    return (cohorts,)


@app.cell
def _(alt, cohorts, mo, pd):
    _frame = pd.DataFrame(cohorts).assign(cohort_month=lambda frame: frame["cohort_month"].astype(str))
    mo.ui.altair_chart(
        alt.Chart(_frame, title="Recovered of failed, by month of failure", width=560, height=200)
        .mark_bar()
        .encode(
            alt.X("cohort_month:N", title=None),
            alt.Y("recovery_rate_count:Q", title="recovered", axis=alt.Axis(format="%")),
            alt.Opacity("is_mature:N", scale=alt.Scale(domain=[True, False], range=[1, 0.4]), title="mature"),
            tooltip=[
                "cohort_month",
                "recovered_count",
                "failed_count",
                alt.Tooltip("recovery_rate_count", format=".1%"),
            ],
        ),
        chart_selection=False,
        legend_selection=False,
    )


@app.cell
def _(mo):
    mo.md("""
    ## 3. Which decline code lost us most money, and would more retries have helped?

    What stopped after attempt *n*, times the success rate of attempt *n* + 1 on other debts with the same code: what one
    more attempt would have brought, if those debts were like the ones that got it. The rate is over all months and
    currencies; `rate_from_at_least` says how many attempts it rests on. Below some thirty it says little, and null means
    that nobody ever tried once more. Debts that were cancelled, or whose card the last answer forbade, are not among them.
    """)


@app.cell
def _(cohorts, mo, pd, snapshot, as_of):
    _months = [str(month)[:10] for month in pd.DataFrame(cohorts)["cohort_month"]]
    _last = str((pd.Timestamp(as_of).to_period("M") - 1).start_time.date())
    _currencies = [
        row[0]
        for row in snapshot.execute(
            "SELECT currency FROM recovery_cohorts GROUP BY currency ORDER BY sum(failed_count) DESC, currency"
        ).fetchall()
    ]
    month = mo.ui.dropdown(
        _months, value=_last if _last in _months else next(iter(_months[-1:]), None), label="Failed in"
    )
    currency = mo.ui.dropdown(_currencies, value=next(iter(_currencies), None), label="Currency")
    mo.hstack([month, currency], justify="start")
    return currency, month


@app.cell
def _(currency, live, mo, month, snapshot):
    mo.stop(month.value is None, mo.md("*No payment has failed.*"))
    lost_by_code = mo.sql(
        f"""
        WITH lost AS (
          SELECT decline_code, sum(failed_count)::bigint AS failed_count, sum(lost_count)::bigint AS lost_count,
            sum(lost_amount_minor)::bigint AS lost_amount_minor,
            sum(never_retried_lost_amount_minor)::bigint AS never_retried_lost_amount_minor
          FROM recovery_by_decline_code
          WHERE livemode = {live} AND cohort_month = date '{month.value}' AND currency = '{currency.value}'
          GROUP BY decline_code
        ), stopped AS (
          SELECT decline_code, attempt_number, sum(stopped_amount_minor)::bigint AS stopped_amount_minor
          FROM recovery_by_attempt_number
          WHERE livemode = {live} AND cohort_month = date '{month.value}' AND currency = '{currency.value}'
            AND stopped_count > 0
          GROUP BY decline_code, attempt_number
        ), tried AS (
          SELECT decline_code, attempt_number, sum(executed_count)::bigint AS executed_count,
            sum(succeeded_count) / sum(executed_count) AS success_rate
          FROM recovery_by_attempt_number WHERE livemode = {live} GROUP BY decline_code, attempt_number
        ), one_more AS (
          SELECT s.decline_code, sum(s.stopped_amount_minor)::bigint AS stopped_amount_minor,
            coalesce(sum(s.stopped_amount_minor) FILTER (WHERE t.executed_count IS NULL), 0)::bigint AS nobody_was_tried_further_minor,
            round(sum(s.stopped_amount_minor * t.success_rate))::bigint AS of_the_rest_one_more_would_bring_minor,
            min(t.executed_count)::bigint AS rate_from_at_least
          FROM stopped AS s
          LEFT JOIN tried AS t ON t.decline_code = s.decline_code AND t.attempt_number = s.attempt_number + 1
          GROUP BY s.decline_code
        )
        SELECT lost.*, one_more.* EXCLUDE (decline_code) FROM lost LEFT JOIN one_more USING (decline_code)
        ORDER BY lost_amount_minor DESC, decline_code
        """,
        engine=snapshot,
    )
    return (lost_by_code,)


@app.cell
def _(mo):
    mo.md("""
    ## 4. How long it takes, by category

    Cumulative incidence: debts still owed count for as long as they have been followed, cancellations compete.
    """)


@app.cell
def _(live, mo, snapshot):
    curves = mo.sql(
        f"""
        SELECT category, day, recovered_incidence, at_risk_count, failed_count FROM time_to_recover
        WHERE livemode = {live} AND account_id = (
          SELECT account_id FROM fct_failed_payments WHERE livemode = {live}
          GROUP BY account_id ORDER BY count(*) DESC, account_id LIMIT 1)
        ORDER BY category, day
        """,
        engine=snapshot,
    )
    return (curves,)


@app.cell
def _(alt, curves, mo, pd):
    mo.ui.altair_chart(
        alt.Chart(pd.DataFrame(curves), width=560, height=260)
        .mark_line(interpolate="step-after")
        .encode(
            alt.X("day:Q", title="days since the failure"),
            alt.Y("recovered_incidence:Q", title="recovered", axis=alt.Axis(format="%")),
            alt.Color("category:N", title=None),
            tooltip=[
                "category",
                "day",
                alt.Tooltip("recovered_incidence", format=".1%"),
                "at_risk_count",
                "failed_count",
            ],
        ),
        chart_selection=False,
        legend_selection=False,
    )


@app.cell
def _(mo):
    mo.md("""
    ## 5. Slices

    Any metric by any column it knows; `tinko metric recovery_rate_count --by plan_name,card_country` is the same.
    """)


@app.cell
def _(mo):
    slice_by = mo.ui.multiselect(
        [
            "plan_name", "card_country", "card_brand", "card_funding", "card_issuer", "amount_band", "category",
            "policy_version", "model_version", "experiment_arm", "account_id",
        ],
        value=["plan_name", "card_country"],
        label="By",
    )  # fmt: skip
    slice_by
    return (slice_by,)


@app.cell
def _(mo, slice_by, snapshot, tinko):
    sliced = mo.sql(
        tinko.metrics_sql(
            ["failed_count", "recovered_count", "recovery_rate_count", "recovery_rate_closed_count"],
            slice_by.value,
            "",
        ),
        engine=snapshot,
    )
    return (sliced,)


@app.cell
def _(mo):
    mo.md("""
    ## 6. Take it with you

    Each table above can be downloaded from its own menu. A whole mart is one statement, here or in the DuckDB shell:
    `COPY recovery_cohorts TO 'cohorts.parquet'`. Below, the table of section 3 as CSV that spreadsheets open as it is.
    """)


@app.cell
def _(lost_by_code, mo, month, pd):
    exported = pd.DataFrame(lost_by_code).to_csv(index=False).encode("utf-8-sig")
    mo.download(
        exported, filename=f"lost_by_code_{month.value}.csv", label="Download as CSV", mimetype="text/csv"
    )
    return (exported,)


if __name__ == "__main__":
    app.run()
