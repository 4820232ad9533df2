"""A small lake and ledger export, written as Parquet with the real schemas; rows name only what matters to them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Float, Integer, Table

from tinko_pipelines.lake.debts import FAILED_PAYMENTS
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.stamped import stamped
from tinko_pipelines.ledger.export import CARD_MESSAGES
from tinko_pipelines.ledger.network_caps import published
from tinko_pipelines.ledger.schema import metadata
from tinko_pipelines.ledger.types import UtcDateTime
from tinko_pipelines.planning import DEBT
from tinko_pipelines.settings import Settings, load_settings

AS_OF = datetime(2026, 10, 15, 12, tzinfo=UTC)
FAILED_AT = datetime(2026, 9, 1, 8, tzinfo=UTC)
VERDICTS = pa.schema(
    [
        *FAILED_PAYMENTS,
        *((name, pa.string()) for name in ("category", "move", "reason", "rule", "source")),
        ("confidence", pa.float64()),
        ("retry_same_card", pa.bool_()),
        ("wait_hours", pa.float64()),
        ("customer_reason", pa.string()),
    ]
)
Rows = dict[str, list[dict[str, Any]]]


def days(number: float) -> timedelta:
    return timedelta(days=number)


def ledger_schema(table: Table) -> pa.Schema:
    kinds = (
        (UtcDateTime, pa.timestamp("us", tz="UTC")),
        (Boolean, pa.bool_()),
        (Float, pa.float64()),
        ((Integer, BigInteger), pa.int64()),
    )
    return pa.schema(
        (column.name, next((kind for types, kind in kinds if isinstance(column.type, types)), pa.string()))
        for column in table.columns
    )


def write_table(
    path: Path,
    schema: pa.Schema,
    rows: list[dict[str, Any]],
    key: Sequence[str] = (),
    now: datetime = AS_OF,
) -> None:
    """Rows as a file, with the moments at which they changed where they have a key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unknown = {name for row in rows for name in row} - set(schema.names)
    assert not unknown, f"{path}: {unknown}"
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(stamped(table, path, key, now) if key else table, path)


