"""Poisoned rows among good ones, through the whole flow: each has an end or a reason, and the good ones lose nothing."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fake_stripe import NOW, failed_row
from tests.properties.simulation import Simulation
from tests.retry.shop import Shop
from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.schema import attempt, message, recovery_case
from tinko_pipelines.money import decimals, format_minor
from tinko_pipelines.outreach.render import Letter, Owed, render
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy

NUL = "a\x00b"
BIDI = "\u202eevil\u202c \u2066x\u2069"
LONG = "x" * 5000
TOO_LARGE = secrets.token_hex(20_000)
"""More than an index of PostgreSQL holds, and of a kind that cannot be compressed."""
HUGE = (2**53 + 1, 2**63 - 1, 2**63, 10**30)
ENDS = ("recovered", "paid_elsewhere", "exhausted", "cancelled", "not_ours")

Poisoned = tuple[Shop, dict[str, dict[str, Any]], dict[str, Any]]
CHARGES: dict[str, dict[str, Any]] = {
    "no amount": {"amount": None},
    "no currency": {"currency": None},
    "a currency of no country": {"currency": "zzzz"},
    "no status": {"status": None},
    "unknown status": {"status": "reversed_by_martians"},
    "amount of zero": {"amount": 0},
    "negative amount": {"amount": -500},
    **{f"amount of {amount}": {"amount": amount} for amount in HUGE},
    "amount as text": {"amount": "12.50"},
    "created in the year 300000": {"created": 10**13},
    "unknown decline code": {
        "failure_code": "solar_flare",
        "outcome": {"type": "x", "reason": "solar_flare"},
    },
    "outcome as text": {"outcome": "declined"},
    "no outcome": {"outcome": None, "failure_code": None, "failure_message": None},
    "NUL in the message": {"failure_message": NUL, "failure_code": NUL},
    "bidirectional message": {"failure_message": BIDI},
    "5,000 characters of metadata": {"metadata": {"order_id": LONG, NUL: NUL, BIDI: BIDI}},
    "NUL in the metadata": {"metadata": {"order_id": NUL, "tinko_attempt": NUL}},
    "yen": {"currency": "jpy"},
    "dinars": {"currency": "kwd"},
    "customer as a number": {"customer": 7},
    "customer that is not there": {"customer": "cus_gone"},
    "card details as a list": {"payment_method_details": []},
    "card of NUL": {
        "payment_method_details": {"type": "card", "card": {"brand": NUL, "fingerprint": NUL, "country": NUL}}
    },
    "unknown method": {"payment_method_details": {"type": "telepathy"}},
}


@pytest.fixture(scope="module")
def poisoned(shared_shop: Shop) -> Iterator[Poisoned]:
    """A shop with one debt of each poison, and one as it should be."""
    shop = shared_shop
    made: dict[str, dict[str, Any]] = {}
    for number, (name, fields) in enumerate(CHARGES.items()):
        made[name] = shop.stripe.fixture(
            "failed_intent", code="insufficient_funds", email=f"p{number}@example.com"
        )
        shop.stripe.fixture("amend", object="charges", id=made[name]["charge"], fields=fields)
    soon = [[0, "insufficient_funds"], [shop.at(0.5), None]]
    good = shop.stripe.fixture("failed_intent", codes=soon, email="good@example.com")
    shop.refresh()
    yield shop, made, good


def test_every_failure_is_a_case_or_set_aside_with_a_reason(poisoned: Poisoned) -> None:
    shop, made, good = poisoned
    cases = {row["debt_id"] for row in shop.rows(recovery_case)}
    assert good["payment_intent"] in cases
    failed = shop.app.lake.read_derived("failed_payments", "test").to_pylist()
    counted = {row["debt_id"]: row for row in failed}
    with shop.app.lake.connect() as lake:
        file = shop.app.lake.root / "tables" / "quarantine" / "*.parquet"
        set_aside = dict(lake.execute("SELECT id, reason FROM read_parquet(?)", [str(file)]).fetchall())
    states = {row["id"]: row["status"] for row in shop.app.lake.table("charges").to_pylist()}
    for name, debt in made.items():
        row = counted.get(debt["payment_intent"])
        unowed = row is not None and row["amount_minor"] <= 0
        unknown = states.get(debt["charge"], "failed") != "failed"
        assert debt["payment_intent"] in cases or set_aside.get(debt["charge"]) or unowed or unknown, name


def test_drain_mail_and_checks_go_on_to_the_end(poisoned: Poisoned) -> None:
    shop, _, good = poisoned
    for _ in range(50):
        shop.advance_hours(24)
        shop.app.drain(owner="me")
        shop.app.send_mail(owner="me")
        if all(row["state"] != "open" for row in shop.rows(recovery_case)):
            break
        shop.refresh()
    assert shop.case(good["payment_intent"])["state"] == "recovered"
    for row in shop.rows(recovery_case):
        assert row["state"] in (*ENDS, "needs_human"), row
        assert row["state_reason"], row
    assert {row["state"] for row in shop.rows(attempt)} <= {"succeeded", "declined", "abandoned"}
    assert {row["state"] for row in shop.rows(message)} <= {"sent", "dropped", "failed"}
    shop.refresh()
    assert {result.name: result.sample for result in shop.app.check() if result.rows} == {}


def test_no_text_stops_a_statement(sim: Simulation) -> None:
    """PostgreSQL refuses NUL, and neither database takes half a surrogate pair."""
    with sim.ledger.write() as connection:
        for number, text in enumerate((NUL, BIDI, LONG, "\ud800x")):
            anomalies.note(
                connection, "default", "odd_text", f"{number}{text}", sim.times.business, detail=text
            )
    found = [row["detail"] for row in anomalies.still_open(sim.ledger)]
    assert found == ["a\N{REPLACEMENT CHARACTER}b", BIDI, LONG, "?x"]


class Table:
    """Rows no Arrow table could hold."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.to_pylist = lambda: rows


