from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from tinko_pipelines.app import App
from tinko_pipelines.errors import StoreError
from tinko_pipelines.model.taught import TAUGHT_FILE, read_taught, teach
from tinko_pipelines.settings import Settings

ON = date(2026, 11, 1)


def line(category: str, **values: str) -> str:
    return json.dumps({**values, "category": category})


def test_what_is_taught_is_kept_once_and_later_files_win(tmp_path: Path) -> None:
    first = teach(
        [line("limit_exceeded", text="Zorgl blib"), line("limit_exceeded", text="zorgl BLIB!")], tmp_path, ON
    )
    assert (first.added, first.replaced, first.known, first.kept_in_all) == (1, 0, 0, 1)
    again = teach([line("limit_exceeded", text="zorgl blib")], tmp_path, ON)
    assert (again.added, again.known) == (0, 1)
    later = teach(
        [
            line("card_expired", text="zorgl blib", gateway="acme"),
            "",
            line("duplicate", code="DoppelGemoppelt"),
        ],
        tmp_path,
        ON,
    )
    assert (later.added, later.replaced, later.kept_in_all) == (1, 1, 2)
    kept = {(example.text, example.category, example.gateway) for example in read_taught(tmp_path)}
    assert kept == {("zorgl blib", "card_expired", "acme"), ("DoppelGemoppelt", "duplicate", None)}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("oops", "not a JSON object"),
        ("[1]", "not a JSON object"),
        (line("nope", text="a word"), "there is no category 'nope'"),
        (json.dumps({"text": "a word"}), "there is no category None"),
        (line("card_expired"), "holds a word"),
        (line("card_expired", code="51"), "holds a word"),
        (line("card_expired", text="good wording"), "contradicts line 1, which says limit_exceeded"),
        (line("card_expired", code="insufficient_funds"), "contradicts the rule code:insufficient_funds"),
        (line("card_expired", code="NSF"), "contradicts the rule code:insufficient_funds"),
        (line("card_expired", text="card 4242 4242 4242 4242"), "may name a card"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_and_stops_no_other(row: str, why: str, tmp_path: Path) -> None:
    rows = [line("limit_exceeded", text="good wording"), "", row, line("duplicate", text="another one")]
    taught = teach(rows, tmp_path, ON)
    assert [refused.line for refused in taught.refused] == [3]
    assert why in taught.refused[0].reason
    assert {example.text for example in read_taught(tmp_path)} == {"good wording", "another one"}


def test_the_next_training_uses_and_counts_what_was_taught(tmp_path: Path) -> None:
    app = App(Settings(state=tmp_path))
    before = app.train()
    model = app.text_model()
    assert model is not None
    assert model.predict(["zorgl blib"])[0][0] == "unknown"
    app.teach([line("limit_exceeded", text="zorgl blib"), line("customer_abandoned", text="expired card")])
    after = app.train()
    assert (before["taught"], after["taught"]) == (0, 2)
    assert after["phrases"] == before["phrases"] - 1  # What was taught of a phrase wins over it.
    model = app.text_model()
    assert model is not None
    assert model.predict(["Zorgl-Blib"])[0][0] == "limit_exceeded"


def test_files_taught_at_once_are_all_kept(tmp_path: Path) -> None:
    def one(number: int) -> None:
        teach([line("duplicate", text=f"wording{'abcdefgh'[number]}")], tmp_path, ON)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))
    assert len(read_taught(tmp_path)) == 8
    assert not list(tmp_path.glob("*.draft"))


def test_a_damaged_file_is_told_and_left(tmp_path: Path) -> None:
    (tmp_path / TAUGHT_FILE).write_text("{}\n")
    for use in (lambda: read_taught(tmp_path), lambda: teach([line("duplicate", text="x y")], tmp_path, ON)):
        with pytest.raises(StoreError, match="damaged"):
            use()
    assert (tmp_path / TAUGHT_FILE).read_text() == "{}\n"
