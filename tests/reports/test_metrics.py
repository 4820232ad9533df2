"""One definition each: metrics asked for by name, the marts' columns of the same name, and what the report shows."""

import re
import shutil

import pytest

from tests.reports.synthetic import AS_OF
from tinko_pipelines.app import App
from tinko_pipelines.errors import InputError
from tinko_pipelines.reports import words
from tinko_pipelines.reports.dbt_runner import BuildResult
from tinko_pipelines.reports.html import write_report
from tinko_pipelines.reports.metrics import MODE, Catalogue, catalogue, measured, metrics_sql, rows
from tinko_pipelines.reports.snapshot import opened, publish
from tinko_pipelines.settings import Settings

Told = tuple[Settings, BuildResult]
OTHERWISE = {"time_to_recover", "dim_customers", "fct_failed_payments", "fct_attempts", "fct_messages"}
"""Facts themselves, a curve that holds a debt once for each day, and customers, of whom a debt may have none."""


@pytest.fixture(scope="module")
def settings(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    publish(told[0])
    state = tmp_path_factory.mktemp("metrics")
    shutil.copyfile(told[0].snapshot_path, state / told[0].snapshot_path.name)
    return told[0].model_copy(update={"state": state})


@pytest.fixture(scope="module")
def known(settings: Settings) -> Catalogue:
    with opened(settings) as connection:
        return catalogue(connection)


def test_marts_and_facts_say_the_same_of_every_metric(settings: Settings, known: Catalogue) -> None:
    columns = "SELECT table_name, list(column_name) AS names FROM duckdb_columns() WHERE database_name = 'recovery' AND schema_name = 'main' GROUP BY ALL"
    compared: dict[str, set[str]] = {}
    with opened(settings) as connection:
        marts = {row["table_name"]: set(row["names"]) for row in rows(connection, columns)}
        for mart in sorted(marts.keys() - OTHERWISE):
            for name, one in known.items():
                parts = {name} if one.numerator is None else {one.numerator, str(one.denominator)}
                by = ["currency"] if "currency" in marts[mart] else []
                if not parts <= marts[mart] or (one.is_amount and not by):
                    continue
                # A mart may leave out rows in which all of its metrics are nothing.
                facts, sums = (
                    [row for row in found if row[name]]
                    for found in (
                        measured(connection, [name], by),
                        measured(connection, [name], by, mart=mart),
                    )
                )
                assert sums == facts, (mart, name)
                compared.setdefault(name, set()).add(mart)
    assert compared["failed_count"] >= {
        "recovery_cohorts",
        "recovery_by_category",
        "recovery_by_decline_code",
    }
    assert compared["success_rate"] >= {"recovery_by_attempt_number", "recovery_by_hour"}
    of_facts = {"disputed_count", "disputed_amount_minor", "in_recovery_count", "in_recovery_amount_minor"}
    never = known.keys() - compared.keys()
    assert all(name in of_facts or name.startswith("reversed_count") for name in never), never


def test_the_report_shows_what_is_answered_by_name(settings: Settings, known: Catalogue) -> None:
    page = write_report(settings, AS_OF).read_text()
    app = App(settings)
    for name, one in known.items():
        (cell,) = re.findall(rf'data-metric="{name}">(.*?)</td>', page)
        shown = dict(re.findall(r'data-currency="(\w*)"><span class="strong">(.*?)</span>', cell))
        found = app.query(app.metrics_sql([name], [], ""), 100)
        asked = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        assert shown == {
            row.get("currency", ""): words.value(one, row[name], row.get("currency")) for row in asked
        }


def test_headline_and_tables_are_those_numbers(settings: Settings) -> None:
    page = write_report(settings, AS_OF).read_text()
    with opened(settings) as connection:
        (row,) = measured(connection, ("recovery_rate_count", "recovered_count", "failed_count"))
        codes = measured(connection, ("lost_amount_minor",), ["decline_code"], "currency = 'usd'")
    assert f'<strong class="rate">{words.percent(row["recovery_rate_count"])}</strong>' in page
    assert f"{words.of(row['recovered_count'], row['failed_count'])}." in page
    (table,) = re.findall(r"USD, all months</h3>(.*?)</table>", page, re.DOTALL)
    shown = dict(
        re.findall(r'<code>(.*?)</code></th><td class="num"><span class="strong">(.*?)</span>', table)
    )
    assert shown == {row["decline_code"]: words.money(row["lost_amount_minor"], "usd") for row in codes}


def test_a_mart_is_summed_by_its_columns(known: Catalogue) -> None:
    sql = metrics_sql(known, ["success_rate"], ["attempt_number"], mart="recovery_by_attempt_number")
    assert sql == (
        "SELECT attempt_number, coalesce(sum(succeeded_count), 0)::bigint / nullif(coalesce(sum(executed_count), 0)"
        f"::bigint, 0)::double AS success_rate FROM recovery_by_attempt_number WHERE {MODE} GROUP BY attempt_number"
        " ORDER BY attempt_number"
    )


@pytest.mark.parametrize(
    ("names", "by", "said"),
    [
        ([], [], "name at least one metric"),
        (["recovery_rate"], [], "did you mean recovery_rate_count"),
        (["failed_count", "sent_count"], [], "fct_failed_payments and fct_messages"),
        (["failed_count"], ["plan"], "did you mean plan_name"),
    ],
)
def test_what_is_no_metric_is_said(known: Catalogue, names: list[str], by: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        metrics_sql(known, names, by)


def test_definitions_are_the_snapshots_own(settings: Settings, known: Catalogue) -> None:
    page = write_report(settings, AS_OF).read_text()
    for one in known.values():
        assert one.description.replace("'", "&#39;") in page
        assert f"<code>{one.name}</code>" in page


def test_numbers_are_written_for_people() -> None:
    assert words.points(0.031) == "+3.1 points"
    assert words.points(-0.031) == "−3.1 points"
    assert words.amount_of(1250, 99_000, "usd") == "12.50 of 990.00 USD"
