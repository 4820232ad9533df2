"""A history of sixty-three hard cases: each debt, and every mart, against numbers worked out by hand."""

from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import duckdb
import pytest

from tests.reports.history import AS_OF, CODES, History, history
from tests.reports.synthetic import settings_in
from tinko_pipelines.reports.dbt_runner import build
from tinko_pipelines.reports.metrics import catalogue, measured
from tinko_pipelines.reports.snapshot import opened, publish
from tinko_pipelines.settings import Settings

Ask = Callable[[str], list[tuple[Any, ...]]]
DEBTS = 63


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, History]:
    settings, made = settings_in(tmp_path_factory.mktemp("history")), history()
    made.write(settings)
    build(settings, AS_OF)
    publish(settings)
    return settings, made


@pytest.fixture(scope="module")
def ask(lived: tuple[Settings, History]) -> Iterable[Ask]:
    with duckdb.connect(str(lived[0].snapshot_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield lambda sql: connection.execute(sql).fetchall()


def test_each_debt_comes_to_what_was_worked_out(lived: tuple[Settings, History], ask: Ask) -> None:
    wants = lived[1].wants
    assert len(wants) == DEBTS
    found = ask(
        "SELECT account_id, debt_id, outcome, recovered_by, paid_amount_minor, recovered_amount_minor, is_closed,"
        " days_to_recover FROM fct_failed_payments"
    )
    assert {row[:2] for row in found} == set(wants)
    for account, debt, *rest, days in found:
        want = wants[account, debt]
        assert rest == [want.outcome, want.by, want.paid, want.kept, want.closed], debt
        assert days == (None if want.days is None else pytest.approx(want.days, abs=1e-9)), debt


def test_cohorts_are_months_in_utc_by_account_and_currency(ask: Ask) -> None:
    found = ask(
        "SELECT account_id, currency, strftime(cohort_month, '%m'), failed_count, failed_amount_minor, recovered_count,"
        " recovered_amount_minor, closed_count, closed_amount_minor, lost_count, lost_amount_minor, paid_amount_minor,"
        " reversed_amount_minor, restated_count, is_mature FROM recovery_cohorts ORDER BY ALL"
    )
    assert found == [
        ("a", "eur", "02", 2, 5_000, 1, 2_000, 1, 2_000, 0, 0, 2_000, 0, 0, True),
        ("a", "jpy", "02", 2, 10_000, 2, 9_999, 2, 10_000, 0, 1, 10_000, 1, 1, True),
        ("a", "kwd", "02", 1, 12_345, 1, 12_345, 1, 12_345, 0, 0, 12_345, 0, 0, True),
        ("a", "usd", "01", 33, 33_000, 27, 25_900, 32, 32_000, 4, 5_100, 31_000, 5_100, 7, True),
        ("a", "usd", "02", 19, 20_500, 5, 4_800, 13, 14_500, 8, 9_700, 4_800, 0, 0, False),
        ("a", "usd", "03", 4, 3_400, 1, 1_000, 1, 1_000, 0, 0, 1_000, 0, 0, False),
        ("b", "usd", "02", 2, 16_000, 1, 7_000, 1, 7_000, 0, 0, 7_000, 0, 0, True),
    ]
    rates = ask(
        "SELECT recovery_rate_count, recovery_rate_amount, recovery_rate_closed_count, recovery_rate_closed_amount"
        " FROM recovery_cohorts WHERE currency = 'usd' AND cohort_month = '2028-01-01'"
    )
    assert rates == [pytest.approx((27 / 33, 25_900 / 33_000, 27 / 32, 25_900 / 32_000))]
    restated = (
        "SELECT max(last_restated_at)::date::varchar FROM recovery_cohorts WHERE cohort_month = '2028-01-01'"
    )
    assert ask(restated) == [("2028-03-01",)]


def test_what_went_back_late_is_told_with_its_day(ask: Ask) -> None:
    found = ask(
        "SELECT debt_id, reversed_amount_minor, disputed_amount_minor, strftime(restated_at, '%m-%d')"
        " FROM fct_failed_payments WHERE is_restated ORDER BY debt_id"
    )
    assert found == [
        ("in_back_and_lost", 1000, 700, "02-12"),
        ("in_disputed_now", 1000, 1000, "03-01"),
        ("in_lost", 1000, 1000, "02-12"),
        ("in_part_back", 300, 0, "02-10"),
        ("in_part_lost", 400, 400, "02-12"),
        ("in_refunded", 1000, 0, "02-10"),
        ("in_twice_back", 400, 0, "02-11"),
        ("pi_yen_part", 1, 0, "02-20"),
    ]


def test_what_brought_the_money(ask: Ask) -> None:
    found = ask(
        "SELECT recovered_by, sum(recovered_count), sum(recovered_amount_minor), max(all_recovered_count)"
        " FROM recovery_by_method WHERE account_id = 'a' AND currency = 'usd' AND cohort_month = '2028-01-01'"
        " GROUP BY 1 ORDER BY 1"
    )
    assert found == [
        ("after_mail", 6, 6_000, 27), ("customer", 6, 6_000, 27), ("other", 1, 1_000, 27),
        ("own_retry", 12, 10_900, 27), ("stripe_retry", 2, 2_000, 27),
    ]  # fmt: skip


def test_by_decline_code_with_what_was_never_tried(ask: Ask) -> None:
    found = ask(
        "SELECT decline_code, category, failed_count, recovered_count, lost_count, lost_amount_minor, own_attempts,"
        " never_retried_lost_count, never_retried_lost_amount_minor FROM recovery_by_decline_code"
        " WHERE account_id = 'a' AND currency = 'usd' AND cohort_month = '2028-02-01' ORDER BY 1"
    )
    assert found == [
        ("do_not_honor", "do_not_honor", 2, 0, 2, 3_500, 3, 1, 2_500),
        ("insufficient_funds", "insufficient_funds", 17, 5, 6, 6_200, 1, 6, 6_000),
    ]
    assert ask("SELECT sum(failed_count) FROM recovery_by_category WHERE category = 'card_expired'") == [(4,)]


def test_by_attempt_number_pages_left_out(ask: Ask) -> None:
    found = ask(
        "SELECT attempt_number, sum(executed_count), sum(succeeded_count), sum(stopped_count),"
        " sum(stopped_amount_minor) FROM recovery_by_attempt_number GROUP BY 1 ORDER BY 1"
    )
    assert found == [(1, 22, 15, 0, 0), (2, 5, 3, 0, 0), (3, 2, 1, 1, 1_000)]
    order = "SELECT executed_n, is_succeeded FROM fct_attempts WHERE debt_id = 'in_one_second' ORDER BY n"
    assert ask(order) == [(1, False), (2, True)]
    hours = "SELECT sum(executed_count), sum(succeeded_count) FROM recovery_by_hour"
    assert ask(hours) == [(29, 19)]
    eleventh = "SELECT hour_of_day, weekday FROM recovery_by_hour WHERE executed_count > 10"
    assert ask(eleventh) == [(8, 2)], "the fourth and the eleventh of January 2028 were Tuesdays"


def test_by_mail(ask: Ask) -> None:
    found = ask(
        "SELECT sum(sent_count), sum(followed_count), sum(dropped_count), sum(followed_amount_minor)"
        " FROM recovery_by_message_step"
    )
    assert found == [(11, 9, 1, 9_000)]


def test_what_it_took(ask: Ask) -> None:
    found = ask(
        "SELECT sum(executed_attempts), sum(declined_attempts), sum(messages_sent),"
        " sum(disputes_after_recovery_count), sum(disputes_after_recovery_amount_minor) FROM retry_costs"
    )
    assert found == [(29, 10, 11, 4, 3_100)]


def test_days_of_failures_and_of_cash(ask: Ask) -> None:
    found = ask(
        "SELECT strftime(day, '%m-%d'), first_attempt_count, failed_first_attempt_count, recovered_of_day_count,"
        " cash_count, cash_amount_minor FROM recovery_daily WHERE account_id = 'a' AND currency = 'usd'"
        " AND day IN ('2028-01-13', '2028-01-31', '2028-02-01', '2028-02-29', '2028-03-01') ORDER BY 1"
    )
    assert found == [
        ("01-13", 3, 0, 0, 2, 2_000),
        ("01-31", 1, 1, 1, 0, 0),
        ("02-01", 2, 1, 0, 1, 1_000),
        ("02-29", 1, 1, 1, 1, 1_000),
        ("03-01", 1, 1, 1, 1, 1_000),
    ]
    everything = "SELECT sum(first_attempt_count), sum(failed_first_attempt_count) FROM recovery_daily"
    assert ask(everything) == [(DEBTS + 13, DEBTS)], "ten good ones, and the three second intents"


def test_what_is_at_risk_and_who_is_at_it(ask: Ask) -> None:
    found = ask(
        "SELECT standing, sum(open_count), sum(open_amount_minor) FROM revenue_at_risk"
        " WHERE account_id = 'a' AND currency = 'usd' GROUP BY 1 ORDER BY 1"
    )
    assert found == [
        ("Stripe retries", 1, 1_000), ("in recovery", 1, 1_000), ("no case", 7, 6_400),
        ("waits for a person", 1, 1_000),
    ]  # fmt: skip


def test_subscriptions(ask: Ask) -> None:
    saved = ask(
        "SELECT subscriptions_at_risk, subscriptions_saved, subscriptions_undecided, subscriptions_ended,"
        " mrr_at_risk_minor, mrr_saved_minor FROM subscriptions_saved"
    )
    assert saved == [(4, 1, 1, 2, 4_000, 1_000)]
    churn = ask(
        "SELECT strftime(ended_month, '%m'), ended_count, involuntary_count, left_while_owing_count, voluntary_count,"
        " involuntary_mrr_minor FROM involuntary_churn"
    )
    assert churn == [("02", 3, 1, 1, 1, 1_000)]


def test_the_curve_is_the_estimator_of_aalen_and_johansen(lived: tuple[Settings, History], ask: Ask) -> None:
    """Against fractions over the outcomes worked out by hand, in calendar days."""
    made = lived[1]
    moments = {
        (account, debt): moment
        for account, debt, moment in ask("SELECT account_id, debt_id, outcome_at FROM fct_failed_payments")
    }
    for account in ("a", "b"):
        fates = []
        for (name, debt), want in made.wants.items():
            if name == account:
                until = moments[name, debt] if want.outcome != "owed" else AS_OF
                fates.append(((until.date() - made.owed[name, debt]["failed_at"].date()).days, want.outcome))
        found = ask(
            "SELECT day, recovered_incidence, canceled_incidence, at_risk_count FROM time_to_recover"
            f" WHERE account_id = '{account}' AND category = 'all' ORDER BY day"
        )
        assert [row[0] for row in found] == list(range(61))
        for day, recovered, ended, at_risk in found:
            want_recovered, want_ended = _incidence(fates, day)
            assert (recovered, ended) == pytest.approx((float(want_recovered), float(want_ended)), abs=1e-9)
            assert at_risk == sum(days > day for days, _ in fates)


def _incidence(fates: list[tuple[int, str]], until: int) -> tuple[Fraction, Fraction]:
    owed, recovered, ended = Fraction(1), Fraction(0), Fraction(0)
    for day in sorted({days for days, _ in fates if days <= until}):
        at_risk = sum(days >= day for days, _ in fates)
        here = Counter(outcome for days, outcome in fates if days == day)
        gone = sum(here[name] for name in ("canceled", "reversed", "merged"))
        recovered += owed * here["recovered"] / at_risk
        ended += owed * gone / at_risk
        owed *= 1 - Fraction(here["recovered"] + gone, at_risk)
    return recovered, ended


def test_what_is_to_come_follows_the_curve(ask: Ask) -> None:
    (found,) = ask(
        "SELECT open_count, open_amount_minor, predicted_count FROM predicted_recovery WHERE currency = 'eur'"
    )
    curve = {
        day: (recovered, canceled)
        for day, recovered, canceled in ask(
            "SELECT day, recovered_incidence, canceled_incidence FROM time_to_recover"
            " WHERE account_id = 'a' AND category = 'insufficient_funds'"
        )
    }
    at_age, still = curve[36], 1 - sum(curve[36])
    assert found[:2] == (1, 3_000)
    assert found[2] == pytest.approx((curve[60][0] - at_age[0]) / still, abs=1e-5)


def test_nothing_is_doubled_and_no_holdout_is_said_plainly(ask: Ask) -> None:
    findings = ask("SELECT debt_id, finding FROM double_retry_watch ORDER BY ALL")
    assert findings == [
        ("in_one_second", "attempts less than an hour apart"),
        ("in_own_and_told", "attempt of ours within two hours of a retry that Stripe had announced"),
    ]
    arms = "SELECT experiment, arm, control_arm, uplift FROM experiment_uplift WHERE account_id = 'a'"
    assert ask(arms) == [("retries", "treated", "no holdout", None)]


def test_all_marts_count_the_same_debts(ask: Ask) -> None:
    by_money = "SELECT account_id, currency, sum(failed_count), sum(recovered_count), sum({}) FROM {} GROUP BY 1, 2 ORDER BY ALL"
    truth = ask(by_money.format("recovered_amount_minor", "recovery_cohorts"))
    for mart in ("recovery_by_category", "recovery_by_decline_code"):
        assert ask(by_money.format("recovered_amount_minor", mart)) == truth
    days = ask(
        "SELECT account_id, currency, sum(failed_first_attempt_count), sum(cash_count), sum(cash_amount_minor)"
        " FROM recovery_daily GROUP BY 1, 2 ORDER BY ALL"
    )
    assert days == truth
    assert ask("SELECT sum(failed_count), sum(recovered_count) FROM verdict_quality") == [
        (sum(row[2] for row in truth), sum(row[3] for row in truth))
    ]
    assert ask("SELECT sum(failed_count), sum(recovered_count) FROM dim_customers") == [(DEBTS - 1, 38)]
    assert {row[0] for row in ask("SELECT DISTINCT category FROM recovery_by_category")} == {
        category for category, _ in CODES.values()
    }


def test_a_metric_is_the_same_number_wherever_it_is_shown(lived: tuple[Settings, History], ask: Ask) -> None:
    """For every mart that shows a metric under its name: its sums, and its ratios made anew of its sums."""
    with opened(lived[0]) as connection:
        known = catalogue(connection)
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_catalog = 'recovery'"
            " AND table_schema = 'main'"
        ).fetchall()
        shown = [
            (mart, known[name]) for mart, name in columns if name in known and mart.startswith("recovery_")
        ]
        assert len(shown) > 40
        for mart, metric in shown:
            if mart in ("recovery_by_method", "recovery_daily") or metric.numerator:
                continue
            held = {
                row[0]: row[1]
                for row in ask(f"SELECT currency, sum({metric.name}) FROM {mart} GROUP BY 1")
                if row[1]
            }
            asked = {
                row["currency"]: row[metric.name]
                for row in measured(connection, [metric.name], ["currency"])
                if row[metric.name]
            }
            assert held == asked, (mart, metric.name)
        for mart, metric in shown:
            if (
                metric.numerator
                and (mart, metric.numerator) in columns
                and (mart, metric.denominator) in columns
            ):
                wrong = ask(
                    f"SELECT * FROM {mart} WHERE {metric.name} IS DISTINCT FROM"
                    f" {metric.numerator} / nullif({metric.denominator}, 0)::double"
                )
                assert wrong == [], (mart, metric.name)
