"""The pages of mails and the door for a provider's reports, served by uvicorn on loopback and opened over real HTTP."""

import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import select
from starlette.applications import Starlette

from tests.ledgers import KINDS, ledger_url
from tests.outreach.post import Stripe, enrolled, send
from tinko_pipelines.app import App
from tinko_pipelines.ledger.schema import message, suppression
from tinko_pipelines.outreach.addresses import hash_address, unsubscribe_token
from tinko_pipelines.outreach.bodies import fixed, parsed
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.transport import FileTransport
from tinko_pipelines.settings import Settings
from tinko_pipelines.web.mailing import MOST_BYTES, routes

SECRET = "a secret of two"
AUTHORIZED = {"Authorization": "Basic " + b64encode(f"tinko:{SECRET}".encode()).decode()}


class Site:
    """A running server, whose ledger holds one mail that went to Ann."""

    def __init__(self, app: App, base: str, outbox: Path) -> None:
        self.app, self.base = app, base
        self.merchant = Merchant.from_settings(app.settings)
        stripe = Stripe()
        enrolled(app.ledger, stripe)
        assert send(app.ledger, stripe, FileTransport(outbox), merchant=self.merchant).sent == 1
        self.message_id = next(outbox.glob("*.eml")).stem
        self.ann = hash_address("ann@example.org", self.merchant.salt)

    def link(self) -> str:
        body = fixed(self.app.ledger, self.message_id, self.merchant.salt)
        assert body is not None
        header = str(parsed(body)["List-Unsubscribe"])
        return header.split(", ", maxsplit=1)[0].strip("<>")

    def suppressed(self) -> dict[str, str]:
        with self.app.ledger.read() as connection:
            rows = connection.execute(select(suppression.c.address_hmac, suppression.c.reason))
            return {row.address_hmac: row.reason for row in rows}


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with ledger_url(request, tmp_path) as url:
        import socket

        listening = socket.create_server(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = App(
            Settings(
                state=tmp_path / "state", ledger_url=url, public_url=base, merchant_name="A <b> & Söhne",
                postmark_webhook_secret=SECRET, update_card_url="https://pay.test/x", mail_from="A <b@acme.test>",
            )
        )  # fmt: skip
        config = uvicorn.Config(Starlette(routes=routes(app)), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        until = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.01)
        try:
            yield Site(app, base, tmp_path / "outbox")
        finally:
            server.should_exit = True
            thread.join()
            listening.close()
            app.ledger.close()


def test_opening_the_page_changes_nothing(site: Site) -> None:
    for method in ("GET", "HEAD"):
        for _ in range(3):
            page = httpx.request(method, site.link())
            assert page.status_code == 200
    assert site.suppressed() == {}
    page = httpx.get(site.link())
    assert "A &lt;b&gt; &amp; Söhne" in page.text
    assert '<form method="post">' in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert "set-cookie" not in page.headers
    assert "ann" not in page.text.lower().replace("your", "")
    assert "abbestellen" in httpx.get(site.link(), headers={"Accept-Language": "fr;q=0.2, de-AT"}).text


def test_one_click_ends_all_mail_once(site: Site) -> None:
    for _ in range(3):
        done = httpx.post(site.link(), data={"List-Unsubscribe": "One-Click"})
        assert done.status_code == 200
        assert "set-cookie" not in done.headers
    assert site.suppressed() == {site.ann: "unsubscribed"}
    assert httpx.get(site.link()).status_code == 200, "the page stays there"
    later = send(
        site.app.ledger,
        Stripe(),
        FileTransport(Path("/nonexistent")),
        after_hours=24 * 8,
        merchant=site.merchant,
    )
    assert later.sent == 0


def test_many_clicks_at_once_are_one(site: Site) -> None:
    answers: list[int] = []
    link = site.link()
    threads = [
        threading.Thread(target=lambda: answers.append(httpx.post(link, timeout=30).status_code))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 12
    assert site.suppressed() == {site.ann: "unsubscribed"}


def test_every_other_link_is_not_found(site: Site) -> None:
    token = site.link().rpartition("/")[2]
    salt = site.merchant.salt
    wrong = [
        token[:-1], token[1:], token + "A", token.lower(), "x", "A" * 86, "%00", "..%2f" + token, "A" * 5000,
        unsubscribe_token(salt, "other", site.ann), unsubscribe_token(b"guessed", "default", site.ann),
        token[:43] + unsubscribe_token(salt, "default", "0" * 64)[43:],
    ]  # fmt: skip
    for one in wrong:
        for method in ("GET", "POST"):
            found = httpx.request(method, f"{site.base}/unsubscribe/{one}")
            assert found.status_code == 404, one
    for method in ("PUT", "DELETE", "PATCH"):
        assert httpx.request(method, site.link()).status_code == 405
    assert site.suppressed() == {}


def bounce(site: Site, **changes: Any) -> dict[str, Any]:
    return {
        "RecordType": "Bounce", "Type": "HardBounce", "Email": "Ann@example.org",
        "Metadata": {"message": site.message_id}, **changes,
    }  # fmt: skip


def test_postmark_tells_of_a_bounce_and_a_complaint(site: Site) -> None:
    url = f"{site.base}/mail/events/postmark"
    soft = bounce(site, Type="Transient")
    assert httpx.post(url, json=soft, headers=AUTHORIZED).status_code == 200
    assert site.suppressed() == {}
    for _ in range(2):
        assert httpx.post(url, json=bounce(site), headers=AUTHORIZED).status_code == 200
    assert site.suppressed() == {site.ann: "hard_bounce"}
    with site.app.ledger.read() as connection:
        found = connection.execute(select(message.c.bounce).where(message.c.id == site.message_id)).scalar()
    assert found == "hard"
    complaint = {"RecordType": "SpamComplaint", "Type": "SpamComplaint", "Email": "bob@example.org"}
    assert httpx.post(url, json=complaint, headers=AUTHORIZED).status_code == 200
    assert site.suppressed()[hash_address("bob@example.org", site.merchant.salt)] == "complaint"


def test_nobody_else_tells_anything(site: Site) -> None:
    url = f"{site.base}/mail/events/postmark"
    wrong = "Basic " + b64encode(b"tinko:wrong").decode()
    for headers in ({}, {"Authorization": wrong}, {"Authorization": SECRET}, {"Authorization": "Basic"}):
        assert httpx.post(url, json=bounce(site), headers=headers).status_code == 401
    assert (
        httpx.post(f"{site.base}/mail/events/other", json=bounce(site), headers=AUTHORIZED).status_code == 404
    )
    assert httpx.get(url, headers=AUTHORIZED).status_code == 405
    for body in (b"", b"[]", b"{", b"\xff", b'"x"'):
        assert httpx.post(url, content=body, headers=AUTHORIZED).status_code == 400
    assert httpx.post(url, content=b" " * (MOST_BYTES + 1), headers=AUTHORIZED).status_code == 413
    assert httpx.post(url, json={"RecordType": "Open"}, headers=AUTHORIZED).status_code == 200
    assert site.suppressed() == {}
