"""The whole way of a declined debt: mail, a click in a real browser, a page to pay on, webhook, recovered, receipt."""

import email
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest

from tests.ledgers import KINDS, ledger_url
from tests.outreach.browser import CHROMIUM
from tests.ports import free_port
from tests.retry.shop import Shop, passing_later
from tests.web.browser import Browser, browser
from tests.web.serving import Served
from tinko_pipelines.ledger.schema import webhook_event
from tinko_pipelines.sandbox.process import SandboxProcess

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")]
WITHIN_SECONDS = 180


@pytest.fixture(scope="module")
def customer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """With `tinko serve` before it, to which the sandbox sends its webhooks."""
    folder, port = tmp_path_factory.mktemp("way"), free_port()
    public = f"http://127.0.0.1:{port}"
    with (
        SandboxProcess(folder / "sandbox", seed=5, charges=1, history_days=1) as process,
        ledger_url(request, folder) as url,
    ):
        made = Shop(process.base, folder / "state", ledger_url=url, public_url=public)
        made.stripe.mode(pages="own", stripe_retries="off")
        made.app.ledger.migrate()
        hook = made.post(
            "/v1/webhook_endpoints", url=f"{public}/webhooks/stripe/default", enabled_events=["*"]
        )
        served = Served(folder / "state", TINKO_STRIPE_API_BASE=process.base, TINKO_CLOCK="sandbox",
                        TINKO_LEDGER_URL=url, TINKO_PUBLIC_URL=public, TINKO_WEBHOOK_SECRET=hook["secret"])  # fmt: skip
        served.port = port
        served.start()
        try:
            yield made
        finally:
            assert served.stop() == 0
            made.app.ledger.close()


def mails(shop: Shop, customer_id: str) -> list[EmailMessage]:
    person = (shop.app.account().gateway.get(f"/v1/customers/{customer_id}").body or {})["email"]
    found = []
    for path in (shop.app.settings.state / "outbox").rglob("*.eml"):
        mail = email.message_from_bytes(path.read_bytes(), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        if mail["To"] == person:
            found.append(mail)
    return sorted(found, key=lambda mail: str(mail["Date"].datetime))


def link_in(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/r/[A-Za-z0-9_-]{43}", body.get_content())
    assert found is not None, body.get_content()
    return found[0]


def written_to(shop: Shop, debt: str) -> EmailMessage:
    """Let the hours pass until the first mail of the debt is out."""
    for _ in range(40):
        shop.app.send_mail(owner="test", max_seconds=30)
        found = mails(shop, shop.case(debt)["customer_id"])
        if found:
            (mail,) = found
            return mail
        shop.advance(timedelta(hours=3))
    raise AssertionError("no mail came")


def told(shop: Shop) -> Counter[str]:
    """How many events of each type the door has taken in; a table has no order of its own to slice by."""
    return Counter(row["type"] for row in shop.rows(webhook_event))


def heard(shop: Shop, kind: str, before: Counter[str]) -> None:
    """Wait until the door has taken in one of these more than before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if told(shop)[kind] > before[kind]:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {kind} came: {told(shop)}")


def succeeded(shop: Shop, customer_id: str) -> list[dict[str, Any]]:
    body = shop.app.account().gateway.get("/v1/charges", {"customer": customer_id, "limit": 100}).body or {}
    return [one for one in body["data"] if one["status"] == "succeeded"]


@pytest.mark.parametrize("kind", ["failed_intent", "failed_invoice"])
@pytest.mark.parametrize("code", ["expired_card", "authentication_required"])
def test_a_declined_debt_is_paid_on_the_way_from_a_mail_and_thanked_for(
    shop: Shop, customer: Browser, kind: str, code: str
) -> None:
    began, known = time.monotonic(), told(shop)
    made = shop.stripe.fixture(kind, code=code, email=f"{kind}-{code}@example.com")
    shop.refresh()
    debt = str(made["invoice" if kind == "failed_invoice" else "payment_intent"])
    customer.go(link_in(written_to(shop, debt)))
    before = shop.attempts(debt)
    customer.press("form button")
    assert customer.at.startswith(f"{shop.app.settings.stripe_api_base}/_pages/"), customer.text
    assert succeeded(shop, shop.case(debt)["customer_id"]) == []
    customer.press("form button")
    heard(shop, "charge.succeeded", known)
    shop.advance(timedelta(minutes=5))
    shop.app.drain(owner="test")
    case = shop.case(debt)
    assert case["state"] in ("recovered", "paid_elsewhere"), case
    assert case["state_reason"].startswith("after our mail (link)")
    for _ in range(3):
        shop.app.send_mail(owner="test", max_seconds=30)
        shop.app.drain(owner="test")
        shop.advance(timedelta(days=2))
        shop.refresh()
    reminder, receipt = mails(shop, case["customer_id"])
    assert (reminder["In-Reply-To"], receipt["In-Reply-To"]) == (None, reminder["Message-ID"])
    assert "Thank you" in receipt["Subject"]
    assert len(succeeded(shop, case["customer_id"])) == 1
    assert [row["operation"] for row in shop.attempts(debt)[len(before) :]] in ([], ["checkout.session"])
    assert time.monotonic() - began < WITHIN_SECONDS


def test_a_card_changed_in_the_portal_is_charged_by_the_next_retry(shop: Shop, customer: Browser) -> None:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop, 300), email="portal@example.com")
    shop.refresh()
    debt = str(made["invoice"])
    customer.go(link_in(written_to(shop, debt)))
    customer.press("form[action$='/card'] button")
    assert "/_pages/p/session/" in customer.at
    customer.press("form button")
    assert customer.at.endswith("/r/done"), customer.at
    shop.refresh()
    shop.until_due(debt)
    shop.app.drain(owner="test")
    case = shop.case(debt)
    assert (case["state"], case["state_reason"]) == ("recovered", "our retry succeeded")
    shop.app.send_mail(owner="test", max_seconds=30)
    subjects = [mail["Subject"] for mail in mails(shop, case["customer_id"])]
    assert ["Thank you" in subject for subject in subjects] == [False, True]
    assert len(succeeded(shop, case["customer_id"])) == 1