def test_a_row_that_cannot_be_planned_is_a_persons_and_the_others_are_planned(sim: Simulation) -> None:
    """What the lake should never have let through: rows of the wrong kind among good ones."""
    poisons: list[dict[str, Any]] = [
        {"currency": "zzzz"},
        {"amount_minor": 2**63},
        {"amount_minor": None},
        {"last_failed_at": None},
        {"wait_hours": 1e308},
        {"debt_kind": 7, "livemode": None},
        *([{"payment_intent_id": TOO_LARGE}] if sim.ledger.dialect == "postgresql" else []),
    ]
    bad = [failed_row(f"pi_bad_{number}", **fields) for number, fields in enumerate(poisons)]
    table = Table([failed_row("pi_first"), *bad, failed_row("pi_last")])
    result = enrol(sim.ledger, table, now=NOW, policy=Policy())
    assert {row["debt_id"] for row in sim.rows(recovery_case)} == {"pi_first", "pi_last"}
    assert (result.created, result.skipped) == (2, len(bad))
    noted = anomalies.still_open(sim.ledger)
    assert {row["subject"] for row in noted} == {row["debt_id"] for row in bad}
    assert all(row["kind"] == "debt_not_planned" and row["detail"] for row in noted)


@pytest.mark.parametrize("currency", ["usd", "jpy", "kwd", "isk", "huf", "ugx", "twd"])
@pytest.mark.parametrize("amount", [1, 500, 2**53 + 1, 2**63 - 1])
def test_an_amount_is_written_with_its_currencys_digits(currency: str, amount: int) -> None:
    """Stripe counts yen whole and dinars by the thousandth; ISK, HUF, TWD and UGX go by the hundredth there."""
    places = {"jpy": 0, "kwd": 3}.get(currency, 2)
    assert decimals(currency) == places
    shown = format_minor(amount, currency).split()[0].replace(",", "")
    assert shown.replace(".", "").lstrip("0") == str(amount)
    assert len(shown.partition(".")[2]) == places
    # What nobody pays by the hundredth is written whole.
    owed = amount * 100 if currency in ("isk", "ugx") else amount
    letter = Letter(
        template="update_card", locale="en", about=Owed(owed, currency, NOW), name=BIDI,
        link="https://example.com", merchant="Shop", support="help@example.com", address="1 Street",
    )  # fmt: skip
    digits = "".join(character for character in render(letter).text if character.isdigit())
    assert str(amount) in digits
