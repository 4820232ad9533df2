"""The networks' caps as data: every mistake is named, and changing a day changes what the database refuses."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tests.fake_stripe import NOW, failed_row, failed_table
from tinko_pipelines.errors import InputError
from tinko_pipelines.ledger import attempts, limits
from tinko_pipelines.ledger.limits import Limits
from tinko_pipelines.ledger.network_caps import parse, published
from tinko_pipelines.ledger.schema import amount_ceiling, cap_rule, network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy

HEADER = (
    "rule,network,keyed_by,max_attempts,window_hours,valid_from,valid_until,excess_fee_minor,fee_currency,"
    "meaning,source"
)
GOOD = {
    "rule": "r", "network": "visa", "keyed_by": "fingerprint", "max_attempts": "3", "window_hours": "24",
    "valid_from": "2026-01-01", "valid_until": "2026-01-31", "excess_fee_minor": "10", "fee_currency": "usd",
    "meaning": "m", "source": "s",
}  # fmt: skip


def table(*rows: dict[str, str]) -> str:
    return "\n".join([HEADER, *(",".join(row.values()) for row in rows)])


def test_a_rule_holds_until_the_end_of_its_last_day() -> None:
    (rule,) = parse(table(GOOD), "caps.csv")
    assert rule.valid_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert rule.valid_until == datetime(2026, 2, 1, tzinfo=UTC)
    assert (rule.excess_fee_minor, rule.fee_currency) == (10, "usd")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rule", ""), ("network", "visaa"), ("keyed_by", "card"), ("max_attempts", "-1"),
        ("max_attempts", "many"), ("window_hours", "0"), ("valid_from", "soon"), ("valid_until", "2026-02-30"),
        ("valid_until", "2025-12-31"), ("excess_fee_minor", "0.1"), ("fee_currency", "USD"),
        ("fee_currency", ""), ("meaning", ""), ("source", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_line_and_column(column: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"caps\.csv, line 3, column {column}: ."):
        parse(table(GOOD, {**GOOD, "rule": "other", column: value}), "caps.csv")


def test_a_rule_holds_once_at_a_time() -> None:
    later = {**GOOD, "valid_from": "2026-02-01", "valid_until": ""}
    assert len(parse(table(later, GOOD), "caps.csv")) == 2
    with pytest.raises(InputError, match="line 3, column valid_from: r holds twice"):
        parse(table(GOOD, {**later, "valid_from": "2026-01-31"}), "caps.csv")
    with pytest.raises(InputError, match="line 1: column source is missing"):
        parse(table().replace(",source", ""), "caps.csv")


def test_what_is_shipped_covers_today_and_stays_above_our_own_defaults() -> None:
    current = [rule for rule in published() if rule.valid_until is None]
    assert {rule.rule for rule in current} == {"visa_30d", "mastercard_24h", "mastercard_30d"}
    assert all(rule.max_attempts >= Limits().card_attempts_30d for rule in current)
    assert all(rule.excess_fee_minor for rule in published())


def stored(ledger: Ledger, of: Any = cap_rule) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        return [dict(row) for row in connection.execute(select(of)).mappings()]


def test_the_ledger_holds_exactly_the_limits_given(ledger: Ledger) -> None:
    given = Limits(ceilings_minor=(("eur", 7), ("usd", 5)), account_attempts_24h=9)
    limits.synchronise(ledger, given)
    limits.synchronise(ledger, given)
    assert {row["rule"] for row in stored(ledger)} > {"tinko_account_24h", "visa_30d"}
    assert {(row["currency"], row["max_minor_per_day"]) for row in stored(ledger, amount_ceiling)} == {
        ("eur", 7),
        ("usd", 5),
    }
    limits.synchronise(ledger, Limits(card_attempts_24h=3, networks=()))
    found = {row["rule"]: row["max_attempts"] for row in stored(ledger)}
    assert found["tinko_card_24h"] == 3
    assert not {"tinko_account_24h", "visa_30d"} & set(found)
    assert stored(ledger, amount_ceiling) == []


@pytest.mark.parametrize("given", ["usd", "usd=", "usd=1.5", "us=5", "usd=5,USD=6", "usd=-1"])
def test_a_ceiling_that_cannot_be_read_is_refused(given: str) -> None:
    from tinko_pipelines.errors import SettingsError

    with pytest.raises(SettingsError, match="TINKO_AMOUNT_CEILINGS"):
        limits.parse_ceilings(given)


def test_an_edit_of_a_day_changes_what_the_database_refuses_from_that_day_on(ledger: Ledger) -> None:
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    with ledger.write() as connection:
        case = dict(connection.execute(select(recovery_case)).mappings().one())
        for number in range(3):
            connection.execute(
                network_attempt.insert().values(
                    charge_id=f"ch_{number}", account_id="default", livemode=False, card_brand="visa",
                    card_fingerprint="fp_pi_1", amount_minor=1000, currency="usd", declined=True, ours=False,
                    at=NOW - timedelta(days=number + 2),
                )
            )  # fmt: skip

    def refused(days: int) -> bool:
        try:
            with ledger.write() as connection:
                attempts.prepare(
                    ledger, connection, case, {}, api_version="v", owner="t", at=NOW + timedelta(days=days),
                    lease_seconds=60,
                )  # fmt: skip
                connection.rollback()
        except IntegrityError:
            return True
        return False

    for starts_in in (1, 3):
        day = (NOW + timedelta(days=starts_in)).date()
        rule = parse(
            table({**GOOD, "window_hours": "720", "valid_from": day.isoformat(), "valid_until": ""}), "x"
        )
        limits.synchronise(ledger, Limits(networks=rule))
        assert [days for days in range(6) if refused(days)] == list(range(starts_in, 6))
    limits.synchronise(ledger, Limits(networks=(replace(rule[0], valid_until=NOW + timedelta(days=4)),)))
    assert [days for days in range(6) if refused(days)] == [3]
