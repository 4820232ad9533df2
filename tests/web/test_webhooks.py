"""Only what Stripe has signed for the account of the path, now, is written down; and that exactly once."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.retry.shop import Shop
from tests.web.serving import (
    HOOK,
    KEY,
    OTHER_SECRET,
    SECRET,
    Served,
    asked,
    event,
    rng,
    served_by,
    serving,
    signed,
)
from tinko_pipelines.gateway.signature import TOLERANCE_SECONDS, StaleError, UnsignedError, verify
from tinko_pipelines.lake.erased import hashed
from tinko_pipelines.ledger import erasure
from tinko_pipelines.ledger.events import EVENT_BYTES_MAX
from tinko_pipelines.ledger.schema import webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.sandbox.http.webhooks import signature
from tinko_pipelines.sandbox.process import SandboxProcess

EU = "/webhooks/stripe/eu"
MARK = "marked-body"
Attack = tuple[str, bytes, Mapping[str, str]]
"""A path, a body and headers."""


def rows(url: str) -> list[dict[str, Any]]:
    ledger = Ledger.open(url)
    with ledger.read() as connection:
        found = [dict(row) for row in connection.execute(select(webhook_event)).mappings()]
    ledger.close()
    return found


def attacks(number: int) -> dict[str, Attack]:
    """One of each kind, none of which may be believed."""
    random = rng(number)
    name = f"evt_{MARK}_{number}"
    good = json.dumps(event(name)).encode()
    right = signed(good)
    header = right["Stripe-Signature"]
    at, _, mac = header.partition(",v1=")
    cut = random.randrange(len(good))
    altered = good[:cut] + bytes([good[cut] ^ (1 << random.randrange(7))]) + good[cut + 1 :]
    forged = "".join(random.choice("0123456789abcdef") for _ in range(64))
    old = random.randrange(TOLERANCE_SECONDS + 10, 90_000)

    def whole(path: str, secret: str, body: Mapping[str, Any]) -> Attack:
        content = json.dumps(body).encode()
        return path, content, signed(content, secret)

    def with_header(value: str) -> Attack:
        return HOOK, good, {"Stripe-Signature": value}

    garbled = ["", "t=,v1=", at, f"v1={mac}", f"t=soon,v1={mac}", f"{at},v0={mac}", f"{at},v1=\xe9{mac}", header[:-1],
               f"t={'9' * 5000},v1={mac}", f"t=-1,v1={mac}", f"{at};v1={mac}", "=,=", f"{at},v1"]  # fmt: skip
    return {
        "forged": with_header(f"{at},v1={forged}"),
        "replayed": (HOOK, good, signed(good, age_seconds=old)),
        "of tomorrow": (HOOK, good, signed(good, age_seconds=-old)),
        "moved on": with_header(header.replace(at, f"t={int(time.time()) + 1}")),
        "altered": (HOOK, altered, right),
        "longer": (HOOK, good + b" ", right),
        "wrong secret": whole(HOOK, OTHER_SECRET, event(name)),
        "no secret": whole(HOOK, "whsec_", event(name)),
        "unsigned": (HOOK, good, {}),
        "garbled": with_header(garbled[number % len(garbled)]),
        "of an account not ours": whole(HOOK, SECRET, event(name, account="acct_other")),
        "of our other account": whole(HOOK, SECRET, event(name, account="acct_eu")),
        "of the platform": whole(EU, OTHER_SECRET, event(name)),
        "of another's account": whole(EU, OTHER_SECRET, event(name, account="acct_other")),
        "with the platform's secret": whole(EU, SECRET, event(name, account="acct_eu")),
        "of live mode": whole(HOOK, SECRET, event(name, livemode=True)),
        "of no mode": whole(HOOK, SECRET, event(name, livemode=None)),
        "of nobody": whole("/webhooks/stripe/nobody", SECRET, event(name)),
        "no event": whole(HOOK, SECRET, {"object": "v2.core.event", "id": name}),
        "without a name": whole(HOOK, SECRET, event("")),
        "no json": (HOOK, good[:-1], signed(good[:-1])),
        "no text": (HOOK, b"\xff\xfe" + good, right),
        "empty": (HOOK, b"", signed(b"")),
    }


def test_a_thousand_that_must_not_be_believed_change_nothing(served: Served, url: str) -> None:
    assert served.post(event("evt_before")) == 200
    before, tried = rows(url), 0
    connection = served.connection()
    for number in range(50):
        for kind, (path, body, headers) in attacks(number).items():
            status, told, said = asked(connection, "POST", path, body, headers)
            assert (status, said) == (404, b""), f"{kind}: {headers}"
            assert told["cache-control"] == "no-store"
            tried += 1
    connection.close()
    assert tried >= 1_000
    for length in (EVENT_BYTES_MAX + 1, 2 * EVENT_BYTES_MAX, 20 * EVENT_BYTES_MAX):
        large = json.dumps(event(f"evt_{MARK}_l", more="x" * length)).encode()
        # It may break off while we still send.
        assert served.ask("POST", HOOK, large, signed(large))[0] in (404, 0)
        chunks = (large[at : at + 50_000] for at in range(0, len(large), 50_000))
        with_chunks: Any = chunks
        assert served.ask("POST", HOOK, with_chunks, signed(large))[0] in (404, 0)
    assert rows(url) == before
    assert served.post(event("evt_after")) == 200
    assert {row["event_id"] for row in rows(url)} == {"evt_before", "evt_after"}
    outcomes = {
        line["outcome"] for line in served.lines if line["event"] == "request" and line["status"] == 404
    }
    assert outcomes == {
        "unsigned",
        "stale",
        "other_account",
        "other_mode",
        "no_account",
        "unreadable",
        "large",
    }
    for secret in (SECRET, OTHER_SECRET, KEY, MARK, "somebody@example.com", "nobody", "v1="):
        assert secret not in served.said


def test_what_is_signed_is_kept_as_it_came_and_once(served: Served, url: str) -> None:
    about = {"id": "in_1", "object": "invoice", "customer_email": "a@example.com"}
    one = event("evt_1", type="invoice.paid", data={"object": about})
    assert [served.post(one) for _ in range(3)] == [200, 200, 200]
    theirs = json.dumps(event("evt_2", account="acct_eu")).encode()
    assert served.ask("POST", EU, theirs, signed(theirs, OTHER_SECRET))[0] == 200
    found = {row["event_id"]: row for row in rows(url)}
    assert {name: row["account_id"] for name, row in found.items()} == {"evt_1": "default", "evt_2": "eu"}
    kept = found["evt_1"]
    assert (kept["type"], kept["object_id"], kept["livemode"]) == ("invoice.paid", "in_1", False)
    assert json.loads(kept["payload"]) == one
    assert kept["processed_at"] is None, "nothing is settled at the door"
    text = served.ask("GET", "/metrics")[2].decode()
    assert 'tinko_webhooks_total{account="default",outcome="taken"} 1.0' in text
    assert 'tinko_webhooks_total{account="default",outcome="known"} 2.0' in text
    assert "tinko_inbox_unlanded 2.0" in text
    assert "tinko_inbox_unmarked 2.0" in text
    assert "example.com" not in text + served.said


def test_nobody_comes_in_who_was_erased_meanwhile(served: Served, url: str) -> None:
    def told(name: str) -> dict[str, Any]:
        about = {
            "id": "pi_1",
            "object": "payment_intent",
            "customer": "cus_1",
            "receipt_email": "a@example.com",
        }
        assert served.post(event(name, type="payment_intent.succeeded", data={"object": about})) == 200
        return next(row for row in rows(url) if row["event_id"] == name)

    assert "a@example.com" in told("evt_1")["payload"]
    ledger = Ledger.open(url)
    erasure.remember(ledger, "default", [hashed("cus_1")], datetime.now(UTC))
    ledger.close()
    after = told("evt_2")
    assert "example.com" not in after["payload"]
    assert "cus_1" not in after["payload"]
    assert (after["type"], after["object_id"]) == ("payment_intent.succeeded", "pi_1"), "the money stays"


def test_two_secrets_while_one_follows_the_other(url: str, tmp_path: Path) -> None:
    third = "whsec_" + "c3" * 16
    both = {"TINKO_WEBHOOK_SECRET": f"{SECRET}, {OTHER_SECRET}", "TINKO_LEDGER_URL": url}
    with serving(tmp_path / "state", **both) as served:
        body = json.dumps(event("evt_both")).encode()
        old, new = (signed(body, secret)["Stripe-Signature"] for secret in (SECRET, OTHER_SECRET))
        # While a secret is rotated Stripe signs with both, in one header.
        header = {"Stripe-Signature": f"{old},{new.partition(',')[2]}"}
        assert served.ask("POST", HOOK, body, header)[0] == 200
        given = {SECRET: 200, OTHER_SECRET: 200, third: 404}
        assert {secret: served.post(event(f"evt_{secret[-2:]}"), secret) for secret in given} == given
        served.stop()
        served.start(TINKO_WEBHOOK_SECRET=OTHER_SECRET)
        assert [served.post(event("evt_9"), secret) for secret in (SECRET, OTHER_SECRET)] == [404, 200]
        assert served.ask("POST", HOOK, body, header)[0] == 200, "signed with both, it fits the one we have"
    assert len(rows(url)) == 4


@contextmanager
def refusing(url: str, pattern: str) -> Iterator[None]:
    """A database that takes in no event whose id is like that."""
    ledger = Ledger.open(url)
    lite = [f"CREATE TRIGGER refuse BEFORE INSERT ON webhook_event WHEN NEW.event_id LIKE '{pattern}'"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"]  # fmt: skip
    full = ["CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$",
            f"CREATE TRIGGER refuse BEFORE INSERT ON webhook_event FOR EACH ROW WHEN (NEW.event_id LIKE '{pattern}')"
            " EXECUTE FUNCTION refuse()"]  # fmt: skip
    on = "" if ledger.dialect == "sqlite" else " ON webhook_event"
    with ledger.write() as connection:
        for statement in lite if ledger.dialect == "sqlite" else full:
            connection.exec_driver_sql(statement.replace("%", "%%") if on else statement)
    yield
    with ledger.write() as connection:
        connection.execute(text(f"DROP TRIGGER refuse{on}"))
    ledger.close()


def test_what_cannot_be_stored_is_answered_500_and_takes_no_other_with_it(served: Served, url: str) -> None:
    with refusing(url, "evt_bad%"):
        names = [f"evt_{'bad' if number % 4 == 0 else 'good'}_{number}" for number in range(60)]
        answers = served_by(served, [event(name) for name in names], workers=20)
        assert answers == {name: 500 if "bad" in name else 200 for name in names}
        assert {row["event_id"] for row in rows(url)} == {name for name in names if "good" in name}
        assert "evt_bad" not in served.said
    assert served_by(served, [event(name) for name in names], workers=20) == dict.fromkeys(names, 200)
    assert {row["event_id"] for row in rows(url)} == set(names)
    assert any(line["event"] == "not stored" and line["raised"] for line in served.lines)


def test_a_ledger_that_is_written_to_holds_up_nothing_but_the_insert(served: Served, url: str) -> None:
    ledger = Ledger.open(url)
    with ledger.write() as connection:
        held = event("evt_held")
        connection.execute(
            webhook_event.insert().values(
                event_id="evt_held", account_id="default", livemode=False, type="x", created_at=datetime.now(UTC),
                received_at=datetime.now(UTC),
            )
        )  # fmt: skip
        began = time.monotonic()
        with served_late(served, held) as answer:
            for _ in range(20):
                assert served.ask("GET", "/healthz")[0] == 200
                time.sleep(0.05)
            assert time.monotonic() - began < 25
            assert answer() is None, "it waits for the other transaction"
            connection.rollback()
    assert answer() == 200
    assert [row["event_id"] for row in rows(url)] == ["evt_held"]
    ledger.close()


@contextmanager
def served_late(served: Served, one: Mapping[str, Any]) -> Iterator[Callable[[], int | None]]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:
        asked_for = beside.submit(served.post, one)
        yield lambda: asked_for.result() if asked_for.done() else None
        asked_for.result(30)


def test_the_time_of_signing_is_held_against_the_clock() -> None:
    now, body = datetime(2026, 11, 1, tzinfo=UTC), b"{}"
    header = signature(SECRET, body, int(now.timestamp()))
    for seconds in (-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS):
        verify(body, header, [OTHER_SECRET, SECRET], now + timedelta(seconds=seconds))
    for seconds in (-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1):
        with pytest.raises(StaleError):
            verify(body, header, [SECRET], now + timedelta(seconds=seconds))
    with pytest.raises(UnsignedError):
        verify(body, header, [], now)
    # The SDK goes by the first moment that is named, and so do we.
    with pytest.raises(UnsignedError):
        verify(body, f"t=1,{header}", [SECRET], now)
    verify(body, f"{header},t=1", [SECRET], now)


def test_the_sandbox_delivers_to_the_door(url: str, tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=60, history_days=4) as process:
        shop = Shop(process.base, tmp_path / "state", ledger_url=url)
        shop.refresh()
        at_sandbox = {
            "TINKO_STRIPE_API_BASE": process.base,
            "TINKO_CLOCK": "sandbox",
            "TINKO_LEDGER_URL": url,
        }
        with serving(tmp_path / "state", **at_sandbox) as served:
            address = f"http://127.0.0.1:{served.port}{HOOK}"
            hook = shop.post("/v1/webhook_endpoints", url=address, enabled_events=["*"])
            served.stop()
            served.start(TINKO_WEBHOOK_SECRET=hook["secret"])
            assert json.loads(served.ask("GET", "/readyz")[2])["ready"] is True
            made = shop.stripe.fixture(
                "failed_invoice", codes=[[0, "insufficient_funds"]], email="a@example.com"
            )
            told = {"invoice.payment_failed", "charge.failed"}
            deadline = time.monotonic() + 20
            while not told <= {row["type"] for row in rows(url)} and time.monotonic() < deadline:
                time.sleep(0.05)
            assert told <= {row["type"] for row in rows(url)}
            count = len(rows(url))
            done = shop.app.empty_inbox()
            assert (done.marked, done.landed, done.failed) == (count, count, 0)
            assert made["invoice"] in shop.app.lake.table("invoices")["id"].to_pylist()
            assert hook["secret"] not in served.said
            assert {row["received_at"] for row in rows(url)} == {shop.stripe.now()}, "by the sandbox's clock"
            process.kill()
            status, _, said = served.ask("GET", "/readyz")
            assert (status, json.loads(said)["clock"]) == (
                503,
                "the sandbox whose time it is does not answer",
            )
            assert served.post(event("evt_dead"), hook["secret"]) == 500
        shop.app.ledger.close()
