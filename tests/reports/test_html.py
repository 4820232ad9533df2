"""The report: whole, self-contained, and every rate with its denominator."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.reports.synthetic import AS_OF, World, settings_in
from tinko_pipelines.errors import StoreError
from tinko_pipelines.reports.charts import axis
from tinko_pipelines.reports.dbt_runner import BuildResult, build
from tinko_pipelines.reports.html import write_report
from tinko_pipelines.reports.snapshot import publish
from tinko_pipelines.settings import Settings

Told = tuple[Settings, BuildResult]
VOID = {"meta", "line", "rect", "path", "br"}


class Reader(HTMLParser):
    """Collects the text people read, what charts are called, and whether every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.text: list[str] = []
        self.bare_charts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "svg":
            self.bare_charts += not (dict(attrs).get("aria-label") and dict(attrs).get("role") == "img")
        if tag not in VOID or tag == "rect":
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "svg"} & set(self.stack):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(told: Told) -> str:
    settings = told[0].model_copy(update={"merchant_name": "Nuts & <Bolts>"})
    publish(settings)
    path = write_report(settings, AS_OF)
    assert path == settings.report_path
    assert [one.name for one in path.parent.iterdir()] == ["recovery.html"]
    return path.read_text(encoding="utf-8")


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.stack == []
    return reader


def test_the_headline_says_what_was_recovered_of_what(page: str) -> None:
    text = " ".join(" ".join(read(page).text).split())
    assert "43.8% of failed payments were recovered: 7 of 16." in text
    assert "Of those that are closed, 58.3% (7 of 12)" in text
    assert "4 are still open: 1 being worked on, 3 without a case of ours." in text
    assert "57.00 USD 19.7% of 290.00 USD failed" in text
    assert "5,000 JPY 100.0% of 5,000 JPY failed" in text
    assert "Still at risk 180.00 USD" in text
    assert "As of 15 Oct 2026, 12:00 UTC" in text


def test_immature_months_and_holdout_are_named(page: str) -> None:
    text = " ".join(" ".join(read(page).text).split())
    assert "October 2026 still maturing" in text
    assert "September 2026 still maturing" not in text
    assert "No holdout" in text
    assert "0.43 attempts and 0.57 mails per recovered debt (3 attempts and 4 mails for 7 recovered)" in text


def test_nothing_is_fetched_and_every_chart_has_a_name(page: str) -> None:
    assert not re.search(r"""src\s*=|href\s*=\s*"?[^"#]|url\(|@import|https?://""", page)
    targets = set(re.findall(r'href="#(\w+)"', page))
    assert targets <= set(re.findall(r'id="(\w+)"', page)), "each link of the page leads somewhere in it"
    assert len(targets) == 14
    assert read(page).bare_charts == 0
    assert page.count("<svg") >= 10
    assert "prefers-color-scheme: dark" in page
    assert "Nuts &amp; &lt;Bolts&gt;" in page


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(StoreError, match="run `tinko report` first"):
        write_report(settings, AS_OF)
    World().write(settings)
    build(settings, AS_OF)
    publish(settings)
    text = " ".join(read(write_report(settings, AS_OF).read_text()).text)
    assert "No payment has failed" in text
    assert "15 Oct 2026" in text


def test_a_report_that_cannot_be_written_is_one_sentence(told: Told, page: str) -> None:
    folder = told[0].report_path.parent
    folder.rename(folder.with_name("kept"))
    folder.write_text("a file where the folder should be")
    try:
        with pytest.raises(StoreError, match="the report cannot be written"):
            write_report(told[0], AS_OF)
    finally:
        folder.unlink()
        folder.with_name("kept").rename(folder)
    assert told[0].report_path.read_text() == page


@pytest.mark.parametrize(
    ("value", "end"), [(0, (1.0, 5)), (0.4, (0.4, 4)), (0.41, (0.5, 5)), (575, (600, 3)), (1000, (1000, 5))]
)
def test_axes_end_at_round_numbers(value: float, end: tuple[float, int]) -> None:
    assert axis(value) == pytest.approx(end)
