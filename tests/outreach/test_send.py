"""Mails over real SMTP on loopback, from a real ledger: each at most once, and none without a reason."""

import email
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from email import policy as email_policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.fake_stripe import NOW, failed_row, failed_table
from tests.outreach.post import MERCHANT, SALT, Sink, Stripe, enrolled, send, states
from tinko_pipelines.clock import FixedClock
from tinko_pipelines.errors import GatewayError, MailError, SettingsError
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger import anomalies, caps, cases
from tinko_pipelines.ledger.control import pause
from tinko_pipelines.ledger.schema import cap_refusal, case_event, message, recovery_case, suppression
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import settling
from tinko_pipelines.outreach.addresses import hash_address
from tinko_pipelines.outreach.send import SendResult, SentMail, send_due
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.outreach.transport import FileTransport, Mail
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.settings import Settings


def test_a_due_mail_goes_out_once(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe, heard = Stripe(), list[SentMail]()
    enrolled(ledger, stripe)
    assert send(ledger, stripe, SmtpTransport(url), on_sent=heard.append).sent == 1
    assert send(ledger, stripe, SmtpTransport(url)).sent == 0
    (mail,) = sink.taken
    assert mail["To"] == "ann@example.org"
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Your payment of $10.00 to Acme did not go through"
    assert mail["Message-ID"] == f"<{heard[0].message_id}@acme.test>"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "https://pay.test/x" in body.get_content()
    assert states(ledger)[0][0] == "sent"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"deleted": True}, "the customer is deleted"),
        ({"email": None}, "no usable address"),
        ({"email": "a@b.c\r\nBcc: x@y.z"}, "no usable address"),
    ],
)
def test_no_mail_without_somebody_to_write_to(
    ledger: Ledger, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    stripe.customer |= change
    assert send(ledger, stripe, FileTransport(tmp_path / "outbox")).dropped == 1
    assert states(ledger)[0] == ("dropped", reason)
    assert not (tmp_path / "outbox").exists()


def test_no_mail_after_the_debt_was_paid(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    stripe.intents["pi_1"]["status"] = "succeeded"
    send(ledger, stripe, FileTransport(tmp_path))
    assert states(ledger)[0] == ("dropped", "the debt is succeeded")


class Subscribed(Stripe):
    """Has one open invoice of a subscription, shown whole only to those who ask for it."""

    def __init__(self) -> None:
        super().__init__()
        self.subscription = {"id": "sub_1", "status": "past_due"}

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        if path != "/v1/invoices/in_1":
            return super().get(path, params)
        asked = "parent.subscription_details.subscription" in (params or {}).get("expand", ())
        details = {"subscription": self.subscription if asked else "sub_1"}
        return Answer(200, body={"id": "in_1", "status": "open", "parent": {"subscription_details": details}})


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("past_due", ("sent", None)),
        ("canceled", ("dropped", "the subscription has ended")),
        ("incomplete_expired", ("dropped", "the subscription has ended")),
    ],
)
def test_no_mail_about_a_subscription_that_has_ended(
    ledger: Ledger, tmp_path: Path, status: str, found: tuple[str, str | None]
) -> None:
    stripe = Subscribed()
    stripe.subscription["status"] = status
    enrolled(ledger, stripe, debt_kind="invoice", debt_id="in_1", invoice_id="in_1", subscription_id="sub_1")
    send(ledger, stripe, FileTransport(tmp_path))
    assert states(ledger)[0] == found


ODD = Answer(200, body=["no", "object"])  # type: ignore[arg-type]


