"""From the mail to the money; what a person's erasure reaches; and that ledger and Stripe agree about all of it."""

import email
import re
from datetime import timedelta
from email import policy
from email.message import EmailMessage

import pytest

from tests.retry.shop import Shop
from tests.web.counter import Customer, link_for, sessions
from tests.web.test_paying import declined, paid, soon_due
from tinko_pipelines.app import App
from tinko_pipelines.errors import InputError
from tinko_pipelines.ledger.links import digest
from tinko_pipelines.ledger.schema import attempt, checkout_session, message, recovery_case, recovery_link
from tinko_pipelines.outreach.links import recovery_link as make_link

LINK = re.compile(r"https://pay\.example\.com/r/([A-Za-z0-9_-]{43})")


def mailed(shop: Shop) -> dict[str, str]:
    """The links of the mails in the outbox, by the hash of their token."""
    found = {}
    for path in (shop.app.settings.state / "outbox").rglob("*.eml"):
        mail = email.message_from_bytes(path.read_bytes(), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        for part in mail.walk():
            if part.get_content_maintype() == "text":
                for match in LINK.finditer(part.get_content()):
                    found[digest(match[1])] = match[0]
    return found


def write(shop: Shop, debt: str) -> str:
    """Let time pass until the debt's first mail is out; the link in it."""
    case = shop.case(debt)["id"]
    for _ in range(12):
        shop.app.send_mail(owner="test")
        links = mailed(shop)
        for row in shop.rows(recovery_link):
            if row["case_id"] == case and row["token_sha256"] in links:
                return links[row["token_sha256"]]
        shop.advance(timedelta(hours=12))
    raise AssertionError("no mail came")


@pytest.mark.parametrize("kind", ["failed_intent", "failed_invoice"])
def test_a_mail_leads_to_the_money(shop: Shop, customer: Customer, kind: str) -> None:
    debt = str(
        declined(shop, kind, code="expired_card")["invoice" if kind == "failed_invoice" else "payment_intent"]
    )
    link = write(shop, debt)
    page = customer.goes_to(link)
    assert customer.pays(page).status_code in (200, 303)
    shop.event("payment_intent.succeeded", shop.case(debt)["customer_id"])
    shop.advance(timedelta(minutes=5))
    shop.app.drain(owner="test")
    assert shop.case(debt)["state_reason"].startswith("after our mail (link)")


def test_nobody_is_reminded_while_his_page_is_open(shop: Shop, customer: Customer) -> None:
    debt = str(declined(shop)["payment_intent"])
    customer.goes_to(link_for(shop, debt))
    case = shop.case(debt)["id"]
    with shop.app.ledger.write() as connection:
        of_case = message.c.case_id == case
        connection.execute(
            message.update()
            .where(of_case, message.c.state == "scheduled")
            .values(due_at=shop.app.clock.now())
        )
    waiting = [row for row in shop.rows(message) if row["case_id"] == case and row["state"] == "scheduled"]
    shop.app.send_mail(owner="test")
    after = [row for row in shop.rows(message) if row["case_id"] == case and row["state"] == "scheduled"]
    assert after == waiting != []


def test_links_are_made_only_where_they_lead_somewhere(shop: Shop) -> None:
    now, ledger = shop.app.clock.now(), shop.app.ledger
    case = shop.case(str(declined(shop)["payment_intent"]))
    given = {"public_url": "https://pay.example.com", "days": 14, "pages": True}
    assert make_link(ledger, case, now, **given) is not None
    for change in ({"public_url": None}, {"pages": False}):
        assert make_link(ledger, case, now, **{**given, **change}) is None
    for changed in ({"state": "recovered"}, {"debt_kind": "charge"}, {"customer_id": None}):
        assert make_link(ledger, {**case, **changed}, now, **given) is None
    several = [make_link(ledger, case, now, **given) for _ in range(110)]
    assert sum(link is not None for link in several) == 99


def test_a_dry_run_makes_no_page(shop: Shop) -> None:
    from tests.web.counter import served

    debt = str(declined(shop)["payment_intent"])
    dry, there = App(shop.app.settings.model_copy(update={"charging": "dry_run"})), len(sessions(shop))
    dry.settings.__dict__.pop("charges_for_real", None)
    with served(dry) as base:
        customer = Customer(base)
        assert "write to us" in customer.press(link_for(shop, debt)).text
        customer.http.close()
    dry.ledger.close()
    assert (shop.attempts(debt), len(sessions(shop))) == ([], there)


def test_an_erased_person_leaves_no_link_that_leads_anywhere(shop: Shop, customer: Customer) -> None:
    made = declined(shop)
    debt, who = str(made["payment_intent"]), str(made["customer"])
    link = link_for(shop, debt)
    customer.goes_to(link)
    refused = shop.app.erase_person(who, apply=False).against
    assert any("requires_action" in why for why in refused)
    with pytest.raises(InputError):
        shop.app.erase_person(who, apply=True)
    shop.advance(timedelta(hours=23, minutes=5))
    shop.app.drain(owner="test")
    shop.refresh()
    assert shop.app.erase_person(who, apply=True).done
    case = shop.case(debt)
    mine = [row for table in (attempt, checkout_session, recovery_link, recovery_case) for row in shop.rows(table)
            if case["id"] in (row.get("case_id"), row.get("id"))]  # fmt: skip
    assert who not in str(mine)
    assert [
        row["revoked_at"] is not None for row in shop.rows(recovery_link) if row["case_id"] == case["id"]
    ] == [True]
    assert "no longer open" in customer.press(link).text


def test_ledger_and_stripe_agree_about_what_was_paid_by_link(shop: Shop, customer: Customer) -> None:
    by_link, by_retry = soon_due(shop), soon_due(shop)
    for debt in (by_link, by_retry):
        page = customer.goes_to(link_for(shop, debt))
        if debt == by_link:
            assert customer.pays(page).status_code == 303
    shop.until_due(by_retry)
    shop.app.drain(owner="test")
    shop.advance(timedelta(minutes=30))
    assert [paid(shop, debt) for debt in (by_link, by_retry)] == [1, 1]
    shop.refresh()
    shop.app.send_mail(owner="test")
    assert shop.app.reconcile(whole=True).agreed
    broken = {result.name: result.sample for result in shop.app.check() if result.rows}
    assert broken == {}
