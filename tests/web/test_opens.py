"""The picture of a mail: nowhere as long as nobody asked for it, and then a count of one that names nobody."""

import email
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.outreach.post import Stripe, enrolled, send
from tests.web.counter import served
from tinko_pipelines.app import App
from tinko_pipelines.ledger.export import export
from tinko_pipelines.ledger.schema import message
from tinko_pipelines.outreach.addresses import id_token, read_or_make_salt
from tinko_pipelines.outreach.merchant import Merchant
from tinko_pipelines.outreach.transport import FileTransport
from tinko_pipelines.settings import load_settings
from tinko_pipelines.web.server import create_app

PICTURE = re.compile(r'src="https://pay\.example\.com(/o/[A-Za-z0-9_-]{64})"')


@contextmanager
def mailed(url: str, folder: Path, *, opens: bool) -> Iterator[tuple[App, httpx.Client, str]]:
    """A web, and the HTML of a mail that went out."""
    settings: dict[str, Any] = {
        "state": folder / "state",
        "ledger_url": url,
        "public_url": "https://pay.example.com",
    }
    settings |= {
        "mail_opens": opens,
        "stripe_secret_key": "sk_test_" + "x" * 24,
        "update_card_url": "https://pay.test/x",
    }
    app, stripe = App(load_settings(**settings)), Stripe()
    enrolled(app.ledger, stripe)
    send(app.ledger, stripe, FileTransport(folder / "out"), merchant=Merchant.from_settings(app.settings))
    (path,) = (folder / "out").glob("*.eml")
    mail = email.message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    part = mail.get_body(("html",))
    assert part is not None
    with served(app, create_app(app)) as base, httpx.Client(base_url=base) as client:
        yield app, client, str(part.get_content())
    app.ledger.close()


def opened(app: App) -> list[Any]:
    with app.ledger.read() as connection:
        return list(connection.execute(select(message.c.opened_at).order_by(message.c.step)).scalars())


def test_without_the_setting_there_is_no_picture_and_nothing_at_the_door(url: str, tmp_path: Path) -> None:
    with mailed(url, tmp_path, opens=False) as (app, client, page):
        assert "/o/" not in page
        assert "<img" not in page
        with app.ledger.read() as connection:
            sent = connection.execute(select(message.c.id).where(message.c.state == "sent")).scalar_one()
        token = id_token(read_or_make_salt(app.settings.mail_salt), "opened", sent)
        assert client.get(f"/o/{token}").status_code == 404
        assert opened(app)[0] is None


def test_a_mail_is_opened_once_and_nothing_else_is_kept(url: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    with mailed(url, tmp_path, opens=True) as (app, client, page):
        (path,) = PICTURE.findall(page)
        found = [client.get(path), client.get(path, headers={"user-agent": "Ann's phone"})]
        for answer in found:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
            assert answer.content[:6] == b"GIF89a"
            assert answer.headers["cache-control"] == "no-store"
            assert not {"set-cookie", "location"} & {name.lower() for name in answer.headers}
        first = opened(app)[0]
        assert first is not None
        assert client.get(path).status_code == 200
        assert opened(app) == [first, None, None, None]
        folder = tmp_path / "export"
        export(app.ledger, folder, app.clock.now())
        rows = pq.read_table(folder / "message.parquet").to_pylist()
        assert [row["opened_at"] for row in rows if row["state"] == "sent"] == [first]
        assert "phone" not in str(rows)


@pytest.mark.parametrize("bent", ["short", "other", "scheduled", "unsubscribe"])
def test_no_other_address_counts(url: str, tmp_path: Path, bent: str) -> None:
    with mailed(url, tmp_path, opens=True) as (app, client, page):
        (path,) = PICTURE.findall(page)
        salt = read_or_make_salt(app.settings.mail_salt)
        with app.ledger.read() as connection:
            query = select(message.c.id).where(message.c.state == "scheduled").limit(1)
            waiting = connection.execute(query).scalar_one()
        paths = {
            "short": path[:-1],
            "other": path[:-1] + ("A" if path[-1] != "A" else "B"),
            "scheduled": f"/o/{id_token(salt, 'opened', waiting)}",
            "unsubscribe": f"/o/{id_token(salt, 'card', waiting)}",
        }
        assert client.get(paths[bent]).status_code == 404
        assert set(opened(app)) == {None}
