"""The report's parts on snapshots made to measure: change, losses, hours, uplift, and names that mean harm."""

import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.reports import cell, rates
from tests.reports.synthetic import AS_OF
from tests.reports.test_html import read
from tinko_pipelines.reports.change import change
from tinko_pipelines.reports.dbt_runner import BuildResult
from tinko_pipelines.reports.digest import digest
from tinko_pipelines.reports.heat import Cell, heat
from tinko_pipelines.reports.html import write_report
from tinko_pipelines.reports.losses import losses
from tinko_pipelines.reports.slices import slices
from tinko_pipelines.reports.snapshot import opened, publish
from tinko_pipelines.settings import Settings

Told = tuple[Settings, BuildResult]
Altered = Callable[..., Settings]
HOSTILE = "<script>alert(1)</script>\" onload='x' {{ 7 * 7 }} &amp;"
SAME = "'acct_1' AS account_id, false AS livemode"


@pytest.fixture
def altered(told: Told, tmp_path: Path) -> Altered:
    """The story's snapshot with statements run over it."""

    def alter(*statements: str, **changes: Any) -> Settings:
        if not told[0].snapshot_path.exists():
            publish(told[0])
        settings = told[0].model_copy(update={"state": tmp_path, **changes})
        shutil.copyfile(told[0].snapshot_path, settings.snapshot_path)
        with duckdb.connect(str(settings.snapshot_path)) as connection:
            for statement in statements:
                connection.execute(statement)
        return settings

    return alter


def cohort(month: str, failed: int, recovered: int, is_mature: bool) -> str:
    numbers = {
        "failed_count": failed, "recovered_count": recovered, "closed_count": failed,
        "failed_amount_minor": 100 * failed, "recovered_amount_minor": 100 * recovered, "closed_amount_minor": 100 * failed,
    }  # fmt: skip
    said = ", ".join(f"{number}::bigint AS {name}" for name, number in numbers.items())
    return (
        f"INSERT INTO recovery_cohorts BY NAME SELECT {SAME}, 'usd' AS currency, date '{month}' AS cohort_month,"
        f" {is_mature} AS is_mature, {said}"
    )


def tries(code: str, number: int, executed: int, succeeded: int, stopped: int, stopped_minor: int) -> str:
    return (
        f"INSERT INTO recovery_by_attempt_number BY NAME SELECT {SAME}, 'usd' AS currency, '{code}' AS decline_code,"
        f" date '2026-09-01' AS cohort_month, 'unknown' AS category, {number} AS attempt_number,"
        f" {executed} AS executed_count, {succeeded} AS succeeded_count, {stopped} AS stopped_count,"
        f" {stopped_minor} AS stopped_amount_minor"
    )


def test_the_last_mature_month_is_held_against_the_one_before(altered: Altered) -> None:
    settings = altered(
        "DELETE FROM recovery_cohorts",
        cohort("2026-07-01", 400, 100, True),
        cohort("2026-08-01", 100, 50, True),
        cohort("2026-09-01", 200, 1, False),
    )
    with opened(settings) as connection:
        found = change(connection, ["usd"])
    assert found is not None
    assert (found["now"], found["before"]) == (date(2026, 8, 1), date(2026, 7, 1))
    rate = found["rates"][0]
    assert rate["now"] == {"rate": 0.5, "part": 50, "whole": 100}
    assert rate["before"] == {"rate": 0.25, "part": 100, "whole": 400}
    assert rate["points"] == pytest.approx(0.25)
    assert rate["by_chance"] == pytest.approx(1.96 * (0.3 * 0.7 * (1 / 100 + 1 / 400)) ** 0.5)
    amount = next(row for row in found["rates"] if row["currency"])
    assert (amount["metric"], amount["now"]["whole"], amount["by_chance"]) == (
        "recovery_rate_amount",
        10_000,
        None,
    )
    text = " ".join(" ".join(read(write_report(settings, AS_OF).read_text()).text).split())
    assert (
        "What failed in August 2026, the last month all of whose failures have had 28 days to be paid" in text
    )
    assert "Recovery rate 50.0% 50 of 100 +25.0 points beyond chance (±10.0) 25.0% 100 of 400" in text


