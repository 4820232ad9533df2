"""Which limits hold: the networks' and our own, brought from data and settings into the tables the triggers read."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, select, text

from tinko_pipelines.errors import SettingsError
from tinko_pipelines.ledger.network_caps import CapRule, published
from tinko_pipelines.ledger.schema import amount_ceiling, cap_rule
from tinko_pipelines.ledger.store import Ledger

if TYPE_CHECKING:
    from tinko_pipelines.settings import Settings

SINCE = datetime(2020, 1, 1, tzinfo=UTC)
_LOCK = 7_405_917_222
_DAY, _MONTH, _EVER = 24, 720, 87_600


@dataclass(frozen=True, slots=True)
class Limits:
    """Our own limits, each below the networks'; 0 attempts per account and no ceiling mean none of that kind."""

    account_id: str = "default"
    card_attempts_30d: int = 8
    card_attempts_24h: int = 1
    customer_attempts_24h: int = 2
    account_attempts_24h: int = 0
    visa_attempts_30d: int = 15
    mails_per_address_24h: int = 1
    mails_per_address_7d: int = 3
    mails_per_case: int = 6
    ceilings_minor: tuple[tuple[str, int], ...] = ()
    networks: tuple[CapRule, ...] = field(default_factory=published)

    @classmethod
    def from_settings(cls, settings: "Settings", account_id: str | None = None) -> "Limits":
        """The limits the environment asks for, which are the same for each account; the main one by default."""
        return cls(
            account_id=account_id or settings.stripe_account,
            card_attempts_30d=settings.card_attempts_30d,
            card_attempts_24h=settings.card_attempts_24h,
            customer_attempts_24h=settings.customer_attempts_24h,
            account_attempts_24h=settings.account_attempts_24h,
            visa_attempts_30d=settings.visa_attempts_30d,
            mails_per_address_24h=settings.mails_per_address_24h,
            mails_per_address_7d=settings.mails_per_address_7d,
            mails_per_case=settings.mails_per_case,
            ceilings_minor=parse_ceilings(settings.amount_ceilings),
        )


def parse_ceilings(given: str) -> tuple[tuple[str, int], ...]:
    """Read `usd=5000000,eur=…` (minor units per 24 hours); raises SettingsError naming what cannot be read."""
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        currency, _, amount = (piece.strip() for piece in part.partition("="))
        code = currency.lower()
        if not (len(code) == 3 and code.isascii() and code.isalpha() and amount.isdecimal()):
            raise SettingsError(
                f"TINKO_AMOUNT_CEILINGS: {part!r} is no currency with an amount in minor units; write for example usd=5000000"
            )
        if code in found:
            raise SettingsError(f"TINKO_AMOUNT_CEILINGS: {code} is there twice; name each currency once")
        found[code] = int(amount)
    return tuple(sorted(found.items()))


def synchronise(ledger: Ledger, limits: Limits) -> None:
    """Let the ledger hold exactly these limits; nothing is written when it does already."""
    wanted = ((cap_rule, _rules(limits)), (amount_ceiling, _ceilings(limits)))
    with ledger.read() as connection:
        if all(_stored(connection, table, limits) == rows for table, rows in wanted):
            return
    with ledger.write() as connection:
        if ledger.dialect == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        for table, rows in wanted:
            _replace(connection, table, _stored(connection, table, limits), rows)


Key = tuple[Any, ...]
Rows = dict[Key, dict[str, Any]]


@cache
def _rules(limits: Limits) -> Rows:
    own = [
        CapRule("tinko_card_30d", "any", "fingerprint", limits.card_attempts_30d, _MONTH, SINCE),
        CapRule("tinko_card_24h", "any", "fingerprint", limits.card_attempts_24h, _DAY, SINCE),
        CapRule("tinko_visa_30d", "visa", "fingerprint_amount", limits.visa_attempts_30d, _MONTH, SINCE),
        CapRule("tinko_customer_24h", "any", "customer", limits.customer_attempts_24h, _DAY, SINCE),
        CapRule("tinko_address_24h", "mail", "address", limits.mails_per_address_24h, _DAY, SINCE),
        CapRule("tinko_address_7d", "mail", "address", limits.mails_per_address_7d, 7 * _DAY, SINCE),
        CapRule("tinko_case_mails", "mail", "case_mail", limits.mails_per_case, _EVER, SINCE),
    ]
    if limits.account_attempts_24h:
        most = limits.account_attempts_24h
        own.append(CapRule("tinko_account_24h", "any", "account", most, _DAY, SINCE))
    return {(rule.rule, rule.valid_from): asdict(rule) for rule in (*own, *limits.networks)}


def _ceilings(limits: Limits) -> Rows:
    return {
        (limits.account_id, currency): {
            "account_id": limits.account_id,
            "currency": currency,
            "max_minor_per_day": most,
        }
        for currency, most in limits.ceilings_minor
    }


def _stored(connection: Connection, table: Table, limits: Limits) -> Rows:
    query = select(table)
    if table is amount_ceiling:
        query = query.where(table.c.account_id == limits.account_id)
    key = [column.name for column in table.primary_key.columns]
    return {tuple(row[name] for name in key): dict(row) for row in connection.execute(query).mappings()}


def _replace(connection: Connection, table: Table, stored: Rows, wanted: Rows) -> None:
    for key, row in stored.items():
        if wanted.get(key) != row:
            same = [column == value for column, value in zip(table.primary_key.columns, key, strict=True)]
            connection.execute(table.delete().where(*same))
    for key, row in wanted.items():
        if stored.get(key) != row:
            connection.execute(table.insert().values(**row))
