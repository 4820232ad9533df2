"""A mail before a card ends: from the sandbox's cards by lake, ledger and outbox to the page that replaces the card."""

import email
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.ledgers import KINDS, ledger_url
from tests.retry.shop import Shop
from tests.web import counter
from tests.web.counter import Customer
from tinko_pipelines.app import App
from tinko_pipelines.ledger.schema import card_notice, message, message_body
from tinko_pipelines.outreach.addresses import hash_address, id_token, read_or_make_salt
from tinko_pipelines.outreach.suppression import suppress
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import load_settings

LINK = re.compile(r"https://pay\.example\.com(/c/[A-Za-z0-9_-]{64})(?![A-Za-z0-9_-])")


@pytest.fixture(scope="module", params=KINDS)
def cards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("cards")
    with (
        SandboxProcess(folder / "sandbox", seed=5, charges=1, history_days=1) as process,
        ledger_url(request, folder) as url,
    ):
        made = Shop(process.base, folder / "state", ledger_url=url, public_url=counter.PUBLIC)
        yield made
        made.app.ledger.close()


@pytest.fixture(scope="module")
def web(cards: Shop) -> Iterator[Customer]:
    with counter.served(cards.app) as base:
        made = Customer(base)
        yield made
        made.http.close()


def subscriber(shop: Shop, name: str, days: float = 10, **more: Any) -> dict[str, Any]:
    """Somebody whose subscription goes on and whose card ends with the month that is that far away."""
    made = shop.stripe.fixture("failed_invoice", code=None, email=f"{name}@example.com", name=name, **more)
    ends = shop.stripe.now() + timedelta(days=days)
    shop.stripe.fixture("card_end", id=made["payment_method"], month=ends.month, year=ends.year)
    return made


def at_end_of_month(shop: Shop) -> None:
    """Noon of a weekday some days before a month ends, when everybody is awake."""
    at = shop.stripe.now()
    while not (15 <= at.day <= 18 and at.weekday() < 4 and at.hour < 20):
        at = (at + timedelta(days=1)).replace(hour=0)
    shop.stripe.advance_to(at.replace(hour=20, minute=0))


def seen(shop: Shop) -> None:
    """Let the lake hear of it: events of the last minutes are read the next time."""
    shop.advance(timedelta(minutes=10))
    shop.refresh()


def mails_of(shop: Shop, made: dict[str, Any]) -> list[dict[str, Any]]:
    query = (
        select(message)
        .join(card_notice, card_notice.c.id == message.c.card_notice_id)
        .where(card_notice.c.customer_id == made["customer"])
    )
    with shop.app.ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def written(shop: Shop, message_id: str) -> EmailMessage:
    path = shop.app.settings.outbox_dir / f"{message_id}.eml"
    found = email.message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def test_from_the_card_to_the_portal(cards: Shop, web: Customer) -> None:
    at_end_of_month(cards)
    made, later = subscriber(cards, "Ann"), subscriber(cards, "Ben", days=70)
    seen(cards)
    seen(cards)
    assert mails_of(cards, later) == []
    (row,) = mails_of(cards, made)
    assert (row["kind"], row["state"], row["case_id"]) == ("card", "scheduled", None)
    cards.app.send_mail(owner="test")
    cards.app.send_mail(owner="test")
    (row,) = mails_of(cards, made)
    assert row["state"] == "sent"
    mail = written(cards, row["id"])
    assert mail["Subject"].startswith("Your card for Your company expires at the end of ")
    assert "one-click" in str(mail["List-Unsubscribe-Post"]).lower()
    text = text_of(mail)
    assert "Visa •••• 1881" in text
    assert "Hello Ann," in text
    link = LINK.search(text)
    assert link is not None
    page = web.look(link[1])
    assert "ends soon" in page.text
    assert [row["clicks"] for row in cards.rows(card_notice)] == [0]
    assert "/portal" in web.goes_to(link[1], "card") or "bps_" in web.goes_to(link[1], "card")
    (notice,) = cards.rows(card_notice)
    assert notice["clicks"] >= 1
    seen(cards)
    assert len(mails_of(cards, made)) == 1
    # Another card is on file: the page says so, and nobody is led to the portal any more.
    cards.stripe.fixture("card_end", id=made["payment_method"], month=12, year=2040)
    assert "nothing left to do" in web.press(link[1], "card").text.lower()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("renewed", "the card was renewed"),
        ("removed", "the card was removed"),
        ("cancelled", "nothing is charged to the card any more"),
        ("deleted", "the customer is deleted"),
        ("other", "nothing is charged to the card any more"),
    ],
)
def test_what_happens_before_it_goes_out_stops_it(cards: Shop, what: str, reason: str) -> None:
    at_end_of_month(cards)
    made = subscriber(cards, f"Stopped {what}")
    seen(cards)
    assert [row["state"] for row in mails_of(cards, made)] == ["scheduled"]
    if what == "renewed":
        cards.stripe.fixture("card_end", id=made["payment_method"], month=3, year=2041, by_updater=True)
    elif what == "removed":
        cards.post(f"/v1/payment_methods/{made['payment_method']}/detach")
    elif what == "other":
        new = cards.post("/v1/payment_methods/pm_card_visa/attach", customer=made["customer"])
        path = f"/v1/subscriptions/{made['subscription']}"
        cards.post(path, default_payment_method=new["id"])
    elif what == "cancelled":
        cards.stripe.act("cancel_subscription", made["subscription"])
    else:
        cards.stripe.act("delete_customer", made["customer"])
    cards.app.send_mail(owner="test")
    (row,) = mails_of(cards, made)
    assert (row["state"], row["drop_reason"]) == ("dropped", reason)


