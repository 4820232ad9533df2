"""What customers type in any field that a letter reads stays what it is: text, and of no other mail than their own."""

import email
import html
import logging
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email import policy
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.payloads import PAYLOADS
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.outreach.languages import languages
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.prepare import Ready, prepare
from tinko_pipelines.outreach.render import Letter, Owed, render

LINK = "https://pay.test/i/1"
NOW = datetime(2026, 9, 10, 12, tzinfo=UTC)
MERCHANT = Merchant("Acme <billing@acme.test>", "Acme", "1 Road", "help@acme.test", None, b"salt")
Object = dict[str, Any]
CASE = {
    "invoice_id": "in_1", "payment_intent_id": None, "debt_id": "in_1", "customer_id": "cus_1", "amount_minor": 1000,
    "currency": "eur", "card_country": "GB", "first_failed_at": NOW, "plan": '{"retries": []}', "plan_ends_at": NOW.replace(month=12),
    "executed_attempts": 0, "max_attempts": 0,
}  # fmt: skip
MESSAGE = {
    "id": "m1",
    "case_id": "c1",
    "kind": "dunning",
    "step": 1,
    "template": "update_card",
    "locale": "en",
    "account_id": "default",
    "fence": 0,
    "first_header": None,
}


class Stripe:
    """One open invoice and its customer."""

    account_id, livemode, api_version = "default", False, "v"

    def __init__(self) -> None:
        self.customer: Object = {
            "id": "cus_1", "email": "ann@example.org", "name": "Ann", "preferred_locales": ["en"],
            "address": {"country": "GB", "state": None}, "shipping": None,
        }  # fmt: skip
        self.invoice: Object = {
            "id": "in_1",
            "status": "open",
            "number": "A-1",
            "hosted_invoice_url": LINK,
        }

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return Answer(200, body=self.customer if "/customers/" in path else self.invoice)

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        raise AssertionError("a mail changes nothing at Stripe")


FIELDS: dict[str, Callable[[Stripe, str], object]] = {
    "customer.name": lambda stripe, text: stripe.customer.update(name=text),
    "customer.email": lambda stripe, text: stripe.customer.update(email=text),
    "customer.preferred_locales": lambda stripe, text: stripe.customer.update(preferred_locales=[text]),
    "customer.address.country": lambda stripe, text: stripe.customer.update(address={"country": text}),
    "customer.address.state": lambda stripe, text: stripe.customer.update(
        address={"country": "GB", "state": text}
    ),
    "customer.shipping": lambda stripe, text: stripe.customer.update(
        address=None, shipping={"name": text, "address": {"country": text}}
    ),
    "customer.description": lambda stripe, text: stripe.customer.update(description=text),
    "customer.metadata": lambda stripe, text: stripe.customer.update(metadata={text: text}),
    "invoice.number": lambda stripe, text: stripe.invoice.update(number=text),
    "invoice.description": lambda stripe, text: stripe.invoice.update(description=text, footer=text),
    "invoice.metadata": lambda stripe, text: stripe.invoice.update(metadata={"name": text}),
    "invoice.hosted_invoice_url": lambda stripe, text: stripe.invoice.update(hosted_invoice_url=text),
}


