"""A build that mends comes to what a build of everything comes to, row for row, whatever changed meanwhile."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from tests.reports.changing import Changing
from tests.reports.synthetic import AS_OF, FAILED_AT, World, days, settings_in, story
from tinko_pipelines.reports.dbt_runner import build, built_mark
from tinko_pipelines.settings import Settings

SEED = int(os.environ.get("MENDING_SEED", "7"))
DAYS = int(os.environ.get("MENDING_DAYS", "3"))
KEPT = (
    "int_charges", "int_debt_links", "int_later_charges", "int_endings", "int_debt_payers", "int_refunds", "int_disputes",
    "int_retry_announcements", "int_customers", "int_subscriptions", "int_prices", "int_first_attempts", "int_cap_refusals",
    "int_excess_attempts", "int_subscription_debts", "int_recovery_days", "int_model_months",
    "int_outcome_days",
)  # fmt: skip
Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Changing]:
    settings = settings_in(tmp_path_factory.mktemp("changing"))
    made = Changing(settings, SEED)
    assert build(settings, made.now).whole
    yield made


def differences(one: Path, other: Path) -> dict[str, tuple[int, int]]:
    """Of each table that is kept or shown, the rows that only one of the two warehouses has."""
    found = {}
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, path in (("one", one), ("other", other)):
            connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        tables = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = 'one'"
            " AND (schema_name = 'main' OR table_name IN (SELECT unnest(?::VARCHAR[])))",
            [list(KEPT)],
        ).fetchall()
        assert len(tables) > 30
        for (table,) in sorted(tables):
            counts = [
                len(connection.execute(f"FROM {a}.{table} EXCEPT ALL FROM {b}.{table}").fetchall())
                for a, b in (("one", "other"), ("other", "one"))
            ]
            if any(counts):
                found[table] = (counts[0], counts[1])
    return found


def whole_again(settings: Settings, made: Changing) -> Path:
    """A copy of the warehouse as it is; everything is then built anew in its place."""
    copy = settings.warehouse_path.with_name("mended.duckdb")
    copy.write_bytes(settings.warehouse_path.read_bytes())
    assert build(settings, made.now, whole=True).whole
    return copy


def test_days_of_changes_mended_are_what_a_whole_build_makes_of_them(changing: Changing) -> None:
    settings = changing.settings
    for _ in range(DAYS):
        changing.live_a_day()
        assert not build(settings, changing.now).whole
    assert differences(whole_again(settings, changing), settings.warehouse_path) == {}


def test_a_debt_that_is_gone_makes_the_next_build_a_whole_one(changing: Changing) -> None:
    settings = changing.settings
    gone = changing.made.failed.pop()
    changing.now += timedelta(hours=1)
    changing._write_made()
    assert build(settings, changing.now).whole
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        sql = "SELECT count(*) FROM fct_failed_payments WHERE account_id = ? AND debt_id = ?"
        assert connection.execute(sql, [gone["account_id"], gone["debt_id"]]).fetchall() == [(0,)]


def test_a_build_that_was_killed_is_followed_by_a_whole_one(changing: Changing) -> None:
    settings = changing.settings
    changing.live_a_day()
    code = (
        "import sys; from datetime import datetime; from pathlib import Path\n"
        "from tests.reports.synthetic import settings_in; from tinko_pipelines.reports.dbt_runner import build\n"
        "build(settings_in(Path(sys.argv[1])), datetime.fromisoformat(sys.argv[2]))"
    )
    told = [sys.executable, "-c", code, str(settings.state.parent), changing.now.isoformat()]
    running = subprocess.Popen(told, start_new_session=True, cwd=Path(__file__).parents[2])
    before = settings.warehouse_path.stat().st_mtime_ns
    until = time.monotonic() + 300
    # Its mark is gone and it has begun to write: half of the tables are new and half are old.
    while built_mark(settings).exists() or settings.warehouse_path.stat().st_mtime_ns == before:
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.02)
    # Nobody listens to dbt any more, whose next word ends it: it holds the warehouse no longer.
    (dbt,) = psutil.Process(running.pid).children()
    running.kill()
    running.wait()
    dbt.wait(60)
    assert build(settings, changing.now).whole
    assert differences(whole_again(settings, changing), settings.warehouse_path) == {}


LONG_AGO = FAILED_AT - days(900)
PAID_AT = FAILED_AT + timedelta(hours=7)


def _begin(made: World) -> None:
    """Debts of years ago that are paid, one that is no failed payment, and one paid by the charge of another invoice."""
    for debt in ("in_refunded", "in_withdrawn", "in_kept"):
        made.debt(debt, first_failed_at=LONG_AGO, last_failed_at=LONG_AGO)
        made.paid(debt, LONG_AGO + days(3))
    made.debt("in_gone")
    made.case("in_gone")
    made.failed = [row for row in made.failed if row["debt_id"] != "in_gone"]
    made.debt("in_elsewhere", paid_elsewhere_by="pi_other", paid_elsewhere_charge_id="ch_other")
    made.case("in_elsewhere", "paid_elsewhere")
    made.charge("ch_other", PAID_AT, "succeeded", payment_intent_id="pi_other")
    link = {"id": "inpay_other", "invoice_id": "in_other", "payment_intent_id": "pi_other"}
    common = {"account_id": "acct_1", "livemode": False, "created_at": FAILED_AT, "fetched_at": AS_OF}
    made.lake["invoice_payments"].append({**common, **link})


def _go_on(made: World) -> None:
    """A refund of a part and a dispute of what was paid years ago; mails for the others."""
    common = {"account_id": "acct_1", "livemode": False, "created_at": AS_OF, "fetched_at": AS_OF}
    part = {"id": "re_old", "charge_id": "ch_in_refunded_2", "amount_minor": 400, "status": "succeeded"}
    all_of_it = {"id": "dp_old", "charge_id": "ch_in_withdrawn_2", "amount_minor": 1000, "status": "lost"}
    made.lake["refunds"].append({**common, **part, "currency": "usd"})
    made.lake["disputes"].append({**common, **all_of_it, "currency": "usd"})
    for debt in ("in_gone", "in_elsewhere"):
        made.message(debt, 1, FAILED_AT + days(1), "scheduled")


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """The warehouse after what came next, which is that of a build of everything."""
    settings, made = settings_in(tmp_path_factory.mktemp("mended")), story()
    _begin(made)
    made.write(settings)
    assert build(settings, AS_OF).whole
    _go_on(made)
    now = AS_OF + timedelta(hours=5)
    made.write(settings, now)
    assert not build(settings, now).whole
    copy = settings.warehouse_path.with_name("mended.duckdb")
    copy.write_bytes(settings.warehouse_path.read_bytes())
    assert build(settings, now, whole=True).whole
    assert differences(copy, settings.warehouse_path) == {}
    with duckdb.connect(str(copy), read_only=True) as connection:
        yield lambda sql, *values: connection.execute(sql, values).fetchall()


def test_what_was_paid_years_ago_and_goes_back_now_restates_its_cohort(mended: Ask) -> None:
    month = LONG_AGO.replace(day=1).date()
    cohort = (
        "SELECT failed_count, recovered_count, recovered_amount_minor, reversed_amount_minor, restated_count"
        " FROM recovery_cohorts WHERE cohort_month = ? AND account_id = 'acct_1'"
    )
    # 3 x 1000 came in; 400 and 1000 of it went back, and of the second nothing is left.
    assert mended(cohort, month) == [(3, 2, 1600, 1400, 2)]
    restated = (
        "SELECT debt_id, recovered_amount_minor, restated_at FROM fct_failed_payments"
        " WHERE is_restated AND cohort_month = ? ORDER BY ALL"
    )
    assert mended(restated, month) == [("in_refunded", 600, AS_OF), ("in_withdrawn", 0, AS_OF)]
    cash = "SELECT sum(cash_amount_minor)::BIGINT FROM recovery_daily WHERE day = ?"
    assert mended(cash, (LONG_AGO + days(3)).date()) == [(1600,)]


def test_debts_that_point_elsewhere_are_mended_as_well(mended: Ask) -> None:
    """Something was done for a debt that is no failed payment, and for one that was paid by the charge of another invoice."""
    told = "SELECT cohort_month::VARCHAR, state FROM fct_messages WHERE debt_id = 'in_gone'"
    assert mended(told) == [("2026-09-01", "scheduled")]
    paid = "SELECT paid_amount_minor, recovered_at FROM fct_failed_payments WHERE debt_id = 'in_elsewhere'"
    assert mended(paid) == [(1000, PAID_AT)]