def test_without_a_month_to_compare_it_says_so(altered: Altered) -> None:
    young = altered("UPDATE recovery_cohorts SET is_mature = false")
    with opened(young) as connection:
        assert change(connection, ["usd"]) is None
    page = write_report(young, AS_OF).read_text()
    assert "No month is mature yet" in page
    assert "these are all months together" in page
    assert "is the only month that is mature" in write_report(altered(), AS_OF).read_text()


def test_one_more_attempt_goes_by_those_that_had_one(altered: Altered) -> None:
    settings = altered(
        "DELETE FROM recovery_by_attempt_number",
        "UPDATE recovery_by_decline_code SET lost_count = 9 WHERE decline_code = 'do_not_honor'",
        tries("do_not_honor", 1, 60, 12, 4, 4_000),
        tries("do_not_honor", 2, 40, 10, 1, 900),
        tries("insufficient_funds", 1, 5, 0, 2, 2_000),
    )
    with opened(settings) as connection:
        found = {row["decline_code"]: row for row in losses(connection)["usd"]}
        assert losses(connection, "cohort_month = date '2020-01-01'") == {}
    told = found["do_not_honor"]
    assert [
        told[name]
        for name in ("stopped_count", "stopped_amount_minor", "judged_count", "judged_amount_minor")
    ] == [5, 4_900, 4, 4_000]
    assert told["one_more_minor"] == 1_000, (
        "40.00 stopped after the first attempt; 10 of 40 second ones passed"
    )
    assert (told["next_succeeded_count"], told["next_executed_count"]) == (10, 40)
    assert found["insufficient_funds"]["next_executed_count"] == 0
    assert found["expired_card"]["stopped_count"] == 0
    text = " ".join(" ".join(read(write_report(settings, AS_OF).read_text()).text).split())
    assert "10.00 of 40.00 USD 10 of 40 passed" in text
    assert "none of this code has had one more, so nobody can say" in text
    settings = altered(
        "DELETE FROM recovery_by_attempt_number",
        tries("insufficient_funds", 1, 60, 12, 4, 4_000),
        tries("insufficient_funds", 2, 40, 10, 1, 900),
    )
    text = " ".join(" ".join(read(write_report(settings, AS_OF).read_text()).text).split())
    assert (
        "49.00 USD of it stopped after our last attempt. One more on 4 of 5 of these would have brought about"
        " 10.00 of 40.00 USD: 10 of 40 such attempts passed. On the others nobody of this code was tried further."
    ) in text


def test_hours_that_rest_on_little_are_small() -> None:
    cells = {
        (1, 0): Cell(0.2, "Mon 00:00: 20.0%"),
        (1, 1): Cell(0.4, "most"),
        (2, 0): Cell(0.9, "few", thin=True),
    }
    drawn = heat(cells, range(24), {1: "Mon", 2: "Tue"}, "by hour <b>")
    assert 'aria-label="by hour &lt;b&gt;"' in drawn
    wide = drawn[: drawn.index("</svg>")]
    assert wide.count('class="none"') == 48
    sizes = dict(re.findall(r'class="(shade-\d)" x="[^"]+" y="[^"]+" width="([\d.]+)"', wide))
    assert set(sizes) == {"shade-1", "shade-5"}
    assert float(sizes["shade-5"]) < 0.5 * float(sizes["shade-1"]), "the last with shade 5 is the thin one"