class Skeleton(HTMLParser):
    """Tags and attributes of a page, without its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(one for one in attrs if one[0] != "lang")))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.found.append(("!", ((data, None),)))


def parts(ready: Ready) -> tuple[dict[str, str], str, str]:
    """Headers, HTML and text as a mail program reads them off the wire."""
    mail = email.message_from_bytes(ready.mail.content, policy=policy.default)
    rich, plain = mail.get_body(("html",)), mail.get_body(("plain",))
    assert rich is not None
    assert plain is not None
    headers = [name for name, _ in mail.items()]
    assert len(set(headers)) == len(headers)
    # A line ends on the wire with both; one of them alone is somebody's doing.
    page, text = (part.get_content().replace("\r\n", "\n") for part in (rich, plain))
    return {name: str(value) for name, value in mail.items()}, page, text


def is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and character not in "\n\u200c\u200d"
    )


def ready_for(stripe: Stripe) -> Ready | str | datetime:
    row = {**MESSAGE, **{f"case_{name}": value for name, value in CASE.items()}}
    never_asked: Any = None  # A message that was never claimed has nothing in the ledger.
    return prepare(never_asked, stripe, row, MERCHANT, NOW, render)


def usual_ready() -> Ready:
    ready = ready_for(Stripe())
    assert isinstance(ready, Ready)
    return ready


@pytest.fixture(scope="module")
def usual() -> tuple[dict[str, str], str, str]:
    return parts(usual_ready())


def test_there_are_four_hundred_of_them_and_all_differ() -> None:
    assert len(PAYLOADS) == len(set(PAYLOADS)) == 400
    assert len(FIELDS) == 12


@pytest.mark.parametrize("field", FIELDS)
def test_every_payload_in_every_field_a_letter_reads_is_inert(
    field: str, usual: tuple[dict[str, str], str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    headers, page, text = usual
    same, sent, told = usual_ready().mail.content, 0, set()
    subjects = {headers["Subject"]} if field != "customer.preferred_locales" else all_subjects()
    for payload in PAYLOADS:
        stripe = Stripe()
        FIELDS[field](stripe, payload)
        ready = ready_for(stripe)
        if not isinstance(ready, Ready):
            told.add(type(ready) if isinstance(ready, datetime) else ready)
            continue
        sent += 1
        if ready.mail.content == same:
            continue
        his_headers, his_page, his_text = parts(ready)
        assert list(his_headers) == list(headers), payload
        assert his_headers["Subject"] in subjects, payload
        assert his_headers["To"] == stripe.customer["email"], payload
        for name in ("From", "Reply-To", "Message-ID", "List-Unsubscribe"):
            assert his_headers[name] == headers[name], payload
        link = stripe.invoice["hosted_invoice_url"]
        assert Skeleton(his_page).found == Skeleton(page.replace(LINK, html.escape(link))).found, payload
        assert not any(map(is_invisible, his_page)), payload
        assert not any(map(is_invisible, his_text)), payload
        assert len(his_text.splitlines()) == len(text.splitlines()), payload
        assert "49" not in his_text or "49" in payload, payload
        assert "root:" not in his_text, payload
    refusals = {
        "customer.email": {"no usable address"},
        "invoice.hosted_invoice_url": {"no link to act on"},
        "customer.shipping": set(),
    }
    assert told <= refusals.get(field, set()) | (
        {datetime} if "country" in field or "shipping" in field else set()
    )
    assert sent == 400 or field in ("customer.email", "invoice.hosted_invoice_url")
    assert caplog.records == []


def all_subjects() -> set[str]:
    def subject(locale: str) -> str:
        letter = Letter(
            template="update_card", locale=locale, about=Owed(1000, "eur", NOW), name="",
            link="", merchant="Acme", support="help@acme.test", address="",
        )  # fmt: skip
        return render(letter).subject

    return set(map(subject, languages()))


@pytest.mark.parametrize(
    "field", ["customer.description", "customer.metadata", "invoice.description", "invoice.metadata"]
)
def test_what_no_letter_needs_reaches_none(field: str, usual: tuple[dict[str, str], str, str]) -> None:
    stripe = Stripe()
    FIELDS[field](stripe, "Zebra")
    ready = ready_for(stripe)
    assert isinstance(ready, Ready)
    assert parts(ready)[1:] == usual[1:]


@pytest.mark.parametrize(
    "currency", [*(text[:3] for text in PAYLOADS[:60]), "\r\n:", "<b>", "{{}", "=1+", "\u202exx"]
)
def test_a_currency_nobody_knows_is_written_as_it_is_and_does_no_harm(currency: str) -> None:
    def made(code: str) -> tuple[str, str]:
        letter = Letter(
            template="update_card", locale="en", about=Owed(1000, code, NOW), name="Ann",
            link="https://pay.test", merchant="Acme", support="help@acme.test", address="",
        )  # fmt: skip
        content = render(letter)
        assert not any(map(is_invisible, content.subject))
        return content.html, content.text

    (page, text), (usual_page, usual_text) = made(currency), made("xyz")
    assert Skeleton(page).found == Skeleton(usual_page).found
    assert len(text.splitlines()) == len(usual_text.splitlines())


@pytest.mark.parametrize(
    ("name", "greeting"),
    [
        ("Ann", "Hello Ann,"), ("Ann\r\nBcc: x@y.z", "Hello,"), ("Visit evil.test now", "Hello,"),
        ("https://evil.test", "Hello,"), ("Call 0123456789", "Hello,"), ("A" * 61, "Hello,"), ("", "Hello,"),
        ("Dr. Ada O'Brien-Ng", "Hello Dr. Ada O'Brien-Ng,"), ("क्\u200dष", "Hello क्\u200dष,"), ("\u202eAnn", "Hello Ann,"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_not_spoken(name: str, greeting: str) -> None:
    stripe = Stripe()
    stripe.customer["name"] = name
    ready = ready_for(stripe)
    assert isinstance(ready, Ready)
    assert greeting in parts(ready)[2].splitlines()
