"""A history that goes on: every day something of everything changes at random, old things too, by a seed."""

import random
from datetime import datetime, timedelta
from typing import Any

import pyarrow.parquet as pq

from tests.reports.history import AS_OF, CODES, History, history
from tests.reports.synthetic import write_table
from tinko_pipelines.lake.debts import failed_payments
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.settings import Settings

DEBTS = 150
CODE = ("insufficient_funds", "expired_card", "do_not_honor")


class Changing:
    """The hand-made history, and many simple debts before it, back to a year ago."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings, self.random, self.now = settings, random.Random(seed), AS_OF
        self.made: History = history()
        self.number = 0
        for _ in range(DEBTS):
            self.new_debt(self.now - timedelta(days=self.random.uniform(1, 400)))
        self._write_lake()
        self._find()
        for act in self.made.later:
            act()
        for row in self.made.failed:
            if row["debt_id"].startswith("in_rand") and self.random.random() < 0.8:
                self.open_case(row)
        self._write_made()

    def new_debt(self, moment: datetime, account: str = "a") -> None:
        """A debt whose first charge failed, most of them; others pass at once."""
        self.number += 1
        id, fails = f"in_rand{self.number}", self.random.random() < 0.8
        same: dict[str, Any] = {
            "currency": self.random.choice(("usd", "eur")),
            "customer_id": f"cus_{self.number % 40}",
        }
        amount = self.random.randrange(500, 9000)
        self.made.row("invoices", id, moment, account, **same, status="open" if fails else "paid", amount_due_minor=amount,
                      amount_remaining_minor=amount, subscription_id="sub_saved")  # fmt: skip
        self.made.row(
            "payment_intents", f"pi_{id}", moment, account, **same, amount_minor=amount, status="processing"
        )
        self.made.row(
            "invoice_payments", f"inpay_{id}", moment, account, invoice_id=id, payment_intent_id=f"pi_{id}"
        )
        self.charge(f"pi_{id}", moment, amount, same, "failed" if fails else "succeeded", account)

    def charge(
        self,
        intent: str,
        moment: datetime,
        amount: int,
        same: dict[str, Any],
        status: str,
        account: str = "a",
    ) -> None:
        """A charge of an intent."""
        self.number += 1
        self.made.row("charges", f"ch_r{self.number}", moment, account, **same, status=status, amount_minor=amount,
                      captured=status == "succeeded", amount_captured_minor=amount if status == "succeeded" else 0,
                      amount_refunded_minor=0, disputed=False, payment_intent_id=intent, payment_method_type="card",
                      failure_code=self.random.choice(CODE) if status == "failed" else None)  # fmt: skip

    def open_case(self, row: dict[str, Any]) -> None:
        """A case of ours, with a plan."""
        at = row["first_failed_at"]
        plan = f'{{"retries": ["{(at + timedelta(days=2)).isoformat()}"], "chances": [0.25]}}'
        self.made.case(row["debt_id"], account_id=row["account_id"], created_at=at, updated_at=at, plan=plan)

    def live_a_day(self) -> None:
        """A day passes."""
        self.now += timedelta(days=1)
        for change in (self._charges, self._stripe, self._efforts):
            change()
        self._write_lake()
        self._find()
        known = {row["debt_id"] for row in self.made.ledger["recovery_case"]}
        for row in self.made.failed:
            if row["debt_id"] not in known and row["debt_id"].startswith("in_rand"):
                self.open_case(row)
        self._write_made()

    def some(self, rows: list[dict[str, Any]], count: int, **having: Any) -> list[dict[str, Any]]:
        """Some rows that have these values."""
        fit = [row for row in rows if all(row.get(name) == value for name, value in having.items())]
        return self.random.sample(fit, min(count, len(fit)))

    def _ago(self, days: float) -> datetime:
        return self.now - timedelta(days=self.random.uniform(0, days))

    def _charges(self) -> None:
        lake = self.made.lake
        for _ in range(6):
            self.new_debt(self._ago(1))
        self.new_debt(self._ago(300))
        for row in self.some(lake["charges"], 8, status="failed"):
            same = {"currency": row["currency"], "customer_id": row["customer_id"]}
            again = self.random.choice(("succeeded", "failed"))
            self.charge(
                row["payment_intent_id"], self._ago(1), row["amount_minor"], same, again, row["account_id"]
            )
        for row in self.some(lake["charges"], 3, status="succeeded"):
            # The same debt once more.
            same = {"currency": row["currency"], "customer_id": row["customer_id"]}
            self.charge(
                row["payment_intent_id"], row["created_at"] + timedelta(days=1), 77, same, "succeeded"
            )
        failed = {row["payment_intent_id"] for row in lake["charges"] if row["status"] == "failed"}
        passed = [
            row
            for row in lake["charges"]
            if row["id"].startswith("ch_r") and row["payment_intent_id"] not in failed
        ]
        row = self.random.choice(passed)
        self.made.row("invoice_payments", f"inpay_late{self.number}", self.now, row["account_id"], invoice_id="in_a",
                      payment_intent_id=row["payment_intent_id"])  # fmt: skip

    def _stripe(self) -> None:
        lake = self.made.lake
        paid = [row for row in lake["charges"] if row["status"] == "succeeded"]
        for row in self.random.sample(paid, 5):
            self.number += 1
            part = self.random.randrange(1, row["amount_minor"] + 1)
            same = {"charge_id": row["id"], "amount_minor": part, "currency": row["currency"]}
            if self.random.random() < 0.5:
                self.made.row(
                    "refunds", f"re_r{self.number}", self.now, row["account_id"], **same, status="succeeded"
                )
                row["amount_refunded_minor"] = min(
                    (row.get("amount_refunded_minor") or 0) + part, row["amount_minor"]
                )
            else:
                state = self.random.choice(("needs_response", "warning_needs_response"))
                self.made.row(
                    "disputes", f"dp_r{self.number}", self.now, row["account_id"], **same, status=state
                )
                row["disputed"] = True
        for row in self.some(lake["disputes"], 2):
            row["status"] = self.random.choice(("won", "lost"))
        for row in self.some(lake["invoices"], 4, status="open"):
            row["status"], row["voided_at"] = "void", self._ago(1)
        for row in self.some(lake["payment_intents"], 2):
            row["canceled_at"] = self._ago(1)
        for row in self.some(lake["invoices"], 4):
            self.number += 1
            self.made.row("events", f"evt_r{self.number}", self._ago(1), row["account_id"], type="invoice.payment_failed",
                          object_type="invoice", object_id=row["id"], next_payment_attempt_at=self._ago(2))  # fmt: skip
        self.random.choice(lake["prices"])["nickname"] = f"Plan of {self.now:%d}"
        self.random.choice(lake["subscriptions"]).update(status="canceled", ended_at=self._ago(3))

    def _efforts(self) -> None:
        ledger = self.made.ledger
        for row in self.some(ledger["recovery_case"], 6, state="open"):
            row["state"] = self.random.choice(("exhausted", "cancelled", "needs_human", "recovered"))
            row["closed_at"] = self._ago(1)
        for row in self.some(ledger["recovery_case"], 3):
            row["category"], row["decline_code"] = self.random.choice(list(CODES.values()))[0], "changed"
        for row in self.some(ledger["recovery_case"], 12):
            tried = [one["n"] for one in ledger["attempt"] if one["case_id"] == row["id"]]
            self.made.attempt(
                row["debt_id"],
                max(tried, default=0) + 1,
                self._ago(1),
                self.random.choice(("declined", "succeeded")),
            )
            told = [one["step"] for one in ledger["message"] if one["case_id"] == row["id"]]
            self.made.message(
                row["debt_id"],
                max(told, default=0) + 1,
                self._ago(1),
                self.random.choice(("sent", "scheduled")),
            )
        for row in self.some(ledger["message"], 4, state="scheduled"):
            row["state"], row["sent_at"] = "sent", self.now
        for row in self.some(ledger["recovery_case"], 2):
            self.made.ledger["recovery_link"].append(
                {"id": f"link_{len(ledger['recovery_link'])}", "case_id": row["id"], "account_id": row["account_id"],
                 "livemode": False, "token_sha256": "x", "amount_minor": 1, "currency": "usd", "clicks": 1,
                 "created_at": self.now, "expires_at": self.now}
            )  # fmt: skip

    def _write_lake(self) -> None:
        for name, rows in self.made.lake.items():
            days: dict[str, list[dict[str, Any]]] = {"0000": []}
            for row in rows:
                days.setdefault(f"{row['created_at']:%Y-%m}", []).append(row)
            for day, few in days.items():
                path = self.settings.lake_dir / "tables" / name / f"{day}.parquet"
                before = pq.read_table(path).to_pylist() if path.exists() else None
                write_table(beside := path.with_name("new"), OBJECTS[name].schema, few)
                if pq.read_table(beside).to_pylist() == before:
                    beside.unlink()
                else:
                    beside.replace(path)

    def _find(self) -> None:
        self.made.failed = failed_payments(Lake(self.settings.lake_dir), self.now).to_pylist()
        for row in self.made.failed:
            category, move = CODES.get(row["code"], ("do_not_honor", "retry"))
            self.made.verdicts[f"{row['account_id']}/{row['debt_id']}"] = {
                "category": category, "move": move, "reason": "because", "rule": "r1", "source": "rule",
                "confidence": 1.0, "retry_same_card": True,
            }  # fmt: skip
        self.made.failed.sort(key=lambda row: row["account_id"])

    def _write_made(self) -> None:
        self.made.write_made(self.settings, self.now)