def test_an_uplift_is_shown_with_its_interval(altered: Altered) -> None:
    uplift = (
        f"INSERT INTO experiment_uplift BY NAME SELECT {SAME}, 'retries' AS experiment, 'treated' AS arm,"
        " 'holdout' AS control_arm, 200 AS subjects, 100 AS recovered, 0.5 AS recovery_rate, 20 AS control_subjects,"
        " 8 AS control_recovered, 0.4 AS control_recovery_rate, 0.1 AS uplift, -0.05 AS uplift_low, 0.25 AS uplift_high"
    )
    page = write_report(altered("DELETE FROM experiment_uplift", uplift), AS_OF).read_text()
    text = " ".join(" ".join(read(page).text).split())
    assert (
        "50.0% 100 of 200 40.0% holdout, 8 of 20 +10.0 points (too few) −5.0 points to +25.0 points" in text
    )
    assert "<b>No holdout.</b>" not in page


def test_what_others_have_named_is_text_and_nothing_else(altered: Altered) -> None:
    quoted = HOSTILE.replace("'", "''")
    named = {
        "fct_failed_payments": ("plan_name", "card_issuer", "card_country", "card_brand", "account_id", "policy_version"),
        "recovery_by_decline_code": ("decline_code",),
        "recovery_by_category": ("category",),
        "recovery_by_message_step": ("template",),
        "experiment_uplift": ("arm", "experiment"),
        "network_compliance": ("rule", "network"),
        "time_to_recover": ("account_id",),
    }  # fmt: skip
    settings = altered(
        *(
            f"UPDATE {table} SET {column} = '{quoted}'"
            for table, columns in named.items()
            for column in columns
        ),
        merchant_name=HOSTILE,
    )
    page = write_report(settings, AS_OF).read_text()
    assert page.count("<script>") == 1
    assert "alert(1)</script>" not in page
    assert "onload='" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10
    assert "{{ 7 * 7 }}" in page
    assert read(page).bare_charts == 0


def test_slices_show_the_largest_and_say_what_they_leave_out(altered: Altered) -> None:
    settings = altered("UPDATE fct_failed_payments SET plan_name = 'plan of ' || account_id || debt_id")
    with opened(settings) as connection:
        found = {one["slice"].column: one for one in slices(connection)}
    plans = found["plan_name"]
    assert (len(plans["values"]), plans["left_out"]) == (12, 4)
    assert plans["values"][0]["amounts"][0]["currency"] == "usd"
    assert not found["card_issuer"]["known"]
    page = write_report(settings, AS_OF).read_text()
    assert (
        "4 smaller values are left out: <code>tinko metric recovery_rate_count --by plan_name</code>" in page
    )
    assert "Nothing is known of: " in page


def test_what_went_back_is_shown_as_restated(altered: Altered) -> None:
    text = " ".join(" ".join(read(write_report(altered(), AS_OF).read_text()).text).split())
    assert "restated" in text
    assert "of these 3 debts gave everything back and are not recovered" in text
    assert len(write_report(altered(), AS_OF).read_bytes()) < 300_000


def test_the_digest_says_what_the_report_says(altered: Altered) -> None:
    settings = altered(
        "DELETE FROM recovery_cohorts",
        cohort("2026-07-01", 400, 100, True),
        cohort("2026-08-01", 100, 50, True),
        cohort("2026-09-01", 200, 1, False),
    )
    told = digest(settings)
    assert told.headline == "43.8% of failed payments were recovered: 7 of 16; 4 are still open."
    assert told.sentences[0] == "USD: 19.7% recovered, 57.00 of 290.00 USD failed; 180.00 USD still at risk."
    assert told.changes[0] == ("Recovery rate", "50.0% (50 of 100)", "+25.0 points", "25.0% (100 of 400)")
    assert [(one.name, one.part, one.whole, one.note) for one in told.months] == [
        ("July 2026", 100, 400, ""),
        ("August 2026", 50, 100, ""),
        ("September 2026", 1, 200, "still maturing"),
    ]
    assert sum(one.whole for one in told.categories) == 16
    table = str(rates(told.months).value)
    assert "| August 2026 | 50 of 100 | 50.0% | ██████████ |  |" in table


def test_names_are_no_markup_in_dagsters_markdown() -> None:
    assert cell("a|b <script>_x_ [y](z)\n`") == r"a\|b \<script\>\_x\_ \[y\]\(z\) \`"
