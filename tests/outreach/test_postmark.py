"""Mails through Postmark's HTTP API, at a stand-in over real HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.outreach.post import MERCHANT, Stripe, enrolled, send, states
from tinko_pipelines.errors import MailError, SettingsError
from tinko_pipelines.ledger.schema import suppression
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.postmark import PostmarkTransport, is_postmark, told
from tinko_pipelines.outreach.providers import transport_for
from tinko_pipelines.settings import Settings


class Provider:
    """Answers each mail with `answer`, or breaks the connection when it has read one and there is none."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] | None = (200, {"ErrorCode": 0, "Message": "OK", "MessageID": "x"})
        self.taken: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.connections = 0


@pytest.fixture
def provider() -> Iterator[tuple[Provider, str]]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            made.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.tokens.add(self.headers["X-Postmark-Server-Token"])
            made.taken.append(json.loads(body))
            self._reply()

        def do_GET(self) -> None:
            self._reply()

        def _reply(self) -> None:
            if made.answer is None:
                self.close_connection = True
                return
            status, content = made.answer
            text = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def postmark(provider: tuple[Provider, str]) -> Iterator[PostmarkTransport]:
    transport = PostmarkTransport("token-1", provider[1])
    yield transport
    transport.close()


def test_a_mail_arrives_as_it_was_written(
    ledger: Ledger, provider: tuple[Provider, str], postmark: PostmarkTransport
) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    public = Merchant(
        MERCHANT.sender, "Acme", "", MERCHANT.support, "https://pay.test/x", MERCHANT.salt, "https://p.test"
    )
    for days in (0, 4):
        assert send(ledger, stripe, postmark, after_hours=24 * days, merchant=public).sent == 1
    first, second = provider[0].taken
    assert provider[0].tokens == {"token-1"}
    assert provider[0].connections == 1
    assert (first["To"], first["From"]) == ("ann@example.org", "Acme <billing@acme.test>")
    assert first["Subject"] == "Your payment of $10.00 to Acme did not go through"
    assert "https://pay.test/x" in first["TextBody"]
    assert "<html" in first["HtmlBody"]
    headers = {row["Name"]: row["Value"] for row in first["Headers"]}
    name = first["Metadata"]["message"]
    assert headers["Message-ID"] == f"<{name}@acme.test>"
    assert headers["X-PM-KeepID"] == "true"
    assert headers["List-Unsubscribe"].startswith("<https://p.test/unsubscribe/")
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert {row["Name"]: row["Value"] for row in second["Headers"]}["In-Reply-To"] == headers["Message-ID"]
    assert (first["TrackOpens"], first["TrackLinks"]) == (False, "None")


@pytest.mark.parametrize(
    ("answer", "counted", "state"),
    [
        ((429, {"ErrorCode": 429}), "later", "scheduled"),
        ((503, "maintenance"), "later", "scheduled"),
        ((422, {"ErrorCode": 300}), "failed", "failed"),
        ((422, {"ErrorCode": 406}), "failed", "failed"),
        ((413, "too long"), "failed", "failed"),
        ((500, {"ErrorCode": 0}), "in_doubt", "in_doubt"),
        ((502, "bad gateway"), "in_doubt", "in_doubt"),
        ((200, "no JSON"), "in_doubt", "in_doubt"),
        ((200, {"ErrorCode": 1}), "in_doubt", "in_doubt"),
        ((302, ""), "in_doubt", "in_doubt"),
        (None, "in_doubt", "in_doubt"),
    ],
)
def test_what_it_answers(
    ledger: Ledger,
    provider: tuple[Provider, str],
    postmark: PostmarkTransport,
    answer: tuple[int, Any] | None,
    counted: str,
    state: str,
) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    with ledger.write() as connection:
        from tinko_pipelines.ledger.schema import message

        connection.execute(message.update().where(message.c.step > 1).values(state="dropped"))
    provider[0].answer = answer
    assert send(ledger, stripe, postmark).counts()[counted] == 1
    assert states(ledger)[0][0] == state
    assert len(provider[0].taken) == 1, "it is handed over once"
    provider[0].answer = (200, {"ErrorCode": 0})
    again = send(ledger, stripe, postmark, after_hours=1)
    assert again.sent == (1 if state == "scheduled" else 0)
    with ledger.read() as connection:
        reasons = list(connection.execute(suppression.select()).mappings())
    assert len(reasons) == (1 if answer == (422, {"ErrorCode": 406}) else 0)


@pytest.mark.parametrize("answer", [(401, {"ErrorCode": 10}), (422, {"ErrorCode": 400}), (403, "")])
def test_what_is_wrong_with_our_account_stops_the_run_and_loses_nothing(
    ledger: Ledger, provider: tuple[Provider, str], postmark: PostmarkTransport, answer: tuple[int, Any]
) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    provider[0].answer = answer
    with pytest.raises(MailError, match="TINKO_POSTMARK_TOKEN"):
        send(ledger, stripe, postmark)
    assert states(ledger)[0] == ("scheduled", None)
    with pytest.raises(MailError, match="TINKO_POSTMARK_TOKEN"):
        postmark.ping()
    provider[0].answer = (200, {"Name": "x"})
    assert postmark.ping() == "Postmark answers"


def test_nobody_there(ledger: Ledger) -> None:
    stripe = Stripe()
    enrolled(ledger, stripe)
    transport = PostmarkTransport("t", "http://127.0.0.1:1")
    with pytest.raises(MailError, match="cannot be used"):
        send(ledger, stripe, transport)
    assert states(ledger)[0] == ("scheduled", None)
    transport.close()


def test_settings_name_it() -> None:
    with pytest.raises(SettingsError, match="TINKO_POSTMARK_TOKEN"):
        transport_for(Settings(mail_transport="postmark"))
    made = transport_for(Settings(mail_transport="postmark", postmark_token="t"))
    assert isinstance(made, PostmarkTransport)
    made.close()


def test_the_secret() -> None:
    assert is_postmark("Basic dGlua286c2VjcmV0", "secret")
    assert not is_postmark("Basic dGlua286c2VjcmV0", "secret2")
    for wrong in ("", "Basic", "Basic ?", "Bearer dGlua286c2VjcmV0", "Basic c2VjcmV0", "Basic dGlua286"):
        assert not is_postmark(wrong, "secret")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"RecordType": "Bounce", "Type": "HardBounce", "Email": "a@b.c"}, "hard"),
        ({"RecordType": "Bounce", "Type": "BadEmailAddress", "Email": "a@b.c"}, "hard"),
        ({"RecordType": "Bounce", "Type": "Transient", "Email": "a@b.c"}, "soft"),
        ({"RecordType": "Bounce", "Type": "SpamNotification", "Email": "a@b.c"}, "soft"),
        ({"RecordType": "SpamComplaint", "Type": "SpamComplaint", "Email": "a@b.c"}, "complaint"),
        (
            {
                "RecordType": "SubscriptionChange",
                "SuppressSending": True,
                "SuppressionReason": "ManualSuppression",
                "Recipient": "a@b.c",
            },
            "unsubscribed",
        ),
        ({"RecordType": "SubscriptionChange", "SuppressSending": False, "Recipient": "a@b.c"}, None),
        ({"RecordType": "Open", "Email": "a@b.c"}, None),
        ({"RecordType": "Bounce", "Type": 1, "Email": ["a@b.c"]}, None),
    ],
)
def test_what_it_tells(event: dict[str, Any], kind: str | None) -> None:
    found = told({**event, "Metadata": {"message": "m1"}})
    assert found is None if kind is None else found is not None and (found[0], found[2]) == (kind, "m1")
