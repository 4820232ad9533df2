from __future__ import annotations

import json
import random
from dataclasses import asdict
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinko_pipelines.declines.classify import classify
from tinko_pipelines.declines.jsonl import classify_lines
from tinko_pipelines.declines.records import CATEGORIES, CUSTOMER_REASON, MOVES, Decline
from tinko_pipelines.declines.rules import decline_rules, network_rules
from tinko_pipelines.declines.table import VERDICT_SCHEMA, classify_table

ON = date(2026, 11, 1)


@pytest.mark.parametrize("code", sorted(decline_rules()))
def test_each_known_code_is_decided_by_its_rule(code: str) -> None:
    rule = decline_rules()[code][0]
    for spelled in (code, code.upper(), f"  {code} ", code.replace("_", " ")):
        verdict = classify(Decline(code=spelled), ON)
        assert (verdict.category, verdict.source) == (rule.category, "rule")
        assert verdict.retry_same_card == (rule.same_card == "yes")


def test_rule_tables_use_only_our_words() -> None:
    rows = [rule for group in (*decline_rules().values(), *network_rules().values()) for rule in group]
    for rule in rows:
        assert rule.category in (*CATEGORIES, "")
        assert rule.move in (*MOVES, "")
        assert rule.same_card in ("yes", "never", "after_change", "")
        assert rule.reason
        assert rule.move or not rule.forbids


@pytest.mark.parametrize("network", ["visa", "VISA", " Visa "])
def test_visa_57_forbids_only_from_its_day(network: str) -> None:
    decline = Decline(code="generic_decline", network=network, network_decline_code="57")
    assert classify(decline, date(2026, 10, 24)).retry_same_card
    verdict = classify(decline, date(2026, 10, 25))
    assert not verdict.retry_same_card
    assert (verdict.category, verdict.move) == ("not_permitted", "customer")


@pytest.mark.parametrize(
    "forbidding",
    [
        {"network": "visa", "network_decline_code": "14"},
        {"network": "visa", "network_decline_code": "r1"},
        {"network": "visa", "network_decline_code": "4"},
        {"network": "mastercard", "network_advice_code": "03"},
        {"network": "mastercard", "network_advice_code": 3},
        {"network": "mastercard", "network_advice_code": "MAC 21"},
        {"advice_code": "do_not_try_again"},
        {"outcome_reason": "previously_declined_do_not_retry"},
        {"failure_code": "stolen_card"},
    ],
)
@pytest.mark.parametrize(
    "code", ["insufficient_funds", "generic_decline", "processing_error", "new_code", None]
)
def test_what_forbids_wins_over_all(forbidding: dict[str, object], code: str | None) -> None:
    verdict = classify(Decline.of({"code": code, "message": "insufficient funds", **forbidding}), ON)
    assert not verdict.retry_same_card
    assert verdict.move in ("customer", "stop")
    assert verdict.wait_hours is None


@pytest.mark.parametrize(("code", "hours"), [("24", 1), ("25", 24), ("30", 240), ("02", 72), ("2", 72)])
def test_mastercard_advice_names_the_wait(code: str, hours: float) -> None:
    verdict = classify(Decline(code="insufficient_funds", network="mastercard", network_advice_code=code), ON)
    assert (verdict.wait_hours, verdict.retry_same_card) == (hours, True)
    assert classify(Decline(code="expired_card", network_advice_code=code), ON).wait_hours is None


def test_umbrella_codes_give_way_to_what_is_precise() -> None:
    assert (
        classify(Decline(code="card_declined", network_decline_code="51"), ON).category
        == "insufficient_funds"
    )
    assert (
        classify(Decline(code="card_declined", outcome_reason="expired_card"), ON).category == "card_expired"
    )
    assert classify(Decline(code="generic_decline", outcome_type="blocked"), ON).category == "risk_blocked"


def test_bank_debits_are_not_sent_again() -> None:
    verdict = classify(Decline(code="insufficient_funds", payment_method_type="sepa_debit"), ON)
    assert (verdict.move, verdict.retry_same_card) == ("customer", False)


def test_contention_is_a_call_to_repeat() -> None:
    verdict = classify(Decline(code="rate_limit"), ON)
    assert (verdict.category, verdict.move, verdict.rule) == ("processing_error", "retry", "api_contention")


def test_customers_never_read_lost_stolen_or_fraud() -> None:
    neutral = {classify(Decline(code=code), ON).customer_reason for code in decline_rules()}
    assert not [
        key
        for key in (*neutral, *CUSTOMER_REASON.values())
        if any(w in key for w in ("lost", "stol", "fraud"))
    ]
    assert classify(Decline(code="lost_card"), ON).customer_reason == "another_method"


GARBAGE: list[object] = [
    None,
    "",
    " ",
    987_654,
    -1.5,
    float("nan"),
    True,
    [],
    {},
    {"a": [1]},
    "x" * 10_000,
    "\x00",
    "💳",
    b"x",
    10**5000,
]


