"""What the models may say, so that DuckDB and Spark both understand it; needs neither Java nor Spark."""

import re
from pathlib import Path

import pytest
import yaml

from tinko_pipelines.reports.dbt_runner import project_dir

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = (
    r"::", r"\bqualify\b", r"\basof\b", r"\bunnest\s*\(", r"\barg_(min|max)\s*\(", r"\blist_\w+\s*\(", r"\bepoch\w*\s*\(",
    r"\bto_(days|hours|minutes|seconds)\s*\(", r"\bgroup\s+by\s+all\b", r"\border\s+by\s+all\b", r"\bexclude\s*\(",
    r"\bjson_extract\w*\s*\(", r"->>", r"\bstrftime\s*\(", r"\bdate_diff\s*\(", r"\bgenerate_series\s*\(", r"\bstruct_pack\s*\(",
    r"\bread_parquet\s*\(", r"\bpositional\s+join\b", r"\bunion\s+(all\s+)?by\s+name\b", r"\btimestamptz\b", r"\bvarchar\b",
)  # fmt: skip
"""What DuckDB says and Spark does not; where both need a word for it, dbt/macros/dialect.sql has one for each."""
COMMENT = re.compile(r"\{#.*?#\}|--[^\n]*", re.DOTALL)


def spoken() -> list[Path]:
    dbt = project_dir()
    found = [*dbt.glob("models/**/*.sql"), *dbt.glob("data-tests/*.sql"), *dbt.glob("macros/*.sql")]
    return sorted(file for file in found if file.name != "dialect.sql")


def foreign_to_spark(sql: str) -> list[str]:
    plain = COMMENT.sub("", sql).lower()
    return [token for token in FOREIGN if re.search(token, plain)]


def test_nothing_outside_the_dialect_is_of_duckdb_alone() -> None:
    files = spoken()
    assert len(files) > 50
    found = {file.name: foreign_to_spark(file.read_text()) for file in files}
    assert {name: tokens for name, tokens in found.items() if tokens} == {}


@pytest.mark.parametrize(
    "sql",
    ["select a::int", "select 1 QUALIFY row_number() over () = 1", "group by\n  all", "select list_sum (x)", "epoch_us(at)"],
)  # fmt: skip
def test_what_is_foreign_is_seen(sql: str) -> None:
    assert foreign_to_spark(sql)
    assert not foreign_to_spark(f"select 1 -- {' '.join(sql.split())}")


def test_conditions_of_tests_and_measures_are_spoken_by_both() -> None:
    seen = 0
    for file in project_dir().glob("models/**/*.yml"):
        for text in re.findall(r"(?:condition|expression|expr): *(.+)", file.read_text()):
            seen += 1
            assert not foreign_to_spark(text), f"{file.name}: {text}"
    assert seen > 20


def test_each_word_of_the_dialect_has_one_for_spark_with_the_same_parameters() -> None:
    text = "".join(file.read_text() for file in sorted(project_dir().glob("macros/*.sql")))
    dispatched = set(re.findall(r"adapter\.dispatch\('(\w+)'", text))
    defined = dict(re.findall(r"\{%-? *macro (\w+)\((.*?)\)", text))
    assert len(dispatched) > 8
    for name in dispatched:
        assert defined.get(f"spark__{name}") == defined[f"default__{name}"] == defined[name], name


def test_every_source_has_its_place_on_spark() -> None:
    told = yaml.safe_load((project_dir() / "models" / "staging" / "_sources.yml").read_text())
    macro = (project_dir() / "macros" / "spark.sql").read_text()
    places = macro[macro.index("set places") : macro.index("} -%}")]
    assert set(re.findall(r"'(\w+)':", places)) == {source["name"] for source in told["sources"]}


def test_the_environment_of_spark_is_pinned_line_by_line_and_has_our_versions() -> None:
    def pinned(file: Path) -> dict[str, str]:
        lines = file.read_text().splitlines()
        assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
        return dict(line.split("==") for line in lines)

    ours, its = pinned(ROOT / "constraints.txt"), pinned(ROOT / "benchmarks" / "spark" / "constraints.txt")
    # PySpark knows pandas 2 only; verdicts and scores are Arrow's and do not touch it.
    assert {name for name in ours.keys() & its.keys() if ours[name] != its[name]} == {"pandas"}
    assert {"pyspark", "dbt-spark", "dbt-core", "pyarrow", "numpy", "scikit-learn", "skops"} <= its.keys()
