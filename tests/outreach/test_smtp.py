"""Many mails over one connection to a real server, and what its answers lead to."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from tests.fake_stripe import NOW, failed_row, failed_table
from tests.outreach.post import (
    MERCHANT,
    SALT,
    Sink,
    Stripe,
    enrolled,
    many,
    send,
    served,
    states,
)
from tests.ports import free_port
from tinko_pipelines.errors import MailError
from tinko_pipelines.ledger.schema import message, suppression
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import settling
from tinko_pipelines.outreach import smtp as smtp_module
from tinko_pipelines.outreach.addresses import hash_address, message_of
from tinko_pipelines.outreach.flight import Pace
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.outreach.transport import Mail, TryLaterError, is_about_recipient, status_in
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.settings import Settings


def mail(number: int) -> Mail:
    return Mail(f"m{number}", "a@acme.test", "b@example.org", b"Subject: x\r\n\r\n.dot\r\n")


def test_one_connection_carries_many_mails(smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    transport = SmtpTransport(url)
    for number in range(20):
        transport.send(mail(number))
    transport.close()
    assert (len(sink.taken), sink.greetings) == (20, 1)
    assert set(sink.bodies) == {b"Subject: x\r\n\r\n.dot\r\n"}


def test_a_refusal_does_not_end_the_connection(smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    transport = SmtpTransport(url)
    sink.refusal = "451 4.7.1 later"
    with pytest.raises(TryLaterError, match=r"recipient refused with 451 4\.7\.1"):
        transport.send(mail(1))
    sink.refusal = ""
    transport.send(mail(2))
    transport.close()
    assert (len(sink.taken), sink.greetings) == (1, 1)


@pytest.mark.parametrize("trusted_seconds", [0.0, 3600.0])
def test_a_connection_that_has_ended_is_opened_again(
    trusted_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is asked first or found out with the mail itself: nothing is lost and nothing doubled."""
    monkeypatch.setattr(smtp_module, "TRUSTED_SECONDS", trusted_seconds)
    sink, port = Sink(), free_port()
    with served(sink, port) as url:
        transport = SmtpTransport(url)
        transport.send(mail(1))
    with served(sink, port):
        transport.send(mail(2))
        transport.close()
    assert (len(sink.taken), sink.greetings) == (2, 2)


def test_a_server_that_closes_says_so_and_the_mail_goes_by_another_connection(
    smtp: tuple[Sink, str],
) -> None:
    sink, url = smtp
    transport = SmtpTransport(url)
    transport.send(mail(1))
    sink.refusal = "421 too many for one connection"
    with pytest.raises(MailError, match=r"cannot be used \(421\)"):
        transport.send(mail(2))
    sink.refusal = ""
    transport.send(mail(3))
    transport.close()
    assert len(sink.taken) == 2


