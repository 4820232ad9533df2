"""Senders killed at each boundary of a mail: no reminder comes twice, a receipt at most twice and then the same to the byte."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.fake_stripe import NOW
from tests.ledgers import KINDS, ledger_url
from tests.outreach.post import Sink, Stripe, crowd, enrolled, many, send
from tinko_pipelines.ledger.schema import message, message_body, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import settling
from tinko_pipelines.outreach.smtp import SmtpTransport

WORKER = """
import os, signal, sys, threading
from tests.outreach.post import crowd, send
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import settling
from tinko_pipelines.outreach.smtp import SmtpTransport
url, server, dies_at, left, debts, workers, status = sys.argv[1:]
left, lock = [int(left)], threading.Lock()
def passing(name):
    if name == dies_at:
        with lock:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
stripe = crowd(int(debts))
for intent in stripe.intents.values():
    intent["status"] = status
send(Ledger.open(url), stripe, SmtpTransport(server), passing=passing, workers=int(workers))
"""
UNPAID = "requires_payment_method"
DATA = "data"
"""The mail has been read by the server, which has not answered yet."""

pytestmark = pytest.mark.slow


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    with ledger_url(request, tmp_path) as made:
        opened = Ledger.open(made)
        opened.migrate()
        opened.close()
        yield made


def killed(url: str, smtp: tuple[Sink, str], dies_at: str, *, at_nth: int = 1, debts: int = 1, workers: int = 1,
           status: str = UNPAID) -> None:  # fmt: skip
    """A sender of its own that dies there."""
    sink, server = smtp
    command = [
        sys.executable,
        "-c",
        WORKER,
        url,
        server,
        dies_at,
        str(at_nth),
        str(debts),
        str(workers),
        status,
    ]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    if dies_at == DATA:
        sink.on_mail = _killer(sink, child, at_nth)
    assert child.wait(60) == -signal.SIGKILL
    sink.on_mail = lambda: None


def _killer(sink: Sink, child: "subprocess.Popen[bytes]", at_nth: int) -> Callable[[], None]:
    def kill() -> None:
        if len(sink.taken) == at_nth:
            os.kill(child.pid, signal.SIGKILL)

    return kill


def lapse(ledger: Ledger) -> None:
    with ledger.write() as connection:
        old = NOW - timedelta(days=999)
        connection.execute(message.update().where(message.c.state == "sending").values(lease_until=old))


BOUNDARIES = ["before_claim", "after_claim", DATA, "after_answer", "after_settle"]


@pytest.mark.parametrize("dies_at", BOUNDARIES)
def test_a_reminder_never_comes_twice(url: str, smtp: tuple[Sink, str], dies_at: str) -> None:
    ledger = Ledger.open(url)
    enrolled(ledger, Stripe(), customer_id="cus_0")
    with ledger.write() as connection:
        connection.execute(recovery_case.update().values(payment_intent_id="pi_0"))
        connection.execute(message.update().where(message.c.step > 1).values(state="dropped"))
    killed(url, smtp, dies_at)
    lapse(ledger)
    stripe = crowd(1)
    for hours in (1, 2, 50):
        send(ledger, stripe, SmtpTransport(smtp[1]), after_hours=hours)
    came = Counter(str(mail["Message-ID"]) for mail in smtp[0].taken)
    assert list(came.values()) == ([] if dies_at == "after_claim" else [1])
    with ledger.read() as connection:
        state = connection.execute(select(message.c.state).where(message.c.step == 1)).scalar()
    settled = dies_at in ("before_claim", "after_settle")
    assert state == ("sent" if settled else "in_doubt")
    ledger.close()


@pytest.mark.parametrize("dies_at", BOUNDARIES)
def test_a_receipt_comes_and_at_most_twice_and_the_same(
    url: str, smtp: tuple[Sink, str], dies_at: str
) -> None:
    ledger = Ledger.open(url)
    enrolled(ledger, Stripe(), customer_id="cus_0")
    with ledger.write() as connection:
        row = connection.execute(select(message).order_by(message.c.step)).mappings().first()
        assert row is not None
        connection.execute(message.update().values(state="dropped"))
        connection.execute(message.insert().values(**{**row, "id": "0" * 32, "step": 99, "kind": "receipt"}))
        connection.execute(recovery_case.update().values(state="recovered", payment_intent_id="pi_0"))
    stripe = crowd(1)
    stripe.intents["pi_0"]["status"] = "succeeded"
    for _ in range(2):
        with ledger.read() as connection:
            waiting = connection.execute(select(message.c.state).where(message.c.step == 99)).scalar()
        if waiting == "scheduled":
            killed(
                url,
                smtp,
                dies_at,
                at_nth=len(smtp[0].taken) + 1 if dies_at == DATA else 1,
                status="succeeded",
            )
            lapse(ledger)
            settling.doubt_lapsed(ledger, NOW)
    for hours in (1, 2, 50):
        send(ledger, stripe, SmtpTransport(smtp[1]), after_hours=hours)
        lapse(ledger)
    sent = smtp[0]
    assert len(sent.taken) <= 2
    assert len(sent.taken) >= (0 if dies_at == "after_claim" else 1)
    assert len(set(sent.bodies)) <= 1, "sent again it is the same to the byte"
    with ledger.read() as connection:
        assert connection.execute(select(message.c.doubts).where(message.c.step == 99)).scalar_one() <= 2
        assert len(connection.execute(select(message_body.c.sha256)).all()) == 1
    ledger.close()


@pytest.mark.parametrize(("dies_at", "at_nth"), [("after_claim", 9), (DATA, 7), ("after_answer", 11)])
def test_several_in_flight_leave_no_more_in_doubt_than_were_in_flight(
    url: str, smtp: tuple[Sink, str], dies_at: str, at_nth: int
) -> None:
    ledger, debts, workers = Ledger.open(url), 30, 4
    stripe = many(ledger, debts)
    killed(url, smtp, dies_at, at_nth=at_nth, debts=debts, workers=workers)
    lapse(ledger)
    result = send(ledger, stripe, SmtpTransport(smtp[1]), after_hours=1, workers=workers)
    came = Counter(str(mail["Message-ID"]) for mail in smtp[0].taken)
    assert set(came.values()) == {1}, "no reminder came twice"
    assert 1 <= result.in_doubt <= workers
    assert debts - workers <= len(came) <= debts
    ledger.close()
