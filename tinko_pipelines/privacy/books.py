"""One person's rows in the ledger: which they are, what of each is personal, and taking that out.

States, amounts, times and the ids of money stay, and so does every rule for everybody else: a card that another person
uses too, or that its bank forbids, goes on counting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Table, select

from tinko_pipelines.errors import InputError
from tinko_pipelines.lake.erased import Erased
from tinko_pipelines.lake.schemas import ERASED
from tinko_pipelines.ledger import cases, links
from tinko_pipelines.ledger.erasure import door
from tinko_pipelines.ledger.schema import (
    OPEN_CASE_STATES,
    UNRESOLVED,
    anomaly,
    attempt,
    cap_refusal,
    card_notice,
    case_event,
    checkout_session,
    message,
    message_body,
    network_attempt,
    recovery_case,
    recovery_link,
    webhook_event,
)
from tinko_pipelines.ledger.store import Ledger, repeated
from tinko_pipelines.ledger.triggers import NO_PARAMS

ACTOR = "privacy"
REASON = "the person was erased"
_LIVING = (*OPEN_CASE_STATES, "needs_human")
_STREAMED = 5_000
_OF_CASE: tuple[Table, ...] = (
    attempt,
    recovery_link,
    checkout_session,
    message,
    message_body,
    case_event,
    cap_refusal,
    anomaly,
)
_BESIDE: Mapping[str, tuple[Table, tuple[str, ...]]] = {
    "network_attempt": (network_attempt, ("charge_id", "customer_id")),
    "webhook_event": (webhook_event, ("event_id", "object_id")),
}
"""What belongs to no case, and where it names whose it is."""
_OF_CARD: tuple[Table, ...] = (message, message_body)
"""What a notice about a card has, told by the message's id."""
_NAMES = ("id", "debt_id", "live_object_id", "invoice_id", "payment_intent_id", "first_charge_id", "customer_id",
          "payment_method_id")  # fmt: skip