@pytest.mark.parametrize("value", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_unknown_and_no_error(value: object) -> None:
    for verdict in (
        classify(Decline.of(dict.fromkeys(Decline.__dataclass_fields__, value)), ON),
        classify(Decline(*[value] * 11), ON),  # type: ignore[arg-type]
    ):
        assert (verdict.category, verdict.source, verdict.retry_same_card) == ("unknown", "default", False)


VALUES = st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.sampled_from(sorted(decline_rules())))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(Decline.__dataclass_fields__)), VALUES))
def test_any_input_gives_a_verdict_of_our_words(values: dict[str, object]) -> None:
    verdict = classify(Decline.of(values), ON)
    assert verdict.category in CATEGORIES
    assert verdict.move in MOVES
    assert verdict.reason
    assert not (verdict.move == "retry" and not verdict.retry_same_card)


def test_a_table_keeps_rows_order_and_other_columns() -> None:
    codes = ["lost_card", None, "insufficient_funds", "lost_card"]
    table = pa.table({"id": [1, 2, 3, 4], "code": codes, "category": ["old"] * 4})
    out = classify_table(table, ON)
    assert out.column("id").to_pylist() == [1, 2, 3, 4]
    assert out.column("category").to_pylist() == [
        "lost_or_stolen",
        "unknown",
        "insufficient_funds",
        "lost_or_stolen",
    ]
    assert classify_table(table.slice(0, 0), ON).num_rows == 0


def test_lines_go_on_after_a_bad_one() -> None:
    lines = [
        '{"code":"expired_card"}',
        "oops",
        "",
        "[1]",
        "[" * 100_000,
        '{"code":"\\ud800"}',
        '{"code":"lost_card"}',
    ]
    out = [json.loads(line) for line in classify_lines(lines, ON)]
    assert out[0]["category"] == "card_expired"
    assert "line 2" in out[1]["error"]
    assert "line 4" in out[2]["error"]
    assert "line 5" in out[3]["error"]
    assert set(out[-1]) == {"category", "move", "reason", "source", "confidence", "retry_same_card"}


class Counting:
    """A text model that reads every wording the same way and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict(self, texts: list[str]) -> list[tuple[str, float]]:
        self.asked.append(len(texts))
        return [("card_expired" if "old" in text else "unknown", 0.8) for text in texts]


def test_a_table_gives_each_row_the_verdict_it_would_get_alone() -> None:
    rows = 3_000
    drawn = random.Random(3)
    values = {
        "code": ["card_declined", "insufficient_funds", "stolen_card", "odd", 7, None],
        "network": ["visa", " Visa", "mastercard", None],
        "network_decline_code": ["51", "57", "14", "Q7", None],
        "network_advice_code": ["03", "24", "40", None],
        "outcome_type": ["blocked", "issuer_declined", None],
        "payment_method_type": ["card", "sepa_debit", None],
        "message": ["too old", "hm", "", None],
    }
    columns = {name: [drawn.choice(kinds) for _ in range(rows)] for name, kinds in values.items()}
    columns["code"] = [None if value is None else str(value) for value in columns["code"]]
    table = pa.table(columns)
    table = pa.concat_tables([table.slice(0, 1_000), table.slice(1_000)])
    alone = [asdict(classify(Decline.of(row), ON, Counting())) for row in table.to_pylist()]
    found = classify_table(table, ON, Counting()).select(VERDICT_SCHEMA.names)
    assert found.schema == VERDICT_SCHEMA
    assert found.to_pylist() == alone


def test_a_table_asks_the_text_model_once_for_all_and_not_for_what_rules_know() -> None:
    model = Counting()
    told = ["odd one", "odd two", "odd one", None] * 50
    classify_table(pa.table({"message": told, "code": [None] * 100 + ["lost_card"] * 100}), ON, model)
    assert model.asked == [2]


def test_columns_of_any_kind_are_read_or_count_as_missing() -> None:
    table = pa.table(
        {
            "code": pa.array(["lost_card", "odd", None]).dictionary_encode(),
            "network_decline_code": pa.array([4, 51, None], pa.int64()),
            "message": pa.array([["list"], None, []], pa.list_(pa.string())),
            "network": pa.nulls(3),
            "outcome_type": [True, False, None],
        }
    )
    found = classify_table(table, ON)
    assert found.column("category").to_pylist() == ["lost_or_stolen", "insufficient_funds", "unknown"]
    assert found.column_names[: table.num_columns] == table.column_names
    assert classify_table(pa.table({"id": [1, 2]}), ON).column("rule").to_pylist() == ["nothing", "nothing"]
    assert classify_table(pa.table({"id": pa.array([], pa.int64())}), ON).num_rows == 0


def test_a_long_table_is_joined_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinko_pipelines.declines.table.ROWS_AT_ONCE", 7)
    monkeypatch.setattr("tinko_pipelines.declines.table.COMBINATIONS_AT_ONCE", 5)
    codes = sorted(decline_rules()) * 3
    found = classify_table(pa.table({"code": codes}), ON)
    assert found.column("category").to_pylist() == [
        classify(Decline(code=code), ON).category for code in codes
    ]


def test_an_explained_line_names_rule_and_what_the_customer_may_be_told() -> None:
    (line,) = classify_lines(['{"code":"fraudulent"}'], ON, explain=True)
    told = json.loads(line)
    assert (told["rule"], told["customer_reason"], told["wait_hours"]) == (
        "code:fraudulent",
        "another_method",
        None,
    )
    assert "fraud" not in told["customer_text"]
