"""Four hundred things people type, where the web, its log and the report could take them for something of their own."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from tests.outreach.test_injection import Skeleton, is_invisible
from tests.payloads import PAYLOADS
from tinko_pipelines.ledger.ids import case_id
from tinko_pipelines.reports import words
from tinko_pipelines.reports.charts import Column, Line, columns, stacked, steps
from tinko_pipelines.web.logs import JsonLines
from tinko_pipelines.web.recovery_page import Said, page

OPEN: dict[str, Any] = {"what": "open", "locale": "en", "merchant": "Acme", "support": "help@acme.test"}
OPEN |= {"token": "t" * 43, "pay": True, "card": True, "amount": (1000, "eur")}
MADE_UP = [{"locale": "{}"}, {"merchant": "{}"}, {"support": "{}"}, {"token": "{}"}]
"""What reaches the page of a link from outside: the customer's language; and from the operator, what he set."""


def with_text(changes: dict[str, str], text: str) -> Said:
    return Said(**{**OPEN, **dict.fromkeys(changes, text)})


@pytest.mark.parametrize("changes", MADE_UP, ids=lambda one: next(iter(one)))
def test_the_page_of_a_link_stays_the_page_it_is(changes: dict[str, str]) -> None:
    usual = [tag for tag, _ in Skeleton(page(Said(**OPEN))).found]
    for payload in PAYLOADS:
        made = page(with_text(changes, payload))
        shown = Skeleton(made)
        assert [tag for tag, _ in shown.found] == usual, payload
        for _, attributes in shown.found:
            names = {name for name, _ in attributes}
            assert not {name for name in names if name.startswith("on")}, payload
        assert "49" not in made.replace("49%", "") or "49" in payload
        if "locale" in changes:
            assert 'lang="en"' in made or 'lang="de"' in made, payload


def record(message: str, error: BaseException | None = None, **fields: Any) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("tinko.web", logging.INFO, __file__, 1, message, None, info)
    made.fields = fields
    return made


def test_a_line_of_the_log_stays_one_line_and_says_no_more() -> None:
    for payload in PAYLOADS:
        line = JsonLines().format(record("asked", path=payload, payload=[payload]))
        assert len(line.splitlines()) == 1, payload
        assert all(" " <= character <= "~" for character in line), payload
        told = json.loads(line)
        assert (told["level"], told["event"], told["path"]) == ("info", "asked", payload)
        assert set(told) == {"at", "level", "event", "path", "payload"}


def test_the_words_of_an_error_are_not_written_down() -> None:
    for payload in PAYLOADS:
        secret = f"{payload} cus_9S6X7T8U9V0W"
        try:
            raise ValueError(secret)
        except ValueError as error:
            line = JsonLines().format(record("failed", error))
        told = json.loads(line)
        assert told["error"] == "ValueError"
        assert "cus_9S6X7T8U9V0W" not in line
        assert len(line.splitlines()) == 1


def test_what_others_say_is_one_line_of_theirs() -> None:
    for payload in PAYLOADS:
        line = JsonLines().format(record(f"Exception in ASGI application\n{payload} ann@example.org"))
        assert "ann@example.org" not in line
        assert json.loads(line)["event"] == "Exception in ASGI application"


def test_charts_hold_no_markup_of_their_labels() -> None:
    def drawn(text: str) -> list[str]:
        return [
            str(stacked([("won", 1.0)], 2.0, text)),
            str(columns([Column(text, 1.0, text), Column("b", 2.0)], text, tick=str)),
            str(steps([Line([(0, 0.0), (10, 0.5)], "one", text)], text, ticks=(0, 10), unit="d")),
        ]

    usual = [[tag for tag, _ in Skeleton(one).found] for one in drawn("plain")]
    for payload in PAYLOADS:
        found = drawn(payload)
        for one, before in zip(found, usual, strict=True):
            # How many labels there is room for depends on how long they are.
            assert {tag for tag, _ in Skeleton(one).found} <= set(before), payload
        for one in found:
            for _, attributes in Skeleton(one).found:
                assert not {name for name, _ in attributes if name.startswith("on")}, payload


def test_the_templates_of_the_report_let_no_name_be_markup() -> None:
    """What is shown in it is tried with such names in `tests/reports`."""
    templates = [*(Path(words.__file__).parent / "templates").rglob("*.j2")]
    assert len(templates) > 10
    for template in templates:
        assert not re.search(r"\|\s*safe|autoescape\s+false", template.read_text("utf-8")), template


def test_names_that_are_made_of_what_is_typed_are_of_our_own_letters() -> None:
    for payload in PAYLOADS:
        made = case_id(payload, payload)
        assert not any(map(is_invisible, made))
        assert len(made) == 36
        assert isinstance(words.category(payload), str)