def test_what_comes_back_names_its_message(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    own = Merchant(*(getattr(MERCHANT, name) for name in ("sender", "name", "address", "support", "update_card_url", "salt")), None, "bounces.acme.test")  # fmt: skip
    send(ledger, stripe, SmtpTransport(url), merchant=own)
    (sender,), (taken,) = sink.senders, sink.taken
    assert sender.endswith("@bounces.acme.test")
    assert len(sender.partition("@")[0]) <= 64
    name = message_of(SALT, sender)
    assert taken["Message-ID"] == f"<{name}@acme.test>"
    assert message_of(b"other", sender) is None
    assert message_of(SALT, sender.replace(sender[5], "f" if sender[5] != "f" else "e", 1)) is None


def test_a_mail_that_is_put_off_waits_longer_each_time_and_not_for_ever(
    ledger: Ledger, smtp: tuple[Sink, str]
) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    with ledger.write() as connection:
        connection.execute(message.update().where(message.c.step > 1).values(state="dropped"))
    sink.refusal = "451 later"
    passed = timedelta()
    waits = list[timedelta]()
    for _ in range(2 * len(settling.DEFERRALS)):
        if len(waits) == len(settling.DEFERRALS):
            break
        assert send(ledger, stripe, SmtpTransport(url), after_hours=passed / timedelta(hours=1)).later == 1
        with ledger.read() as connection:
            row = connection.execute(select(message).where(message.c.step == 1)).mappings().one()
        wait = row["due_at"] - (NOW + timedelta(minutes=1) + passed)
        assert send(ledger, stripe, SmtpTransport(url), after_hours=passed / timedelta(hours=1)).later == 0
        passed += wait
        if row["detail"] != "waits for the customer's day":
            waits.append(wait)
    assert tuple(waits) == settling.DEFERRALS
    assert waits == sorted(set(waits))
    assert send(ledger, stripe, SmtpTransport(url), after_hours=passed / timedelta(hours=1)).failed == 1
    assert states(ledger)[0][0] == "failed"
    assert sink.taken == []


@pytest.mark.parametrize(
    ("answer", "suppressed"),
    [
        ("550 5.1.1 no such user", True),
        ("550 5.2.1 switched off", True),
        ("550 5.7.1 your host is on a list", False),
        ("550 5.1.8 bad sender", False),
        ("552 5.2.2 mailbox full", False),
        ("550 go away", False),
    ],
)
def test_only_an_address_that_is_at_fault_itself_is_written_to_no_more(
    ledger: Ledger, smtp: tuple[Sink, str], answer: str, suppressed: bool
) -> None:
    sink, url = smtp
    stripe = Stripe()
    enrolled(ledger, stripe)
    sink.refusal = answer
    assert send(ledger, stripe, SmtpTransport(url)).failed == 1
    with ledger.read() as connection:
        rows = connection.execute(select(suppression.c.address_hmac, suppression.c.reason)).all()
    assert [tuple(row) for row in rows] == (
        [(hash_address("ann@example.org", SALT), "hard_bounce")] if suppressed else []
    )
    sink.refusal = ""
    later = send(ledger, stripe, SmtpTransport(url), after_hours=24 * 8)
    assert (later.sent, len(sink.taken)) == ((0, 0) if suppressed else (1, 1))
    if suppressed:
        assert ("dropped", "suppressed") in states(ledger)


def test_statuses() -> None:
    assert status_in("550-5.1.1 no such user 5.7.1") == "5.1.1"
    assert status_in("250 2.0.0 ok") == "2.0.0"
    assert status_in("550 at 10.5.1.1 no") is None
    assert not is_about_recipient(None)


def test_no_more_mails_than_the_pace_allows() -> None:
    import time

    pace, began = Pace(50.0), time.monotonic()
    for _ in range(11):
        pace.wait()
    assert 0.19 < time.monotonic() - began < 10
    free, began = Pace(None), time.monotonic()
    for _ in range(1000):
        free.wait()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("workers", [1, 4])
def test_several_in_flight_are_claimed_in_order_and_within_the_caps(
    ledger: Ledger, smtp: tuple[Sink, str], workers: int
) -> None:
    sink, url = smtp
    stripe = Stripe()
    for number in range(8):
        stripe.add(f"pi_{number}", passes=False)
        row = failed_row(f"pi_{number}", move="customer", category="card_expired", retry_same_card=False)
        enrol(
            ledger,
            failed_table(row),
            now=NOW - timedelta(minutes=number),
            policy=Policy.from_settings(Settings()),
        )
    result = send(ledger, stripe, SmtpTransport(url), workers=workers)
    assert (result.sent, result.later, len(sink.taken)) == (1, 7, 1)
    with ledger.read() as connection:
        oldest = connection.execute(
            select(func.min(message.c.due_at, type_=message.c.due_at.type))
        ).scalar_one()
        sent = connection.execute(select(message.c.due_at).where(message.c.state == "sent")).scalar_one()
    assert sent == oldest, "the oldest one was claimed first"


def test_several_in_flight_each_go_out_once(ledger: Ledger, smtp: tuple[Sink, str]) -> None:
    sink, url = smtp
    stripe = many(ledger, 40)
    result = send(ledger, stripe, SmtpTransport(url), workers=4)
    assert (result.sent, len(sink.taken)) == (40, 40)
    assert len({taken["Message-ID"] for taken in sink.taken}) == 40
    assert len({taken["To"] for taken in sink.taken}) == 40
    assert 1 <= sink.greetings <= 4


def test_a_server_that_goes_away_stops_the_run_and_loses_nothing(ledger: Ledger) -> None:
    stripe = many(ledger, 10)
    with pytest.raises(MailError, match="cannot be used"):
        send(ledger, stripe, SmtpTransport("smtp+plain://127.0.0.1:1"), workers=4)
    with ledger.read() as connection:
        found = set(connection.execute(select(message.c.state)).scalars())
    assert found == {"scheduled"}


def test_senders_that_meet_at_one_address_do_not_block_each_other(
    ledger: Ledger, smtp: tuple[Sink, str]
) -> None:
    sink, url = smtp
    stripe = Stripe()
    for number in range(12):
        stripe.add(f"pi_{number}", passes=False)
        row = failed_row(f"pi_{number}", move="customer", category="card_expired", retry_same_card=False)
        enrol(ledger, failed_table(row), now=NOW, policy=Policy.from_settings(Settings()))
    for turn in range(3):
        with ThreadPoolExecutor(4) as pool:
            hours = 24.5 * turn
            runs = [
                pool.submit(send, ledger, stripe, SmtpTransport(url), after_hours=hours, owner=f"s{number}")
                for number in range(4)
            ]
        assert sum(run.result().sent for run in runs) == 1
        assert len(sink.taken) == turn + 1