@dataclass
class World:
    """Rows of every table, filled by the methods below; `write` puts them where the settings say."""

    lake: Rows = field(default_factory=lambda: {name: [] for name in OBJECTS})
    failed: list[dict[str, Any]] = field(default_factory=list)
    ledger: Rows = field(default_factory=lambda: {name: [] for name in metadata.tables})
    verdicts: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def charge(self, id: str, at: datetime, status: str, **values: Any) -> None:
        amount = values.get("amount_minor", 1000)
        row = {
            "id": id, "account_id": "acct_1", "livemode": False, "created_at": at, "fetched_at": AS_OF,
            "amount_minor": amount, "amount_captured_minor": amount if status == "succeeded" else 0,
            "amount_refunded_minor": 0, "currency": "usd", "status": status, "disputed": False,
        }  # fmt: skip
        self.lake["charges"].append({**row, **values})

    def debt(
        self, id: str, *, category: str = "insufficient_funds", move: str = "retry", **values: Any
    ) -> None:
        """A debt whose first charge failed, with its verdict; an invoice when its name starts with `in`."""
        kind = "invoice" if id.startswith("in") else "payment_intent"
        row = {
            "account_id": "acct_1", "livemode": False, "debt_kind": kind, "debt_id": id,
            "invoice_id": id if kind == "invoice" else None, "payment_intent_id": f"pi_{id}",
            "first_charge_id": f"ch_{id}_1", "last_charge_id": f"ch_{id}_1", "first_failed_at": FAILED_AT,
            "last_failed_at": FAILED_AT, "failed_charges": 1, "customer_id": f"cus_{id}",
            "amount_minor": 1000, "currency": "usd", "status": "open", "refunded_minor": 0,
            "disputed": False, "code": "insufficient_funds", "card_brand": "visa", "card_country": "US",
        }  # fmt: skip
        row.update(values)
        self.failed.append(row)
        self.verdicts[f"{row['account_id']}/{id}"] = {
            "category": category, "move": move, "reason": "because", "rule": "r1", "source": "rule",
            "confidence": 1.0, "retry_same_card": True,
        }  # fmt: skip
        same = {name: row[name] for name in ("account_id", "livemode", "amount_minor", "currency")}
        intent = row["payment_intent_id"]
        self.charge(f"ch_{id}_1", row["first_failed_at"], "failed", payment_intent_id=intent, **same)
        if kind == "invoice":
            common = {"account_id": row["account_id"], "livemode": row["livemode"], "created_at": FAILED_AT}
            payment = {"id": f"inpay_{id}", "invoice_id": id, "payment_intent_id": intent}
            self.lake["invoice_payments"].append({**common, "fetched_at": AS_OF, **payment})

    def paid(self, id: str, at: datetime, **charge: Any) -> None:
        """Let the debt be paid at `at` by a charge of its own."""
        row = next(row for row in self.failed if row["debt_id"] == id)
        refunded = charge.get("amount_refunded_minor", 0)
        row.update(
            status="refunded" if refunded >= row["amount_minor"] else "paid", paid_at=at,
            paid_charge_id=f"ch_{id}_2", refunded_minor=refunded, disputed=charge.get("disputed", False),
        )  # fmt: skip
        same = {name: row[name] for name in ("account_id", "livemode", "amount_minor", "currency")}
        intent = row["payment_intent_id"]
        self.charge(f"ch_{id}_2", at, "succeeded", **{**same, "payment_intent_id": intent, **charge})

    def case(self, id: str, state: str = "open", **values: Any) -> None:
        row = next(row for row in self.failed if row["debt_id"] == id)
        copied = {
            name: row[name] for name in ("account_id", "livemode", "debt_kind", "amount_minor", "currency")
        }
        verdict = self.verdicts[f"{row['account_id']}/{id}"]
        case = {
            **copied, "id": f"case_{id}", "debt_id": id, "live_object_id": id, "state": state, "plan": "{}",
            "category": verdict["category"], "move": verdict["move"], "verdict_source": "rule",
            "decline_code": row["code"], "first_failed_at": FAILED_AT, "plan_ends_at": FAILED_AT + days(21),
            "max_attempts": 3, "created_at": FAILED_AT, "updated_at": FAILED_AT, "policy_version": "ladder-1",
            "closed_at": None if state in ("open", "needs_human") else FAILED_AT + days(9),
        }  # fmt: skip
        self.ledger["recovery_case"].append({**case, **values})

    def attempt(self, id: str, n: int, at: datetime, state: str, **values: Any) -> None:
        case = next(case for case in self.ledger["recovery_case"] if case["debt_id"] == id)
        copied = {name: case[name] for name in ("account_id", "livemode", "amount_minor", "currency")}
        row = {
            **copied, "id": f"{case['id']}:{n}", "case_id": case["id"], "n": n, "idempotency_key": f"k{id}{n}",
            "operation": "invoice.pay", "object_id": id, "params": "{}", "params_sha256": "x", "fence": 1,
            "api_version": "x", "state": state, "prepared_at": at, "called_at": at, "settled_at": at,
            "executed": state in ("succeeded", "declined"), "forbids_card": False, "card_brand": "visa",
        }  # fmt: skip
        self.ledger["attempt"].append({**row, **values})

    def message(self, id: str, step: int, at: datetime, state: str = "sent", **values: Any) -> None:
        case = next(case for case in self.ledger["recovery_case"] if case["debt_id"] == id)
        row = {
            "id": f"{case['id']}/{step}", "case_id": case["id"], "account_id": case["account_id"],
            "livemode": case["livemode"], "step": step, "kind": "dunning", "template": "update_card",
            "state": state, "due_at": at, "sent_at": at if state == "sent" else None, "fence": 1,
        }  # fmt: skip
        self.ledger["message"].append({**row, **values})

    def tried(self, id: str, at: datetime, **values: Any) -> None:
        """Let a network have refused the debt's card at `at`."""
        case = next(case for case in self.ledger["recovery_case"] if case["debt_id"] == id)
        row = {
            "charge_id": f"ch_{id}_{at:%d%H%M}", "account_id": case["account_id"], "livemode": case["livemode"],
            "card_fingerprint": case["card_fingerprint"], "card_brand": case["card_brand"], "at": at,
            "amount_minor": case["amount_minor"], "currency": case["currency"], "declined": True, "ours": False,
        }  # fmt: skip
        self.ledger["network_attempt"].append({**row, **values})

    def refused(self, id: str, rule: str, at: datetime) -> None:
        case = next(case for case in self.ledger["recovery_case"] if case["debt_id"] == id)
        number = len(self.ledger["cap_refusal"]) + 1
        row = {"id": number, "case_id": case["id"], "account_id": case["account_id"], "rule": rule}
        self.ledger["cap_refusal"].append({**row, "subject": "x", "at": at, "free_at": at + days(1)})

    def announce(self, id: str, at: datetime, retry_at: datetime) -> None:
        """Let Stripe announce in an event when it will try this invoice again."""
        self.lake["events"].append(
            {
                "id": f"evt_{id}_{at:%d%H}", "account_id": "acct_1", "livemode": False, "created_at": at,
                "fetched_at": AS_OF, "type": "invoice.payment_failed", "object_type": "invoice",
                "object_id": id, "next_payment_attempt_at": retry_at,
            }
        )  # fmt: skip

    def write(self, settings: Settings, now: datetime = AS_OF) -> None:
        for name, rows in self.lake.items():
            write_table(settings.lake_dir / "tables" / name / "part.parquet", OBJECTS[name].schema, rows)
        self.write_made(settings, now)

    def write_made(self, settings: Settings, now: datetime) -> None:
        """What classification and export would write."""
        derived = settings.lake_dir / "derived"
        write_table(derived / "failed_payments.parquet", FAILED_PAYMENTS, self.failed, DEBT, now)
        verdicts = [{**row, **self.verdicts[f"{row['account_id']}/{row['debt_id']}"]} for row in self.failed]
        write_table(derived / "verdicts.parquet", VERDICTS, verdicts, DEBT, now)
        # Mails about cards lie apart, and there are none here.
        for name, rows in {**self.ledger, CARD_MESSAGES: []}.items():
            table = metadata.tables["message" if name == CARD_MESSAGES else name]
            key = [] if name == "control" else [column.name for column in table.primary_key.columns]
            write_table(settings.export_dir / f"{name}.parquet", ledger_schema(table), rows, key, now)