class Broken(Stripe):
    """Cannot show some intents, for as long as they are named."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[str, Answer] = {}

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self.broken.get(path.rpartition("/")[2]) or super().get(path, params)


@pytest.mark.parametrize("broken", [Answer(500), ODD])
def test_a_message_that_cannot_be_prepared_stops_no_other(
    ledger: Ledger, tmp_path: Path, broken: Answer
) -> None:
    stripe = Broken()
    for name, hours in (("pi_1", 1), ("pi_2", 0)):
        stripe.add(name, passes=False)
        row = failed_row(name, move="customer", category="card_expired", retry_same_card=False)
        at = NOW - timedelta(hours=hours)
        enrol(ledger, failed_table(row), now=at, policy=Policy.from_settings(Settings()))
    stripe.broken = {"pi_1": broken}
    first = send(ledger, stripe, FileTransport(tmp_path))
    assert (first.later, first.sent) == (1, 1)
    stripe.broken = {}
    assert send(ledger, stripe, FileTransport(tmp_path), after_hours=25).sent == 1
    found = [row["kind"] for row in anomalies.still_open(ledger)]
    assert found == (["mail_failed"] if broken.ok else [])


def test_no_message_is_lost_while_stripe_shows_nothing(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Broken()
    for number in range(5):
        stripe.add(f"pi_{number}", passes=False)
        row = failed_row(f"pi_{number}", move="customer", category="card_expired", retry_same_card=False)
        enrol(ledger, failed_table(row), now=NOW, policy=Policy.from_settings(Settings()))
    stripe.broken = {f"pi_{number}": Answer(503) for number in range(5)}
    with pytest.raises(GatewayError, match="HTTP 503"):
        send(ledger, stripe, FileTransport(tmp_path))
    assert {state for state, _ in states(ledger)} == {"scheduled"}
    stripe.broken = {}
    assert (
        send(ledger, stripe, FileTransport(tmp_path), after_hours=1).sent == 1
    )  # one address, one mail a day


def test_a_suppressed_address_is_refused_by_the_database(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    with ledger.write() as connection:
        values = {"address_hmac": hash_address("Ann@Example.org ", SALT), "reason": "unsubscribed", "at": NOW}
        connection.execute(suppression.insert().values(**values))
    send(ledger, stripe, FileTransport(tmp_path / "outbox"))
    assert states(ledger)[0] == ("dropped", "suppressed")
    assert not (tmp_path / "outbox").exists()


def two_debts_of_one_address(ledger: Ledger, stripe: Stripe) -> None:
    enrolled(ledger, stripe)
    stripe.add("pi_2", passes=False)
    row = failed_row("pi_2", move="customer", category="card_expired", retry_same_card=False)
    enrol(ledger, failed_table(row), now=NOW, policy=Policy.from_settings(Settings()))


def test_a_second_mail_to_an_address_waits_until_its_cap_is_free(ledger: Ledger, tmp_path: Path) -> None:
    stripe, transport = Stripe(), FileTransport(tmp_path)
    two_debts_of_one_address(ledger, stripe)
    first = send(ledger, stripe, transport)
    assert (first.sent, first.later, first.dropped) == (1, 1, 0)
    with ledger.read() as connection:
        (refusal,) = connection.execute(select(cap_refusal)).mappings()
        waiting = select(message.c.due_at).where(message.c.detail == "put off by tinko_address_24h")
        assert connection.execute(waiting).scalars().all() == [refusal["free_at"]]
    assert (refusal["rule"], refusal["free_at"]) == (
        "tinko_address_24h",
        NOW + timedelta(minutes=1, hours=24),
    )
    assert refusal["subject"] == hash_address("ann@example.org", SALT)
    assert send(ledger, stripe, transport, after_hours=23).counts() == SendResult().counts()
    assert send(ledger, stripe, transport, after_hours=24).sent == 1
    assert len(list(tmp_path.glob("*.eml"))) == 2


def test_a_mail_that_cannot_go_out_before_the_plan_ends_is_dropped(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    two_debts_of_one_address(ledger, stripe)
    with ledger.write() as connection:
        connection.execute(recovery_case.update().values(plan_ends_at=NOW + timedelta(hours=12)))
    result = send(ledger, stripe, FileTransport(tmp_path))
    assert (result.sent, result.dropped) == (1, 1)
    assert ("dropped", "tinko_address_24h lets no mail through before the plan is over") in states(ledger)


def recover(ledger: Ledger, at: datetime) -> None:
    """The debt is paid, as the engine would write it down."""
    with ledger.write() as connection:
        (case,) = connection.execute(select(recovery_case)).mappings()
        cases.close(connection, dict(case), "recovered", "our retry succeeded", at, "test")


def test_a_receipt_in_doubt_is_sent_once_more_and_never_a_third_time(ledger: Ledger, tmp_path: Path) -> None:
    class Lost:
        def __init__(self) -> None:
            self.taken: list[bytes] = []

        def send(self, mail: Mail) -> None:
            self.taken.append(mail.content)
            raise ConnectionResetError

    stripe, transport = Stripe(), Lost()
    enrolled(ledger, stripe)
    send(ledger, stripe, FileTransport(tmp_path))
    recover(ledger, NOW)
    assert send(ledger, stripe, transport).later == 1
    assert send(ledger, stripe, transport).in_doubt == 1
    assert send(ledger, stripe, transport).counts() == SendResult().counts()
    with ledger.read() as connection:
        receipt = connection.execute(select(message.c.id).where(message.c.kind == "receipt")).scalar_one()
    first, second = transport.taken
    assert first == second
    assert f"Message-ID: <{receipt}@acme.test>\r\n".encode() in first


def test_who_was_reminded_is_thanked_once_the_debt_is_recovered_at_any_hour(
    ledger: Ledger, tmp_path: Path
) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    send(ledger, stripe, FileTransport(tmp_path / "reminder"))
    recover(ledger, NOW + timedelta(hours=14))
    assert send(ledger, stripe, FileTransport(tmp_path / "receipt"), after_hours=14).sent == 1
    assert send(ledger, stripe, FileTransport(tmp_path / "receipt"), after_hours=15).sent == 0
    (file,) = (tmp_path / "receipt").glob("*.eml")
    mail = email.message_from_bytes(file.read_bytes(), policy=email_policy.default)
    assert isinstance(mail, EmailMessage)
    assert mail["Subject"] == "Thank you: your payment of $10.00 to Acme has arrived"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "https://pay.test" not in body.get_content()
    assert [state for state, _ in states(ledger)] == ["sent", "dropped", "dropped", "dropped", "sent"]


def test_who_heard_of_nothing_gets_no_receipt_and_nobody_gets_two(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    recover(ledger, NOW)
    assert send(ledger, stripe, FileTransport(tmp_path / "outbox")).counts() == SendResult().counts()
    assert {state for state, _ in states(ledger)} == {"dropped"}


@pytest.mark.parametrize("end", ["paid_elsewhere", "cancelled", "exhausted", "needs_human"])
def test_no_receipt_where_nothing_was_recovered(ledger: Ledger, tmp_path: Path, end: str) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    send(ledger, stripe, FileTransport(tmp_path))
    with ledger.write() as connection:
        (case,) = connection.execute(select(recovery_case)).mappings()
        cases.close(connection, dict(case), end, "test", NOW, "test")
    with ledger.read() as connection:
        assert connection.execute(select(message).where(message.c.kind == "receipt")).first() is None


@pytest.mark.parametrize(
    ("charge", "found"),
    [
        ({"disputed": True}, "charge ch_1 is disputed"),
        ({"refunded": True}, "charge ch_1 was refunded"),
        ({"amount_refunded": 1}, "charge ch_1 was refunded"),
        ({"status": "failed"}, None),
    ],
)
@pytest.mark.parametrize("kind", ["intent", "invoice", "charge"])
def test_no_mail_about_what_is_disputed_or_was_refunded(
    ledger: Ledger, tmp_path: Path, kind: str, charge: dict[str, Any], found: str | None
) -> None:
    whole = {"id": "ch_1", "status": "failed", "payment_intent": "pi_1", **charge}

    class Contested(Stripe):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            if path == "/v1/charges/ch_1":
                return Answer(200, body=whole)
            if path == "/v1/invoices/in_1":
                assert "payments.data.payment.payment_intent" in (params or {})["expand"]
                part = {"status": "paid", "payment": {"payment_intent": "pi_1"}}
                return Answer(200, body={"id": "in_1", "status": "open", "payments": {"data": [part]}})
            if path == "/v1/charges":
                assert (params or {})["payment_intent"] == "pi_1"
                return Answer(200, body={"data": [whole]})
            answer = super().get(path, params)
            if "latest_charge" in (params or {}).get("expand", ()):
                return Answer(200, body={**(answer.body or {}), "latest_charge": whole})
            return answer

    named: dict[str, dict[str, Any]] = {
        "intent": {},
        "invoice": {"debt_kind": "invoice", "debt_id": "in_1", "invoice_id": "in_1"},
        "charge": {"debt_kind": "charge", "debt_id": "ch_1", "payment_intent_id": None},
    }
    stripe = Contested()
    enrolled(ledger, stripe, **named[kind])
    send(ledger, stripe, FileTransport(tmp_path))
    assert states(ledger)[0] == (("sent", None) if found is None else ("dropped", found))


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", 'https://pay.test/"><b>', "https://pay.test/ x", "ftp://pay.test", "data:,x"],
)
def test_what_is_no_address_of_a_page_is_not_linked(ledger: Ledger, tmp_path: Path, link: str) -> None:
    class Odd(Subscribed):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            answer = super().get(path, params)
            found = {**(answer.body or {}), "hosted_invoice_url": link}
            return Answer(200, body=found) if "/invoices/" in path else answer

    stripe = Odd()
    enrolled(ledger, stripe, debt_kind="invoice", debt_id="in_1", invoice_id="in_1", subscription_id="sub_1")
    send(ledger, stripe, FileTransport(tmp_path))
    assert states(ledger)[0] == ("dropped", "no link to act on")


@pytest.mark.parametrize(
    ("country", "hours", "waits_until"),
    [
        (
            "GB",
            9,
            NOW + timedelta(hours=19),
        ),  # 21:00 or 22:00 in London, so it waits for 8:00 there, 7:00 UTC
        ("JP", 0, NOW + timedelta(hours=11)),  # 21:01 in Tokyo
        ("IN", 5, NOW + timedelta(hours=14.5)),  # half past ten at night in Kolkata
        ("US", 0, NOW + timedelta(hours=6)),  # day everywhere in the USA only once it is eight in Hawaii
    ],
)
def test_a_mail_due_at_night_waits_for_its_customers_day_and_goes_out_then(
    ledger: Ledger, tmp_path: Path, country: str, hours: int, waits_until: datetime
) -> None:
    stripe, transport = Stripe(), FileTransport(tmp_path / "outbox")
    stripe.customer["address"] = {"country": country}
    enrolled(ledger, stripe)
    assert send(ledger, stripe, transport, after_hours=hours).counts() == SendResult(later=1).counts()
    with ledger.read() as connection:
        first = connection.execute(select(message).order_by(message.c.step)).mappings().first()
    assert first is not None
    assert (first["state"], first["due_at"]) == ("scheduled", waits_until)
    clock = FixedClock(waits_until - timedelta(seconds=1))
    options: dict[str, Any] = {"merchant": MERCHANT, "max_seconds": 20, "owner": "test", "dry_run": False}
    assert send_due(ledger, stripe, transport, clock, **options).later == 0
    assert send_due(ledger, stripe, transport, FixedClock(waits_until), **options).sent == 1


def test_a_cap_that_ends_at_night_does_not_send_at_night(ledger: Ledger, tmp_path: Path) -> None:
    stripe, transport = Stripe(), FileTransport(tmp_path)
    two_debts_of_one_address(ledger, stripe)
    assert send(ledger, stripe, transport, after_hours=7.5).sent == 1  # 20:31 in London
    stripe.customer["address"] = {"country": "DE"}
    assert (
        send(ledger, stripe, transport, after_hours=31.5).later == 1
    )  # 21:31 in Berlin, and the cap is free
    with ledger.read() as connection:
        query = select(message.c.due_at).where(message.c.detail == "waits for the customer's day")
        assert connection.execute(query).scalars().all() == [NOW + timedelta(hours=42)]
    assert send(ledger, stripe, transport, after_hours=42).sent == 1


def test_weekends_are_left_out_where_the_merchant_wants_that(ledger: Ledger, tmp_path: Path) -> None:
    stripe, transport = Stripe(), FileTransport(tmp_path)
    enrolled(ledger, stripe)
    quiet = replace(MERCHANT, weekends=False)
    assert send(ledger, stripe, transport, after_hours=48, merchant=quiet).later == 1  # Saturday
    assert send(ledger, stripe, transport, after_hours=48).sent == 0, "it has been moved"
    assert send(ledger, stripe, transport, after_hours=4 * 24, merchant=quiet).sent == 1  # Monday


def test_a_mail_whose_customer_sleeps_until_the_plan_is_over_is_dropped(
    ledger: Ledger, tmp_path: Path
) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    with ledger.write() as connection:
        connection.execute(recovery_case.update().values(plan_ends_at=NOW + timedelta(hours=12)))
    send(ledger, stripe, FileTransport(tmp_path), after_hours=9)
    assert states(ledger)[0] == ("dropped", "the plan is over before it may go out")


@pytest.mark.parametrize(
    ("executed", "stripe_retries", "found"),
    [
        (0, False, "We will try your payment"),
        (5, False, "did not go through"),
        (5, True, "We will try your payment"),
    ],
)
def test_a_mail_promises_another_try_only_while_one_is_ahead(
    ledger: Ledger, tmp_path: Path, executed: int, stripe_retries: bool, found: str
) -> None:
    class Retried(Subscribed):
        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            answer = super().get(path, params)
            ahead = {"next_payment_attempt": 1_790_000_000 if stripe_retries else None}
            return Answer(200, body={**(answer.body or {}), **ahead}) if "/invoices/" in path else answer

    stripe = Retried()
    changes = {"debt_kind": "invoice", "debt_id": "in_1", "invoice_id": "in_1", "subscription_id": "sub_1"}
    row = failed_row("in_1", **{**changes, "collection_method": "charge_automatically"})
    enrol(ledger, failed_table(row), now=NOW, policy=Policy.from_settings(Settings()))
    with ledger.write() as connection:
        connection.execute(recovery_case.update().values(executed_attempts=executed))
    assert send(ledger, stripe, FileTransport(tmp_path), after_hours=24).sent == 1
    (file,) = tmp_path.glob("*.eml")
    mail = email.message_from_bytes(file.read_bytes(), policy=email_policy.default)
    assert found in mail["Subject"]


def test_a_last_notice_is_not_sent_while_a_retry_is_ahead(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    stripe.add("pi_1", passes=False)
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    for days in (1.1, 6.1, 12.1):
        send(ledger, stripe, FileTransport(tmp_path), after_hours=days * 24)
    gone = "step 3 is not for a case with retries ahead"
    assert states(ledger) == [("sent", None), ("sent", None), ("dropped", gone)]


def test_a_pause_stops_mail_and_loses_none(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    pause(ledger, "global", "test", "me", NOW)
    assert send(ledger, stripe, FileTransport(tmp_path / "outbox")).later == 1
    assert states(ledger)[0] == ("scheduled", None)


@pytest.mark.parametrize(("answer", "state"), [("451 later", "scheduled"), ("550 nobody", "failed")])
def test_what_the_server_refuses(ledger: Ledger, smtp: tuple[Sink, str], answer: str, state: str) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    sink.refusal = answer
    send(ledger, stripe, SmtpTransport(url))
    assert states(ledger)[0][0] == state
    assert sink.taken == []


@pytest.mark.parametrize("thanks", ["queued as 4711", "252 taken", "200 fine"])
def test_an_answer_to_the_mail_itself_that_is_no_refusal_leaves_it_in_doubt(
    ledger: Ledger, smtp: tuple[Sink, str], thanks: str
) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    sink.thanks = thanks
    assert send(ledger, stripe, SmtpTransport(url)).in_doubt == 1
    assert send(ledger, stripe, SmtpTransport(url), after_hours=5).sent == 0
    assert (states(ledger)[0][0], len(sink.taken)) == ("in_doubt", 1)


def test_an_unreachable_server_is_one_sentence_and_loses_nothing(ledger: Ledger) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    with pytest.raises(MailError, match=r"127\.0\.0\.1:1 cannot be used"):
        send(ledger, stripe, SmtpTransport("smtp+plain://user:secret@127.0.0.1:1"))
    assert states(ledger)[0] == ("scheduled", None)


def test_a_dry_run_sends_nothing(ledger: Ledger, tmp_path: Path) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    assert send(ledger, stripe, FileTransport(tmp_path / "outbox"), dry_run=True).due == 1
    assert states(ledger)[0] == ("scheduled", None)


class Meanwhile(Stripe):
    """Lets `act` happen once while the debt is read."""

    def __init__(self, act: Callable[[], None], status: int = 200) -> None:
        super().__init__()
        self.act, self.status = act, status

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        if "/payment_intents/" in path:
            self.act()
            if self.status != 200:
                return Answer(self.status)
        return super().get(path, params)


def test_no_mail_of_a_case_that_ended_while_it_was_written(ledger: Ledger, tmp_path: Path) -> None:
    def end() -> None:
        with ledger.write() as connection:
            connection.execute(recovery_case.update().values(state="recovered"))

    stripe = Meanwhile(end)
    enrolled(ledger, stripe)
    assert send(ledger, stripe, FileTransport(tmp_path / "outbox")).dropped == 1
    assert states(ledger)[0] == ("dropped", "case recovered")
    assert not (tmp_path / "outbox").exists()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_another_process_has_done_with_a_mail_stays(ledger: Ledger, tmp_path: Path, status: int) -> None:
    def take() -> None:
        with ledger.write() as connection:
            connection.execute(message.update().values(state="dropped", drop_reason="by another"))

    stripe = Meanwhile(take, status)
    enrolled(ledger, stripe)
    send(ledger, stripe, FileTransport(tmp_path / "outbox"))
    assert states(ledger)[0] == ("dropped", "by another")
    assert anomalies.still_open(ledger) == []
    with ledger.read() as connection:
        kinds = connection.execute(select(case_event.c.kind)).scalars().all()
    assert [kind for kind in kinds if kind.startswith("message")] == []
    assert not (tmp_path / "outbox").exists()


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_mail_that_was_doubted_while_it_was_sent_stays_in_doubt(
    ledger: Ledger, error: Exception | None
) -> None:
    class TooSlow:
        sent = 0

        def send(self, mail: Mail) -> None:
            self.sent += 1
            with ledger.write() as connection:
                connection.execute(
                    message.update()
                    .where(message.c.state == "sending")
                    .values(lease_until=NOW - timedelta(days=999))
                )
            assert settling.doubt_lapsed(ledger, NOW) == 1
            if error is not None:
                raise error

    stripe, transport = Stripe(), TooSlow()
    enrolled(ledger, stripe)
    send(ledger, stripe, transport)
    send(ledger, stripe, transport, after_hours=5)
    assert (states(ledger)[0][0], transport.sent) == ("in_doubt", 1)
    with ledger.read() as connection:
        kinds = connection.execute(select(case_event.c.kind)).scalars().all()
    assert [kind for kind in kinds if kind.startswith("message")] == ["message_in_doubt"]


def test_the_database_holds_the_mail_caps_when_the_code_forgets_them(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    stripe.add("pi_2", passes=False)
    second = failed_row("pi_2", move="customer", category="card_expired", retry_same_card=False)
    enrol(ledger, failed_table(second), now=NOW, policy=Policy.from_settings(Settings()))
    monkeypatch.setattr(caps, "mail_reached", lambda *_args: None)
    result = send(ledger, stripe, FileTransport(tmp_path / "outbox"))
    assert (result.sent, result.later) == (1, 1)
    assert len(list((tmp_path / "outbox").iterdir())) == 1


@pytest.mark.parametrize(
    "url", ["smtp://user:geh/eim@mail.example.com:25", "smtp://u:geh#eim@mail.example.com"]
)
def test_an_address_that_cannot_be_read_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SmtpTransport(url)
    assert "eim" not in str(caught.value)
    assert "geh" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_outbox_is_for_its_owner_alone(tmp_path: Path) -> None:
    FileTransport(tmp_path / "outbox").send(Mail("m1", "a@acme.test", "b@example.org", b"Subject: x\r\n"))
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
