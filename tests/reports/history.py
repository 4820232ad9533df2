"""A history of hard cases, made by hand: what Stripe and the ledger hold of each debt, and what each must come to.

The lake's own query finds the failed payments in it. Nothing here is computed from what it checks: `Want` is worked
out on paper.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.reports.synthetic import World, write_table
from tinko_pipelines.lake.debts import failed_payments
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.settings import Settings

AS_OF = datetime(2028, 3, 10, 12, tzinfo=UTC)
CODES = {
    "insufficient_funds": ("insufficient_funds", "retry"),
    "expired_card": ("card_expired", "customer"),
    "do_not_honor": ("do_not_honor", "retry"),
}
Refund = tuple[int, str, str]
"""Amount, moment, status."""


def at(text: str) -> datetime:
    """A moment of 2028 from `01-31 23:30` or `01-31 23:30:01`, UTC."""
    return datetime.fromisoformat(f"2028-{text}").replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Want:
    """What a debt must come to: money in minor units, and days from the failure to the payment where it is recovered."""

    outcome: str
    by: str | None = None
    paid: int = 0
    kept: int = 0
    closed: bool = True
    days: float | None = None


OPEN, LOST, ENDED = Want("owed", closed=False), Want("owed"), Want("canceled")


@dataclass
class History(World):
    """The rows, what to do with the ledger once the failed payments are found, and what each debt must come to."""

    wants: dict[tuple[str, str], Want] = field(default_factory=dict)
    owed: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    later: list[Callable[[], None]] = field(default_factory=list)

    def row(self, table: str, id: str, moment: datetime, account: str = "a", **values: Any) -> None:
        common = {
            "id": id,
            "account_id": account,
            "livemode": False,
            "created_at": moment,
            "fetched_at": AS_OF,
        }
        self.lake[table].append({**common, **values})

    def owe(
        self,
        id: str,
        want: Want,
        *fails: str,
        paid: str | None = None,
        account: str = "a",
        amount: int = 1000,
        currency: str = "usd",
        code: str = "insufficient_funds",
        customer: str | None = None,
        status: str | None = None,
        refunds: tuple[Refund, ...] = (),
        disputes: tuple[Refund, ...] = (),
        charge: dict[str, Any] | None = None,
        invoice: dict[str, Any] | None = None,
        order: str | None = None,
        subscription: str | None = None,
        paid_on: str | None = None,
    ) -> None:
        """A debt with failed charges and perhaps one that passed; an invoice when its name starts with `in`."""
        is_invoice = id.startswith("in")
        intent = f"pi_{id}" if is_invoice else id
        customer = customer or f"cus_{id}"
        same = {"currency": currency, "customer_id": customer}
        card = {
            "payment_method_type": "card",
            "card_brand": "visa",
            "card_funding": "credit",
            "card_country": "US",
        }
        for number, moment in enumerate(fails, start=1):
            self.row("charges", f"ch_{account}_{id}_{number}", at(moment), account, **same, **card, amount_minor=amount,
                     status="failed", payment_intent_id=intent, failure_code=code, captured=False)  # fmt: skip
        passed = f"ch_{account}_{id}_paid"
        if paid:
            back = sum(value for value, _, state in refunds if state == "succeeded")
            whole = {"amount_minor": amount, "amount_captured_minor": amount, "amount_refunded_minor": back}
            self.row("charges", passed, at(paid), account, **{**same, **card, **whole, "status": "succeeded",
                     "captured": True, "disputed": bool(disputes), "payment_intent_id": paid_on or intent,
                     **(charge or {})})  # fmt: skip
        for number, (value, moment, state) in enumerate(refunds):
            self.row("refunds", f"re_{id}_{number}", at(moment), account, charge_id=passed, amount_minor=value,
                     currency=currency, status=state)  # fmt: skip
        for number, (value, moment, state) in enumerate(disputes):
            self.row("disputes", f"dp_{id}_{number}", at(moment), account, charge_id=passed, amount_minor=value,
                     currency=currency, status=state)  # fmt: skip
        state = status or ("paid" if paid and is_invoice else "open" if is_invoice else None)
        moment = at(fails[0])
        of_intent = "succeeded" if paid and not paid_on else status or "requires_payment_method"
        self.row("payment_intents", intent, moment, account, **same, amount_minor=amount, metadata=_order(order),
                 status="requires_payment_method" if is_invoice and not paid else of_intent)  # fmt: skip
        if is_invoice:
            self.row("invoices", id, moment, account, **{**same, "status": state, "amount_due_minor": amount,
                     "amount_remaining_minor": amount, "billing_reason": "subscription_cycle",
                     "collection_method": "charge_automatically", "subscription_id": subscription,
                     **(invoice or {})})  # fmt: skip
            self.row(
                "invoice_payments", f"inpay_{id}", moment, account, invoice_id=id, payment_intent_id=intent
            )
        self.wants[account, id] = want
        self.owed[account, id] = {"amount": amount, "currency": currency, "failed_at": moment, "code": code}

    def cased(self, id: str, state: str = "open", opened: str | None = None, **values: Any) -> None:
        """Our case of that debt in account a, opened at its failure unless said."""
        begun = at(opened) if opened else self.owed["a", id]["failed_at"]
        closed = None if state in ("open", "needs_human") else values.pop("closed_at", AS_OF)
        self.later.append(
            lambda: self.case(id, state, created_at=begun, closed_at=closed, updated_at=begun, **values)
        )

    def tries(self, id: str, *states: str, **values: Any) -> None:
        """Attempts of ours as `01-04 08:00 declined`, numbered in this order."""
        for n, text in enumerate(states, start=1):
            moment, _, state = text.rpartition(" ")
            self.later.append(
                lambda n=n, moment=moment, state=state: self.attempt(id, n, at(moment), state, **values)
            )

    def mails(self, id: str, *texts: str) -> None:
        """Mails of ours as `01-04 08:00 sent`."""
        for step, text in enumerate(texts, start=1):
            moment, _, state = text.rpartition(" ")
            self.later.append(
                lambda step=step, moment=moment, state=state: self.message(id, step, at(moment), state)
            )

    def told(self, id: str, moment: str, retry_at: str) -> None:
        """Stripe says when it will try the invoice by itself."""
        self.row("events", f"evt_{id}_{moment}", at(moment), type="invoice.payment_failed", object_type="invoice",
                 object_id=id, next_payment_attempt_at=at(retry_at))  # fmt: skip

    def write(self, settings: Settings) -> None:
        for name, rows in self.lake.items():
            write_table(settings.lake_dir / "tables" / name / "part.parquet", OBJECTS[name].schema, rows)
        lake = Lake(settings.lake_dir)
        self.failed = failed_payments(lake, AS_OF).to_pylist()
        for row in self.failed:
            category, move = CODES[row["code"]]
            if row["next_payment_attempt_at"] is not None:
                move = "wait_stripe"
            self.verdicts[f"{row['account_id']}/{row['debt_id']}"] = {
                "category": category, "move": move, "reason": "because", "rule": "r1", "source": "rule",
                "confidence": 1.0, "retry_same_card": True,
            }  # fmt: skip
        # Accounts share names of debts; the ledger's helpers look for the first of a name.
        self.failed.sort(key=lambda row: row["account_id"])
        for act in self.later:
            act()
        self.write_made(settings, AS_OF)


def _order(order: str | None) -> str | None:
    return f'{{"order_id": "{order}"}}' if order else None


def history() -> History:
    """Some sixty debts, each a case of its own."""
    made = History()
    for part in (_own, _given_back, _others_paid, _unpaid, _calendar, _currencies, _subscriptions):
        part(made)
    for day in range(1, 11):
        made.row("charges", f"ch_good_{day}", at(f"02-{day:02d} 10:00"), amount_minor=1000, currency="usd",
                 status="succeeded", captured=True, amount_captured_minor=1000, customer_id=f"cus_good_{day}",
                 payment_intent_id=f"pi_good_{day}")  # fmt: skip
    return made


def _own(made: History) -> None:
    """Our retries, and what is counted of them."""
    made.owe(
        "in_first_try",
        Want("recovered", "own_retry", 1000, 1000, days=1.0),
        "01-03 08:00",
        paid="01-04 08:00",
    )
    made.cased("in_first_try", "recovered")
    made.tries("in_first_try", "01-04 08:00 succeeded")
    made.owe("in_second", Want("recovered", "own_retry", 1000, 1000, days=2.0), "01-03 08:00", "01-04 08:00",
             paid="01-05 08:00")  # fmt: skip
    made.cased("in_second", "recovered")
    made.tries("in_second", "01-04 08:00 declined", "01-05 08:00 succeeded")
    made.owe(
        "in_third", Want("recovered", "own_retry", 1000, 1000, days=6.5), "01-03 08:00", paid="01-09 20:00"
    )
    made.cased("in_third", "recovered")
    made.tries("in_third", "01-04 08:00 declined", "01-06 08:00 declined", "01-09 20:00 succeeded")
    made.owe(
        "in_abandoned",
        Want("recovered", "own_retry", 1000, 1000, days=3.0),
        "01-03 08:00",
        paid="01-06 08:00",
    )
    made.cased("in_abandoned", "recovered")
    made.tries("in_abandoned", "01-04 08:00 declined", "01-05 08:00 abandoned", "01-06 08:00 succeeded")
    made.owe(
        "in_one_second",
        Want("recovered", "own_retry", 1000, 1000, days=3.0),
        "01-03 08:00",
        paid="01-06 08:00",
    )
    made.cased("in_one_second", "recovered")
    made.tries("in_one_second", "01-06 08:00 declined", "01-06 08:00 succeeded")
    made.owe("in_own_and_told", Want("recovered", "own_retry", 1000, 1000, days=3.0), "01-03 08:00",
             paid="01-06 08:00")  # fmt: skip
    made.cased("in_own_and_told", "recovered")
    made.tries("in_own_and_told", "01-06 08:00 succeeded")
    made.mails("in_own_and_told", "01-04 08:00 sent")
    made.told("in_own_and_told", "01-03 08:00", "01-06 07:30")
    # The ledger knows of a success that the lake has not read yet.
    made.owe("in_not_read_yet", Want("recovered", "own_retry", 1000, 1000, days=2.0), "03-01 08:00")
    made.cased("in_not_read_yet", "recovered")
    made.tries("in_not_read_yet", "03-03 08:00 succeeded")


def _given_back(made: History) -> None:
    """Recovered by our first retry a day later, and what went back afterwards."""
    for id, want, refunds, disputes in (
        ("in_refunded", Want("reversed", None, 1000, 0), ((1000, "02-10 09:00", "succeeded"),), ()),
        ("in_part_back", Want("recovered", "own_retry", 1000, 700, days=1.0), ((300, "02-10 09:00", "succeeded"),), ()),
        ("in_twice_back", Want("recovered", "own_retry", 1000, 600, days=1.0),
         ((200, "01-10 09:00", "succeeded"), (200, "02-11 09:00", "succeeded")), ()),
        ("in_refund_failed", Want("recovered", "own_retry", 1000, 1000, days=1.0), ((1000, "02-10 09:00", "failed"),), ()),
        ("in_lost", Want("reversed", None, 1000, 0), (), ((1000, "02-12 09:00", "lost"),)),
        ("in_won", Want("recovered", "own_retry", 1000, 1000, days=1.0), (), ((1000, "02-12 09:00", "won"),)),
        ("in_disputed_now", Want("reversed", None, 1000, 0), (), ((1000, "03-01 09:00", "needs_response"),)),
        ("in_part_lost", Want("recovered", "own_retry", 1000, 600, days=1.0), (), ((400, "02-12 09:00", "lost"),)),
        ("in_inquiry", Want("recovered", "own_retry", 1000, 1000, days=1.0), (),
         ((1000, "02-12 09:00", "warning_needs_response"),)),
        ("in_back_and_lost", Want("reversed", None, 1000, 0), ((300, "02-01 09:00", "succeeded"),),
         ((700, "02-12 09:00", "lost"),)),
    ):  # fmt: skip
        made.owe(id, want, "01-10 08:00", paid="01-11 08:00", refunds=refunds, disputes=disputes)
        made.cased(id, "recovered")
        made.tries(id, "01-11 08:00 succeeded")


def _others_paid(made: History) -> None:
    """Stripe, our mail, the customer, another intent."""
    for id, by, paid, days, mail in (
        ("in_stripe", "stripe_retry", "01-15 08:40", 3 + 40 / 1440, "01-13 08:00 sent"),
        ("in_stripe_edge", "stripe_retry", "01-15 10:00", 3 + 2 / 24, "01-13 08:00 sent"),
        ("in_stripe_late", "after_mail", "01-15 10:00:01", 3 + 2 / 24 + 1 / 86400, "01-13 08:00 sent"),
        ("in_before_stripe", "customer", "01-15 07:59:59", 3 - 1 / 86400, "01-16 08:00 sent"),
    ):
        made.owe(id, Want("recovered", by, 1000, 1000, days=days), "01-12 08:00", paid=paid)
        made.cased(id, "paid_elsewhere")
        made.told(id, "01-12 08:00", "01-15 08:00")
        made.mails(id, mail)
    for id, by, paid, days, mail in (
        ("in_mail", "after_mail", "01-20 08:00", 8.0, "01-13 08:00 sent"),
        ("in_mail_edge", "after_mail", "01-27 08:00", 15.0, "01-13 08:00 sent"),
        ("in_mail_late", "customer", "01-27 08:00:01", 15 + 1 / 86400, "01-13 08:00 sent"),
        ("in_mail_dropped", "customer", "01-20 08:00", 8.0, "01-13 08:00 dropped"),
    ):
        made.owe(
            id, Want("recovered", by, 1000, 1000, days=days), "01-12 08:00", paid=paid, code="expired_card"
        )
        made.cased(id, "paid_elsewhere")
        made.mails(id, mail)
    made.owe(
        "in_self", Want("recovered", "customer", 1000, 1000, days=0.5), "01-12 08:00", paid="01-12 20:00"
    )
    made.owe("in_by_hand", Want("recovered", "customer", 1000, 1000, days=4.0), "01-12 08:00", status="paid",
             invoice={"paid_at": at("01-16 08:00")})  # fmt: skip
    # Paid on the page of our mail while a retry of ours was on its way, which Stripe then refused.
    made.owe("in_link_in_flight", Want("recovered", "after_mail", 1000, 1000, days=5.0), "01-12 08:00",
             paid="01-17 08:00")  # fmt: skip
    made.cased("in_link_in_flight", "paid_elsewhere")
    made.mails("in_link_in_flight", "01-16 08:00 sent")
    made.tries("in_link_in_flight", "01-17 08:00:01 abandoned")
    # A page stands for the intent; its own intent is the successor, and its charge is the debt's.
    made.owe("pi_page", Want("recovered", "after_mail", 1000, 1000, days=6.0), "01-12 08:00", paid="01-18 08:00",
             paid_on="pi_page_2", status="canceled")  # fmt: skip
    made.row("payment_intents", "pi_page_2", at("01-18 07:00"), amount_minor=1000, currency="usd", status="succeeded",
             customer_id="cus_pi_page", metadata='{"tinko_debt": "pi_page"}')  # fmt: skip
    made.cased("pi_page", "recovered")
    made.mails("pi_page", "01-16 08:00 sent")
    made.tries("pi_page", "01-14 08:00 declined")
    made.later.append(
        lambda: made.attempt(
            "pi_page",
            2,
            at("01-18 08:00"),
            "succeeded",
            operation="checkout.session",
            charge_id="ch_a_pi_page_paid",
        )
    )
    # Another intent of the same customer over the same amount pays; it counts for one of the failed ones.
    for id, customer, want, moment, order in (
        ("pi_other", "c1", Want("recovered", "other", 1000, 1000, days=1.0), "01-12 08:00", None),
        ("pi_other_mail", "c2", Want("recovered", "after_mail", 1000, 1000, days=1.0), "01-12 08:00", None),
        ("pi_other_again", "c1", Want("merged"), "01-12 09:00", None),
        ("pi_another_order", "c3", OPEN, "01-12 08:00", "one"),
    ):
        made.owe(id, want, moment, customer=customer, order=order)
    for customer, order in (("c1", None), ("c2", None), ("c3", "two")):
        made.row("payment_intents", f"pi_second_{customer}", at("01-13 08:00"), amount_minor=1000, currency="usd",
                 status="succeeded", customer_id=customer, metadata=_order(order))  # fmt: skip
        made.row("charges", f"ch_second_{customer}", at("01-13 08:00"), amount_minor=1000, currency="usd",
                 status="succeeded", captured=True, amount_captured_minor=1000, customer_id=customer,
                 payment_intent_id=f"pi_second_{customer}")  # fmt: skip
    made.cased("pi_other_mail", "paid_elsewhere")
    made.mails("pi_other_mail", "01-12 12:00 sent")


def _unpaid(made: History) -> None:
    """What nobody has paid, for every reason there is."""
    made.owe("in_void", ENDED, "02-03 08:00", status="void", invoice={"voided_at": at("02-05 08:00")})
    made.owe("in_written_off", ENDED, "02-03 08:00", status="uncollectible",
             invoice={"marked_uncollectible_at": at("02-20 08:00")})  # fmt: skip
    made.owe("pi_canceled", ENDED, "02-03 08:00", status="canceled")
    made.lake["payment_intents"][-1]["canceled_at"] = at("02-04 08:00")
    made.owe("in_given_up", ENDED, "02-03 08:00")
    made.cased("in_given_up", "cancelled", closed_at=at("02-06 08:00"))
    made.owe("in_exhausted", LOST, "02-03 08:00", code="do_not_honor")
    made.cased("in_exhausted", "exhausted")
    made.tries("in_exhausted", "02-04 08:00 declined", "02-06 08:00 declined", "02-09 08:00 declined")
    made.owe("in_never_tried", LOST, "02-03 08:00", code="do_not_honor", amount=2500)
    made.cased("in_never_tried", "exhausted")
    made.owe("in_open", OPEN, "02-03 08:00")
    made.cased("in_open", "open")
    made.tries("in_open", "02-05 08:00 declined")
    made.owe("in_alone", OPEN, "03-08 08:00")
    made.owe("in_person", OPEN, "02-03 08:00")
    made.cased("in_person", "needs_human")
    made.tries("in_person", "02-05 08:00 unknown")
    made.owe("in_awaits_stripe", OPEN, "03-09 08:00", invoice={"next_payment_attempt_at": at("03-12 08:00")})
    made.cased("in_awaits_stripe", "open")
    made.owe("in_part_credited", OPEN, "03-07 08:00", invoice={"amount_remaining_minor": 400})
    made.owed["a", "in_part_credited"]["amount"] = 400
    # Reserved and not taken is no payment; taken in part is one of that part.
    made.owe("pi_reserved", OPEN, "02-03 08:00", paid="02-04 08:00", status="requires_capture",
             charge={"captured": False, "amount_captured_minor": 0})  # fmt: skip
    made.lake["payment_intents"][-1]["status"] = "requires_capture"
    made.owe("pi_part_taken", Want("recovered", "customer", 800, 800, days=1.0), "02-03 08:00", paid="02-04 08:00",
             charge={"amount_captured_minor": 800})  # fmt: skip
    made.owe("in_erased", OPEN, "02-03 08:00", customer="erased")


def _calendar(made: History) -> None:
    """Edges of days, months and years; the cohort is the month in UTC, whatever day it was where the customer is."""
    made.owe(
        "in_leap",
        Want("recovered", "customer", 1000, 1000, days=1 / 86400),
        "02-29 23:59:59",
        paid="03-01 00:00",
    )
    made.owe(
        "in_to_leap_day",
        Want("recovered", "customer", 1000, 1000, days=1.0),
        "02-28 12:00",
        paid="02-29 12:00",
    )
    made.owe("in_last_of_january", Want("recovered", "customer", 1000, 1000, days=1 / 24), "01-31 23:30",
             paid="02-01 00:30")  # fmt: skip
    made.owe("in_first_of_february", OPEN, "02-01 00:00")
    made.owe(
        "in_one_instant",
        Want("recovered", "customer", 1000, 1000, days=0.0),
        "02-14 08:00",
        paid="02-14 08:00",
    )
    made.lake["charges"][-1]["id"] = "ch_z_after_the_failure"


def _currencies(made: History) -> None:
    """Two decimals, none, three; settled in another currency; another account with a debt of the same name."""
    made.owe("pi_yen", Want("recovered", "customer", 5000, 5000, days=1.0), "02-03 08:00", paid="02-04 08:00",
             amount=5000, currency="jpy")  # fmt: skip
    made.owe("pi_yen_part", Want("recovered", "customer", 5000, 4999, days=1.0), "02-03 08:00", paid="02-04 08:00",
             amount=5000, currency="jpy", refunds=((1, "02-20 08:00", "succeeded"),))  # fmt: skip
    made.owe("in_dinar", Want("recovered", "own_retry", 12345, 12345, days=1.0), "02-03 08:00", paid="02-04 08:00",
             amount=12345, currency="kwd")  # fmt: skip
    made.cased("in_dinar", "recovered")
    made.tries("in_dinar", "02-04 08:00 succeeded")
    made.owe("in_euro", Want("recovered", "own_retry", 2000, 2000, days=1.0), "02-03 08:00", paid="02-04 08:00",
             amount=2000, currency="eur", charge={"balance_transaction_id": "txn_euro"})  # fmt: skip
    made.cased("in_euro", "recovered")
    made.tries("in_euro", "02-04 08:00 succeeded")
    made.row("balance_transactions", "txn_euro", at("02-04 08:00"), source_id="ch_a_in_euro_paid", type="charge",
             currency="usd", amount_minor=2167, fee_minor=93, net_minor=2074, exchange_rate="1.0837")  # fmt: skip
    made.owe("in_euro_open", OPEN, "02-03 08:00", amount=3000, currency="eur")
    made.cased("in_euro_open", "open")
    made.owe("in_first_try", Want("owed", closed=False), "02-03 08:00", account="b", amount=9000)
    made.owe("in_b_self", Want("recovered", "customer", 7000, 7000, days=2.0), "02-03 08:00", paid="02-05 08:00",
             account="b", amount=7000)  # fmt: skip


def _subscriptions(made: History) -> None:
    """Saved, undecided, ended for a payment, ended by the customer while he owed, ended without owing."""
    made.row("prices", "price_m", at("01-01 00:00"), currency="usd", interval="month", interval_count=1,
             unit_amount_minor=1000, nickname="Monthly", type="recurring")  # fmt: skip
    made.row("prices", "price_y", at("01-01 00:00"), currency="usd", interval="year", interval_count=1,
             unit_amount_minor=12000, nickname="Yearly", type="recurring")  # fmt: skip
    for id, price, status, reason, ended, want, paid in (
        (
            "saved",
            "price_m",
            "active",
            None,
            None,
            Want("recovered", "customer", 1000, 1000, days=1.0),
            "02-08 08:00",
        ),
        ("undecided", "price_y", "past_due", None, None, OPEN, None),
        ("for_payment", "price_m", "canceled", "payment_failed", "02-20 08:00", LOST, None),
        ("while_owing", "price_m", "canceled", "cancellation_requested", "02-21 08:00", LOST, None),
    ):
        made.row("subscriptions", f"sub_{id}", at("01-01 00:00"), status=status, cancellation_reason=reason,
                 customer_id=f"cus_{id}", price_id=price, currency="usd",
                 ended_at=at(ended) if ended else None)  # fmt: skip
        made.owe(
            f"in_sub_{id}", want, "02-07 08:00", paid=paid, subscription=f"sub_{id}", customer=f"cus_{id}"
        )
        if want is LOST:
            made.cased(f"in_sub_{id}", "exhausted", closed_at=at("02-21 09:00"))
    made.row("subscriptions", "sub_gladly", at("01-01 00:00"), status="canceled", price_id="price_y", currency="usd",
             cancellation_reason="cancellation_requested", customer_id="cus_gladly", ended_at=at("02-22 08:00"))  # fmt: skip