def test_who_gets_none_in_the_first_place(cards: Shop) -> None:
    at_end_of_month(cards)
    ending, updated = subscriber(cards, "Ending"), subscriber(cards, "Updated", days=70)
    cards.stripe.fixture("amend", object="subscriptions", id=ending["subscription"], fields={"cancel_at_period_end": True})  # fmt: skip
    now = cards.stripe.now()
    cards.stripe.fixture(
        "card_end", id=updated["payment_method"], month=now.month, year=now.year, by_updater=True
    )
    ended = subscriber(cards, "Ended")
    cards.stripe.act("cancel_subscription", ended["subscription"])
    seen(cards)
    assert [mails_of(cards, one) for one in (ending, updated, ended)] == [[], [], []]


def test_hours_caps_suppression_and_erasure_hold_for_it(cards: Shop) -> None:
    at_end_of_month(cards)
    asleep, stopped, gone = (
        subscriber(cards, "Asleep"),
        subscriber(cards, "Stopped"),
        subscriber(cards, "Gone"),
    )
    seen(cards)
    salt = read_or_make_salt(cards.app.settings.mail_salt)
    suppress(
        cards.app.ledger, hash_address("Stopped@example.com", salt), "unsubscribed", cards.app.clock.now()
    )
    assert cards.app.erase_person(gone["customer"], apply=True).done
    cards.stripe.advance_to(cards.stripe.now() + timedelta(hours=12))
    cards.app.send_mail(owner="test")
    (waiting,) = mails_of(cards, asleep)
    assert (waiting["state"], waiting["detail"]) == ("scheduled", "waits for the customer's day")
    cards.stripe.advance_to(waiting["due_at"] + timedelta(minutes=1))
    cards.app.send_mail(owner="test")
    assert [row["state"] for row in mails_of(cards, asleep)] == ["sent"]
    assert [(row["state"], row["drop_reason"]) for row in mails_of(cards, stopped)] == [
        ("dropped", "suppressed")
    ]
    assert mails_of(cards, gone) == []
    left = [row for row in cards.rows(card_notice) if row["customer_id"] is None]
    assert len(left) == 1
    of_gone = [row for row in cards.rows(message) if row["card_notice_id"] == left[0]["id"]]
    assert [(row["state"], row["drop_reason"]) for row in of_gone] == [("dropped", "the person was erased")]


def test_after_it_went_out_its_person_is_erased_and_the_link_leads_nowhere(
    cards: Shop, web: Customer
) -> None:
    at_end_of_month(cards)
    made = subscriber(cards, "Forgotten")
    seen(cards)
    cards.app.send_mail(owner="test")
    (row,) = mails_of(cards, made)
    link = LINK.search(text_of(written(cards, row["id"])))
    assert link is not None
    assert web.look(link[1]).status_code == 200
    assert cards.app.erase_person(made["customer"], apply=True).done
    assert web.look(link[1]).status_code == 404
    assert not (cards.app.settings.outbox_dir / f"{row['id']}.eml").exists()
    (body,) = [one for one in cards.rows(message_body) if one["message_id"] == row["id"]]
    assert body["content"] is None
    # Other tests leave mails lying while they move the clock; that one is not this test's.
    broken = {one.name: one.sample for one in cards.app.check() if one.rows}
    assert broken.keys() <= {"mail_is_not_left_lying"}, broken


def test_no_other_address_leads_to_a_card(cards: Shop, web: Customer) -> None:
    (notice, *_) = cards.rows(card_notice)
    salt = read_or_make_salt(cards.app.settings.mail_salt)
    good = id_token(salt, "card", notice["id"])
    bad = [
        id_token(salt, "opened", notice["id"]), id_token(b"other", "card", notice["id"]), good[:-1], good + "A",
        good[:-1] + ("A" if good[-1] != "A" else "B"), "x" * 64, id_token(salt, "card", "0" * 8 + notice["id"][8:]),
    ]  # fmt: skip
    for token in bad:
        assert web.look(f"/c/{token}").status_code == 404
        assert web.press(f"/c/{token}", "card").status_code == 404


def test_it_ends_with_the_card(cards: Shop, web: Customer) -> None:
    at_end_of_month(cards)
    made = subscriber(cards, "Late")
    seen(cards)
    cards.app.send_mail(owner="test")
    (row,) = mails_of(cards, made)
    link = LINK.search(text_of(written(cards, row["id"])))
    assert link is not None
    ends: datetime = next(
        one["expires_at"] for one in cards.rows(card_notice) if one["id"] == row["card_notice_id"]
    )
    late = subscriber(cards, "Too late")
    seen(cards)
    cards.stripe.advance_to(ends + timedelta(minutes=1))
    cards.app.send_mail(owner="test")
    assert [one["drop_reason"] for one in mails_of(cards, late)] == ["the card has ended"]
    assert "no longer valid" in web.look(link[1]).text


def test_without_a_page_of_ours_it_leads_to_the_merchants_or_does_not_go_out(
    tmp_path: Path, cards: Shop
) -> None:
    at_end_of_month(cards)
    made = subscriber(cards, "Elsewhere")
    seen(cards)
    for url, state in ((None, "dropped"), ("https://shop.example.com/card", "sent")):
        settings = cards.app.settings.model_copy(
            update={"public_url": None, "update_card_url": url, "state": tmp_path / "state"}
        )
        other = App(load_settings(**settings.model_dump(exclude_unset=True)))
        with cards.app.ledger.write() as connection:
            mine = message.c.id == mails_of(cards, made)[0]["id"]
            connection.execute(
                message.update().where(mine, message.c.state == "dropped").values(state="scheduled")
            )
        other.send_mail(owner="test")
        (row,) = mails_of(cards, made)
        assert row["state"] == state
        other.ledger.close()
