"""A merchant, its customers and everybody's clocks, with a memory of what was known to whom when."""

import pickle
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Table, select

from tests.properties.process import KilledError, PostBox, Process, TimedLedger, Times
from tests.properties.stripe_in_process import InProcess, InProcessReader, Stripe
from tinko_pipelines.declines.table import classify_payments
from tinko_pipelines.errors import GatewayError, MailError
from tinko_pipelines.lake.debts import FAILED_PAYMENTS
from tinko_pipelines.ledger import control, limits, restored
from tinko_pipelines.ledger.backup import backup, restore
from tinko_pipelines.ledger.mirror import mirror_charges
from tinko_pipelines.ledger.schema import (
    UNRESOLVED,
    anomaly,
    attempt,
    message,
    metadata,
    recovery_case,
    webhook_event,
)
from tinko_pipelines.ledger.store import insert_ignoring
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.send import send_due
from tinko_pipelines.reconcile import reconcile
from tinko_pipelines.retry.drain import drain
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.sandbox import charging, fixtures, people
from tinko_pipelines.sandbox.ports import EPOCH
from tinko_pipelines.sandbox.store import Object

MERCHANT = Merchant(
    "Shop <shop@example.com>",
    "Shop",
    "1 Street",
    "help@example.com",
    "https://example.com/card",
    b"salt" * 8,
)
LEASE_SECONDS = 180.0
POLICY = Policy(max_age_days=30)


@dataclass(frozen=True)
class Debt:
    """Something a customer owes."""

    id: str
    customer: str
    subscription: str | None