def settings_in(folder: Path) -> Settings:
    return load_settings(state=folder / "state", stripe_api_base="http://127.0.0.1:1")


def story() -> World:
    """One debt for each way a failed payment can go, in two currencies and two accounts."""
    world = World()
    world.debt("in_own")
    world.paid("in_own", FAILED_AT + days(4))
    world.case("in_own", "recovered")
    world.message("in_own", 1, FAILED_AT + days(3))
    world.attempt("in_own", 1, FAILED_AT + days(2), "declined", decline_code="insufficient_funds")
    world.attempt("in_own", 2, FAILED_AT + days(3), "abandoned")
    world.attempt("in_own", 3, FAILED_AT + days(4), "succeeded")

    world.debt("in_stripe", move="wait_stripe")
    world.paid("in_stripe", FAILED_AT + days(3) + timedelta(minutes=50))
    world.case("in_stripe", "paid_elsewhere")
    world.message("in_stripe", 1, FAILED_AT + days(1))
    world.announce("in_stripe", FAILED_AT, FAILED_AT + days(3))

    world.debt("in_mail", category="card_expired", move="customer", code="expired_card")
    world.paid("in_mail", FAILED_AT + days(10))
    world.case("in_mail", "paid_elsewhere")
    world.message("in_mail", 1, FAILED_AT + days(1))
    world.message("in_mail", 2, FAILED_AT + days(8), "dropped")
    world.announce("in_mail", FAILED_AT, FAILED_AT + days(3))

    world.debt("in_self")
    world.paid("in_self", FAILED_AT + days(20), amount_refunded_minor=300)
    world.case("in_self", "paid_elsewhere")
    world.message("in_self", 1, FAILED_AT + days(5))

    world.debt("pi_shop", category="do_not_honor", paid_elsewhere_by="pi_second",
               paid_elsewhere_charge_id="ch_second", code="do_not_honor")  # fmt: skip
    world.charge("ch_second", FAILED_AT + timedelta(hours=1), "succeeded", payment_intent_id="pi_second")
    world.case("pi_shop", "paid_elsewhere")
    world.debt("pi_again", paid_elsewhere_by="pi_second", paid_elsewhere_charge_id="ch_second",
               first_failed_at=FAILED_AT + timedelta(minutes=30))  # fmt: skip

    world.debt("in_given_back")
    world.paid("in_given_back", FAILED_AT + days(2), amount_refunded_minor=1000)
    world.debt("in_disputed")
    world.paid("in_disputed", FAILED_AT + days(2), disputed=True)
    world.debt("in_won")
    world.paid("in_won", FAILED_AT + days(2), disputed=True)
    for id, status in (("in_disputed", "lost"), ("in_won", "won")):
        common = {"account_id": "acct_1", "livemode": False, "created_at": FAILED_AT, "fetched_at": AS_OF}
        dispute = {"id": f"dp_{id}", "charge_id": f"ch_{id}_2", "amount_minor": 1000, "status": status}
        world.lake["disputes"].append({**common, **dispute, "currency": "usd"})

    world.debt("in_open")
    world.case("in_open", card_fingerprint="fp_open", card_brand="mastercard")
    world.attempt("in_open", 1, FAILED_AT + days(2), "declined")
    world.debt("in_left_alone", first_failed_at=AS_OF - days(5), last_failed_at=AS_OF - days(5))
    world.debt("in_void", status="void")
    world.debt("in_exhausted")
    world.case("in_exhausted", "exhausted")

    world.debt("pi_yen", currency="jpy", amount_minor=5000)
    world.paid("pi_yen", FAILED_AT + days(1))
    world.debt("in_own_twin", account_id="acct_2", amount_minor=7000)
    world.debt("in_own", account_id="acct_2", amount_minor=9000)
    for rule in published():
        world.ledger["cap_rule"].append(asdict(rule))
    for minute in range(12):
        world.tried("in_open", FAILED_AT + timedelta(minutes=minute), ours=minute == 11)
    world.refused("in_open", "tinko_card_24h", FAILED_AT + timedelta(hours=2))
    world.refused("in_open", "mastercard_24h", FAILED_AT + timedelta(hours=3))
    world.refused("in_open", "tinko_card_24h", FAILED_AT + days(3))
    for hour in range(3):
        world.charge(f"ch_good_{hour}", FAILED_AT + timedelta(hours=hour), "succeeded")
    return world