_GONE: Mapping[str, tuple[str, ...]] = {
    "recovery_case": ("customer_id", "payment_method_id", "card_fingerprint", "locale"),
    "attempt": ("customer_id", "card_fingerprint"),
    "network_attempt": ("customer_id", "card_fingerprint"),
    "message": ("locale", "subject", "address_hmac", "opened_at"),
    "card_notice": ("customer_id", "payment_method_id"),
    "message_body": ("content", "sha256"),
}
"""The columns that tell of the person."""
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "recovery_case": ("state_reason", "verdict_reason"),
    "attempt": ("answer", "detail"),
    "message": ("drop_reason", "detail"),
    "cap_refusal": ("subject",),
    "anomaly": ("detail", "proposal"),
    "webhook_event": ("note",),
}
"""Sentences in which he may be named."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Books:
    """The ledger of one account, with whom to look for in it."""

    ledger: Ledger
    account_id: str
    erased: Erased

    def cases(self) -> list[Row]:
        """His cases."""
        query = select(recovery_case).where(recovery_case.c.account_id == self.account_id)
        with self.ledger.read() as connection:
            return [row for row in _stream(connection, query) if self._is_his(row, _NAMES)]

    def rows(self) -> dict[str, list[Row]]:
        """All his rows, by table."""
        found: dict[str, list[Row]] = {"recovery_case": self.cases()}
        with self.ledger.read() as connection:
            for table in _OF_CASE:
                ids = [case["id"] for case in found["recovery_case"]]
                found[table.name] = [row for one in ids for row in _of_case(connection, table, one)]
            found["card_notice"] = self._notices(connection)
            for notice in found["card_notice"]:
                for table in _OF_CARD:
                    found[table.name] += _of_card(connection, table, notice["id"])
            for name in _BESIDE:
                found[name] = list(self._beside(connection, name))
        return found

    def busy(self) -> list[str]:
        """Why he cannot be erased now, one sentence each."""
        found = self.rows()
        calls = [row for row in found["attempt"] if row["state"] in UNRESOLVED]
        mails = [row for row in found["message"] if row["state"] == "sending"]
        return [_unsettled(row) for row in calls] + [
            f"mail {row['id']} is being sent: try again in some minutes" for row in mails
        ]

    def living(self) -> list[str]:
        """His cases that are not over yet."""
        return [case["id"] for case in self.cases() if case["state"] in _LIVING]

    def left(self) -> dict[str, int]:
        """How many rows by table still tell of him."""
        shared = self._shared()
        counts = {
            name: sum(bool(self._emptied(name, row, shared)) for row in rows)
            for name, rows in self.rows().items()
        }
        return {name: count for name, count in counts.items() if count}

    def empty(self, at: datetime) -> None:
        """Close his cases and take him out of every row, case by case; what is done once is not done again."""
        shared = self._shared()
        for case in self.cases():
            repeated(partial(self._empty_case, case["id"], at, shared))
        with self.ledger.read() as connection:
            notices = self._notices(connection)
        for notice in notices:
            repeated(partial(self._empty_notice, notice, shared))
        for name, (table, _) in _BESIDE.items():
            with self.ledger.read() as connection:
                found = list(self._beside(connection, name))
            with self.ledger.write() as connection:
                for row in found:
                    self._write(connection, table, row, shared)

    def _empty_case(self, case_id: str, at: datetime, shared: frozenset[str]) -> None:
        with self.ledger.write() as connection:
            query = select(recovery_case).where(recovery_case.c.id == case_id)
            case = dict(connection.execute(query.with_for_update()).mappings().one())
            attempts = _of_case(connection, attempt, case_id)
            for row in attempts:
                if row["state"] in UNRESOLVED:
                    raise InputError(_unsettled(row))
            if case["state"] in _LIVING:
                won = any(row["state"] == "succeeded" for row in attempts)
                cases.close(connection, case, "recovered" if won else "cancelled", REASON, at, ACTOR)
                case = dict(connection.execute(query).mappings().one())
            links.revoke(connection, case_id, at)
            with door(connection, case_id):
                self._write(connection, recovery_case, case, shared)
                for table in _OF_CASE:
                    for row in _of_case(connection, table, case_id):
                        self._write(connection, table, row, shared)

    def _notices(self, connection: Connection) -> list[Row]:
        """What was to be written to him about cards that end."""
        query = select(card_notice).where(card_notice.c.account_id == self.account_id)
        names = ("id", "customer_id", "payment_method_id")
        return [row for row in _stream(connection, query) if self._is_his(row, names)]

    def _empty_notice(self, notice: Row, shared: frozenset[str]) -> None:
        """Once it names nobody its mail is claimed by nobody."""
        with self.ledger.write() as connection:
            waiting = (message.c.card_notice_id == notice["id"]) & (message.c.state == "scheduled")
            connection.execute(message.update().where(waiting).values(state="dropped", drop_reason=REASON))
            for table in _OF_CARD:
                for row in _of_card(connection, table, notice["id"]):
                    with door(connection, row.get("message_id") or row["id"]):
                        self._write(connection, table, row, shared)
            self._write(connection, card_notice, notice, shared)

    def _write(self, connection: Connection, table: Table, row: Row, shared: frozenset[str]) -> None:
        changed = self._emptied(table.name, row, shared)
        if changed:
            keys = [column == row[column.name] for column in table.primary_key.columns]
            connection.execute(table.update().where(*keys).values(**changed))

    def _emptied(self, name: str, row: Row, shared: frozenset[str]) -> Row:
        """What is to be changed in a row of his."""
        new: Row = {column: None for column in _GONE.get(name, ()) if not _stays(name, column, row, shared)}
        for column in _TEXTS.get(name, ()):
            if row[column] is not None:
                new[column] = self.erased.cleaned(row[column])
        if name == "attempt":
            new |= {"params": NO_PARAMS, "params_sha256": sha256(NO_PARAMS.encode()).hexdigest()}
        if name == "case_event" and self.erased.names_him(row["detail"]):
            new["detail"] = None
        if name == "anomaly" and self.erased.names_him(row["subject"]):
            new["subject"] = f"{ERASED} {row['id']}"
        if name == "webhook_event":
            new["payload"] = self._payload(row["payload"])
            if self.erased.names_him(row["object_id"]):
                new["object_id"] = None
        return {column: value for column, value in new.items() if value != row[column]}

    def _payload(self, payload: str | None) -> str | None:
        """An event as it may stay; what cannot be read does not."""
        if payload is None:
            return None
        with suppress(ValueError, KeyError):
            return self.erased.page("events", payload.encode(), single=True).decode() or None
        return None

    def _beside(self, connection: Connection, name: str) -> Iterator[Row]:
        table, names = _BESIDE[name]
        query = select(table).where(table.c.account_id == self.account_id)
        for row in _stream(connection, query):
            payload = row.get("payload")
            if self._is_his(row, names) or (payload and self.erased.holds(payload)):
                yield row

    def _is_his(self, row: Mapping[str, Any], names: tuple[str, ...]) -> bool:
        return any(self.erased.knows(row[name]) for name in names)

    def _shared(self) -> frozenset[str]:
        """Cards of his that somebody else uses as well, and addresses under which somebody else was written to."""
        found, used, written = self.rows(), set[str](), set[str]()
        ours = {case["id"] for case in found["recovery_case"]}
        seen = {row["charge_id"] for row in found["network_attempt"]}
        cards = {
            row["card_fingerprint"] for rows in found.values() for row in rows if row.get("card_fingerprint")
        }
        with self.ledger.read() as connection:
            for table, key, his in ((network_attempt, "charge_id", seen), (attempt, "case_id", ours)):
                query = select(table.c[key], table.c.card_fingerprint).where(
                    table.c.account_id == self.account_id, table.c.card_fingerprint.in_(sorted(cards))
                )
                used |= {row[1] for row in connection.execute(query) if row[0] not in his}
            addresses = sorted({row["address_hmac"] for row in found["message"] if row["address_hmac"]})
            ids = {row["id"] for row in found["message"]}
            query = select(message.c.id, message.c.address_hmac).where(
                message.c.account_id == self.account_id, message.c.address_hmac.in_(addresses)
            )
            written = {row[1] for row in connection.execute(query) if row[0] not in ids}
        return frozenset(used | written)


def _stays(name: str, column: str, row: Row, shared: frozenset[str]) -> bool:
    """Whether a limit that protects others still counts by it; a case counts for none."""
    if name == "recovery_case":
        return False
    forbidden = column == "card_fingerprint" and bool(row.get("forbids_card"))
    return forbidden or row[column] in shared


def _unsettled(row: Row) -> str:
    return (
        f"attempt {row['id']} of case {row['case_id']} is {row['state']}: wait until it is settled,"
        f" see `tinko case show {row['case_id']}`"
    )


def _of_case(connection: Connection, table: Table, case_id: str) -> list[Row]:
    query = select(table).where(table.c.case_id == case_id).order_by(*table.primary_key.columns)
    return [dict(row) for row in connection.execute(query).mappings()]


def _of_card(connection: Connection, table: Table, notice_id: str) -> list[Row]:
    of_card = select(message.c.id).where(message.c.card_notice_id == notice_id)
    key = table.c.id if table is message else table.c.message_id
    return [dict(row) for row in connection.execute(select(table).where(key.in_(of_card))).mappings()]


def _stream(connection: Connection, query: Any) -> Iterator[Row]:
    for row in connection.execution_options(yield_per=_STREAMED).execute(query).mappings():
        yield dict(row)