class Simulation:
    """One Stripe, one ledger, two processes at most at a time."""

    def __init__(self, folder: Path, url: str) -> None:
        start = datetime.fromtimestamp(EPOCH, UTC)
        self.times = Times(start, start)
        self.stripe = Stripe(folder)
        self.ledger = TimedLedger.on(url, self.times)
        self._ledgers = [TimedLedger.on(url, self.times) for _ in range(2)]
        self.box = PostBox()
        self.debts: dict[str, Debt] = {}
        self.breaches: list[str] = []
        self.over: dict[str, tuple[int, str]] = {}
        """By debt: since which number of `seq`, and why, nobody who knows may charge it any more."""
        self.paused_since: int | None = None
        self.seq = 0
        self.made: dict[str, tuple[int, int, int]] = {}
        """By charge: when it was made; for ours also what its maker knew of Stripe and of the ledger then."""
        self._known = threading.local()
        self.told: set[str] = set()
        self._rows: pa.Table | None = None
        self._cache: dict[str, list[dict[str, Any]]] = {}
        self._read = -1
        limits.synchronise(self.ledger, POLICY.limits)

    def close(self) -> None:
        for one in (self.ledger, *self._ledgers):
            one.close()
        self.stripe.close()

    # What everybody else does

    def act(self, deed: Callable[[], object]) -> None:
        """Something happens at Stripe, and is a fact from now on."""
        with self.stripe.lock:
            deed()
            self.stripe.book.store.commit()
            self._note_facts()

    def _note_facts(self) -> None:
        self.seq += 1
        for charge in self.stripe.all("charges"):
            self.made.setdefault(charge["id"], (self.seq, -1, -1))
        for debt in self.debts.values():
            why = self._why_over(debt)
            if why is not None:
                self.over.setdefault(debt.id, (self.seq, why))

    def _why_over(self, debt: Debt) -> str | None:
        find = self.stripe.book.find
        owed = find("invoices" if debt.id.startswith("in_") else "payment_intents", debt.id)
        charges = self.stripe.charges_of(debt.id)
        if owed["status"] in ("paid", "succeeded", "void", "canceled"):
            return str(owed["status"])
        if any(charge["disputed"] or charge["refunded"] for charge in charges):
            return "disputed or refunded"
        if debt.subscription and find("subscriptions", debt.subscription)["status"] == "canceled":
            return "subscription cancelled"
        if find("customers", debt.customer).get("deleted"):
            return "customer deleted"
        return "paid by another intent" if self._paid_elsewhere(debt, owed) else None

    def _paid_elsewhere(self, debt: Debt, owed: Object) -> str | None:
        """The intent by which the same customer paid the same order after this one had failed."""
        charges = self.stripe.charges_of(debt.id)
        if debt.id.startswith("in_") or not charges:
            return None
        for other in self.debts.values():
            if other.customer == debt.customer and other.id != debt.id and not other.id.startswith("in_"):
                theirs = self.stripe.book.find("payment_intents", other.id)
                if theirs["metadata"]["order_id"] == owed["metadata"]["order_id"] and any(
                    charge["status"] == "succeeded" and charge["created"] >= charges[0]["created"]
                    for charge in self.stripe.charges_of(other.id)
                ):
                    return other.id
        return None

    def owe(self, customer: str, kind: str, amount: int, order: str) -> None:
        """A first charge, which fails or not as the customer's card has it."""
        actions = self.stripe.actions

        def deed() -> None:
            if kind == "invoice":
                price = actions.create_price(f"Plan {amount}", amount, "usd", "month", 1)
                subscription = actions.create_subscription(customer, price)
                name = actions.renew(subscription, False)
                self.debts[name] = Debt(name, customer, subscription)
            else:
                name = actions.charge_one_off(customer, amount, "usd", False, True, order)
                self.debts[name] = Debt(name, customer, None)

        self.act(deed)

    def customer(self, codes: list[tuple[int, str | None]], brand: str) -> str:
        """Somebody whose card answers so from these days on."""
        script = [(EPOCH - 1 + day * 86_400, code) for day, code in codes]
        made: dict[str, Any] = {}
        number = len(self.stripe.all("customers"))
        email = f"c{number}@example.com"
        self.act(
            lambda: made.update(
                fixtures.make(
                    self.stripe.actions, "customer", {"codes": script, "brand": brand, "email": email}
                )
            )
        )
        return str(made["customer"])

    def pay(self, debt: Debt) -> None:
        card = fixtures.fresh_card(self.stripe.actions, debt.customer)
        self.act(lambda: self.stripe.actions.pay_on_session(debt.id, card))

    def delete_customer(self, name: str) -> None:
        self.act(lambda: people.delete_customer(self.stripe.book, self.stripe.book.find("customers", name)))

    def pass_time(self, delta: timedelta) -> None:
        """Every clock goes on."""
        self.times.advance(delta)
        until = int(self.times.database.timestamp())
        self.act(lambda: self.stripe.actions.advance(until))

    def tell(self, names: list[str]) -> None:
        """Webhook events come in, in this order."""
        for name in names:
            found = self.stripe.book.store.get("events", name)
            if found is None:
                continue
            self.told.add(name)
            body = self.stripe.book.find("events", name)
            row = {
                "event_id": name,
                "account_id": "default",
                "livemode": False,
                "type": body["type"],
                "created_at": datetime.fromtimestamp(body["created"], UTC),
                "received_at": self.times.business,
                "object_id": body["data"]["object"]["id"] if isinstance(body["data"], dict) else None,
            }
            with self.ledger.write() as connection:
                connection.execute(insert_ignoring(self.ledger.dialect, webhook_event), [row])

    # What the merchant does

    def plan(self, *, stale: bool = False) -> None:
        """Read the lake, classify, enrol; `stale`: the lake has not moved since the last time."""
        if self._rows is None or not stale:
            rows = [row for debt in self.debts.values() if (row := self._row(debt)) is not None]
            self._rows = classify_payments(
                pa.Table.from_pylist(rows, schema=FAILED_PAYMENTS), self.times.business.date()
            )
            mirror_charges(self.ledger, self._charges())
        enrol(self.ledger, self._rows, now=self.times.business, policy=POLICY)

    def run(self, process: Process, *, workers: int = 1, ledger: int = 0, owner: str = "one") -> None:
        """One drain, to its end or its death."""
        mine = self._ledgers[ledger]
        mine.passing = process.passing

        def boundary(name: str) -> None:
            if name in ("before_preflight", "janitor_before_get"):
                self._known.stripe = self.seq
                self._known.ledger = self.seq
            if name == "before_begin_call":
                self._known.ledger = self.seq
            process.passing(name)

        gateway = InProcess(self.stripe, process.passing, self._called)
        try:
            drain(
                mine,
                gateway,
                self.times,
                workers=workers,
                max_seconds=30,
                owner=owner,
                dry_run=False,
                boundary=boundary,
                lease_seconds=LEASE_SECONDS,
            )
        except (KilledError, GatewayError):
            pass
        finally:
            mine.passing = lambda _name: None

    def mail(self, process: Process, *, owner: str = "post") -> None:
        mine = self._ledgers[0]
        mine.passing = process.passing
        gateway = InProcess(self.stripe, process.passing)
        try:
            send_due(
                mine,
                gateway,
                self.box.sender(process.passing),
                self.times,
                merchant=MERCHANT,
                max_seconds=30,
                owner=owner,
                dry_run=False,
            )
        except (KilledError, GatewayError, MailError):
            pass
        finally:
            mine.passing = lambda _name: None

    def _called(self, path: str, key: str) -> Callable[[], None]:
        """A charge is asked for: was anything known against it? The answer notes what came of it."""
        debt = path.split("/")[3]
        knew, knew_ledger = self._known.stripe, self._known.ledger
        since, why = self.over.get(debt, (knew + 1, ""))
        if since <= knew:
            self.breaches.append(f"{debt} is charged though {why}")
        if self.paused_since is not None and self.paused_since <= knew_ledger:
            self.breaches.append(f"{debt} is charged though charging is paused")

        def after() -> None:
            self.seq += 1
            for charge in self.stripe.charges_of(debt):
                self.made.setdefault(charge["id"], (self.seq, knew, knew_ledger))
            self._note_facts()

        return after

    # What there is

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """All rows, read again only when something was written since."""
        writes = sum(one.writes for one in (self.ledger, *self._ledgers))
        if self._read != writes:
            self._read, self._cache = writes, {}
        if table.name not in self._cache:
            with self.ledger.read() as connection:
                for one in metadata.sorted_tables if not self._cache else [table]:
                    found = connection.execute(select(one)).mappings()
                    self._cache[one.name] = [dict(row) for row in found]
        return self._cache[table.name]

    def open_cases(self) -> list[dict[str, Any]]:
        return [case for case in self.rows(recovery_case) if case["state"] == "open"]

    def next_moment(self, *, mail: bool = False) -> datetime | None:
        """When the engine, or also the post, has something to do again."""
        unresolved = [row for row in self.rows(attempt) if row["state"] in UNRESOLVED]
        blocked = {row["case_id"] for row in unresolved}
        moments = [case["due_at"] for case in self.open_cases() if case["id"] not in blocked]
        for row in unresolved:
            moments += [row["next_poll_at"], row["lease_until"]]
        if mail:
            moments += [row["due_at"] for row in self.rows(message) if row["state"] == "scheduled"]
        return min((moment for moment in moments if moment is not None), default=None)

    def _charges(self) -> pa.Table:
        rows = []
        for charge in self.stripe.all("charges"):
            details = charge["payment_method_details"]
            card = details.get("card") or {}
            rows.append(
                {
                    "id": charge["id"],
                    "account_id": "default",
                    "livemode": False,
                    "card_fingerprint": card.get("fingerprint"),
                    "payment_method_id": charge["payment_method"],
                    "payment_method_type": details["type"],
                    "card_brand": card.get("brand"),
                    "customer_id": charge["customer"],
                    "amount_minor": charge["amount"],
                    "currency": charge["currency"],
                    "created_at": datetime.fromtimestamp(charge["created"], UTC),
                    "status": charge["status"],
                    "outcome_network_status": (charge["outcome"] or {}).get("network_status"),
                }
            )
        return pa.Table.from_pylist(rows) if rows else pa.table({"id": pa.array([], pa.string())})

    def _row(self, debt: Debt) -> dict[str, Any] | None:
        """The debt as the lake would show it."""
        find = self.stripe.book.find
        charges = self.stripe.charges_of(debt.id)
        failed = [charge for charge in charges if charge["status"] == "failed"]
        if not charges or charges[0]["status"] != "failed":
            return None
        invoice = debt.id.startswith("in_")
        owed = find("invoices" if invoice else "payment_intents", debt.id)
        customer, last = find("customers", debt.customer), failed[-1]
        method = last["payment_method"]
        if invoice:
            method = (customer.get("invoice_settings") or {}).get("default_payment_method") or method
        held = find("payment_methods", method)
        card = held["card"]
        paid = next((charge for charge in charges if charge["status"] == "succeeded"), None)
        status = {"paid": "paid", "succeeded": "paid", "void": "void", "canceled": "canceled"}.get(
            owed["status"], "open"
        )
        if paid is not None and paid["refunded"]:
            status = "refunded"
        outcome = last["outcome"] or {}
        return {
            "account_id": "default",
            "livemode": False,
            "debt_kind": "invoice" if invoice else "payment_intent",
            "debt_id": debt.id,
            "invoice_id": debt.id if invoice else None,
            "payment_intent_id": last["payment_intent"],
            "first_charge_id": charges[0]["id"],
            "last_charge_id": last["id"],
            "first_failed_at": datetime.fromtimestamp(failed[0]["created"], UTC),
            "last_failed_at": datetime.fromtimestamp(last["created"], UTC),
            "failed_charges": len(failed),
            "customer_id": debt.customer,
            "subscription_id": debt.subscription,
            "amount_minor": charges[0]["amount"],
            "currency": "usd",
            "status": status,
            "refunded_minor": 0,
            "disputed": any(charge["disputed"] for charge in charges),
            "payment_method_id": method,
            "payment_method_type": "card",
            "card_brand": card["brand"],
            "card_network": card["brand"],
            "card_country": card["country"],
            "card_fingerprint": card["fingerprint"],
            "card_changed_since_failure": method != last["payment_method"],
            "code": outcome.get("reason") or last["failure_code"],
            "failure_code": last["failure_code"],
            "failure_message": last["failure_message"],
            "outcome_type": outcome.get("type"),
            "outcome_reason": outcome.get("reason"),
            "network_decline_code": outcome.get("network_decline_code"),
            "network_advice_code": outcome.get("network_advice_code"),
            "advice_code": outcome.get("advice_code"),
            "next_payment_attempt_at": None,
            "collection_method": "charge_automatically" if invoice else None,
            "off_session_consent": held["customer"] == debt.customer,
            "customer_deleted": bool(customer.get("deleted")),
            "subscription_status": find("subscriptions", debt.subscription)["status"]
            if debt.subscription
            else None,
            "paid_elsewhere_by": self._paid_elsewhere(debt, owed),
            "preferred_locale": "en-US",
        }

    def new_card(self, customer: str) -> None:
        card = fixtures.fresh_card(self.stripe.actions, customer)
        self.act(lambda: self.stripe.actions.attach_card(customer, card))

    def cancel_intent(self, name: str) -> None:
        book = self.stripe.book
        self.act(lambda: charging.cancel(book, book.find("payment_intents", name), "abandoned"))

    def switch(self, *, pause: bool) -> None:
        """A person pauses or resumes everything; a ledger that was restored is held against Stripe first."""
        self.seq += 1
        now = self.times.business
        if pause:
            control.pause(self.ledger, control.GLOBAL, "a person", "me", now)
            self.paused_since = self.paused_since or self.seq
            return
        if restored.any_pending(self.ledger):
            self.reconcile()
            restored.done(self.ledger, "default")
        for scope in (control.GLOBAL, "default"):
            control.resume(self.ledger, scope, "a person", "me", now)
        self.paused_since = None

    def reconcile(self, *, whole: bool = True) -> None:
        """The ledger is held against Stripe, which must find nothing to disagree about."""
        with closing(InProcessReader(self.stripe)) as reader:
            found = reconcile(self.ledger, reader, self.times.database, whole=whole)
        assert found.disagreements == 0, [row for row in self.rows(anomaly) if row["resolved_at"] is None]

    def back_up(self, path: Path) -> None:
        """The ledger as it is now, all of it. PostgreSQL's own programs take too long to be run so often."""
        path.unlink(missing_ok=True)
        if self.ledger.dialect == "sqlite":
            backup(self.ledger, path)
        else:
            path.write_bytes(pickle.dumps({table.name: self.rows(table) for table in metadata.sorted_tables}))

    def restore(self, path: Path) -> None:
        """That ledger again, held until it is reconciled and a person resumes it."""
        if self.ledger.dialect == "sqlite":
            restore(str(self.ledger.engine.url), path, replace=True)
        else:
            tables = pickle.loads(path.read_bytes())
            with self.ledger.write() as connection:
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
                for table in metadata.sorted_tables:
                    connection.execute(table.delete())
                    if tables[table.name]:
                        connection.execute(table.insert(), tables[table.name])
        restored.hold(self.ledger, {"default"}, "restored", self.times.business)
        self.seq += 1
        self.paused_since = self.paused_since or self.seq
        self.made = {name: (seq, -1, -1) for name, (seq, _, _) in self.made.items()}
