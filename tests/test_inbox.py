"""Events in the inbox reach the lake: late, doubled, out of order, killed on the way, or about what cannot be read."""

import io
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.lake.killing import run_forked
from tests.ledgers import KINDS, ledger_url
from tests.retry.shop import Shop
from tinko_pipelines import inbox
from tinko_pipelines.app import App
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.lake.merge import Upserted
from tinko_pipelines.lake.raw import Incoming, abandoned, kept
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.ledger import events
from tinko_pipelines.ledger.schema import webhook_event
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import load_settings

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with (
        SandboxProcess(tmp_path / "sandbox", seed=5, charges=60, history_days=4) as process,
        ledger_url(request, tmp_path) as url,
    ):
        made = Shop(process.base, tmp_path / "state", ledger_url=url)
        made.app.ingest_changes()
        made.stripe.advance_to(made.stripe.now() + MINUTE)
        yield made
        made.app.ledger.close()


@pytest.fixture
def told(shop: Shop) -> list[dict[str, Any]]:
    """What Stripe told of since the lake was filled: new debts, one that is paid, a customer who is gone."""
    since = shop.stripe.now()
    shop.stripe.fixture("failed_intent", codes=[[0, "insufficient_funds"]], email="b@example.com")
    made = shop.stripe.fixture("failed_invoice", codes=[[0, None]], email="a@example.com")
    shop.advance(MINUTE)
    shop.stripe.act("pay", made["invoice"])
    gone = shop.stripe.fixture("failed_intent", codes=[[0, "lost_card"]], email="c@example.com")
    shop.advance(MINUTE)
    shop.stripe.act("delete_customer", gone["customer"])
    shop.advance(MINUTE)
    return listed(shop, since)


def listed(shop: Shop, since: Any) -> list[dict[str, Any]]:
    with shop.app.account().reader() as reader:
        return [
            one for page in reader.pages("events", created_gte=since) for one in json.loads(page.body)["data"]
        ]


def as_file(found: Iterable[Any]) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(one).encode() + b"\n" for one in found))


def contents(lake: Lake, names: Iterable[str] = OBJECTS) -> dict[str, list[dict[str, Any]]]:
    left_out = ["fetched_at", "version_at", "api_version"]
    tables: dict[str, pa.Table] = {name: lake.table(name).drop_columns(left_out) for name in names}
    return {name: table.sort_by("id").to_pylist() for name, table in tables.items()}


def undisturbed(shop: Shop, folder: Path) -> App:
    """Another installation that learns the same from Stripe's lists alone."""
    settings = shop.app.settings.model_copy(update={"state": folder, "ledger_url": None})
    other = App(load_settings(**{name: getattr(settings, name) for name in settings.model_fields_set}))
    other.ingest_changes()
    other.ledger.close()
    return other


def test_events_late_doubled_and_out_of_order_end_in_the_same_lake(
    shop: Shop, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    soon = told[5:] * 2
    random.Random(4).shuffle(soon)
    first = shop.app.replay_events(as_file(soon))
    assert (first.taken, first.known, first.refused) == (len(told) - 5, len(told) - 5, 0)
    done = shop.app.empty_inbox()
    assert (done.marked, done.landed, done.failed) == (len(told) - 5, len(told) - 5, 0)
    assert done.counts()["written"] > 0
    known = shop.app.replay_events(as_file(told))
    assert (known.taken, known.known) == (5, len(told) - 5)
    assert shop.app.empty_inbox().landed == 5
    assert shop.app.empty_inbox().landed == 0
    assert all(row["landed_at"] and row["processed_at"] for row in shop.rows(webhook_event))
    assert {row["payload"] for row in shop.rows(webhook_event)} == {None}, "the lake alone keeps it"
    truth = undisturbed(shop, tmp_path / "other")
    named = {one["data"]["object"]["id"] for one in told} | {one["id"] for one in told}
    ours, theirs = contents(shop.app.lake), contents(truth.lake)
    compared = 0
    for name in OBJECTS:
        row_of = {row["id"]: row for row in ours[name] if row["id"] in named}
        expected = {row["id"]: row for row in theirs[name] if row["id"] in named}
        assert row_of == expected, name
        compared += len(row_of)
    assert compared > len(told)
    assert any(row["deleted"] for row in ours["customers"])
    assert any(row["status"] == "paid" for row in ours["invoices"])


def test_a_look_at_changes_lands_what_waits_and_reads_nothing_twice(shop: Shop) -> None:
    shop.advance(2 * MINUTE)
    shop.app.ingest_changes()
    shop.stripe.limit(None)
    shop.app.ingest_changes()
    idle = shop.stripe.requests()["requests"]
    since = shop.stripe.now()
    shop.stripe.fixture("failed_invoice", codes=[[0, "insufficient_funds"]], email="d@example.com")
    told = listed(shop, since)
    shop.app.replay_events(as_file(told))
    shop.advance(2 * MINUTE)
    shop.stripe.limit(None)
    found = shop.app.ingest_changes()
    assert found["events"].new == len(told) > 5
    assert shop.app.inbox().unlanded == 0
    named = {one["data"]["object"]["id"] for one in told}
    assert shop.stripe.requests()["requests"] <= idle + len(named), "each object is read by id once at most"


def test_an_event_of_nothing_in_the_lake_is_only_landed(shop: Shop) -> None:
    at = int(shop.stripe.now().timestamp())
    about = [{"object": "balance", "available": []}, {"object": "product", "id": "prod_1"}]
    about += [
        {"object": "customer", "id": "cus_gone", "created": at},
        {"object": "price", "id": "../v1/prices"},
    ]
    found = [
        {"id": f"evt_{number}", "object": "event", "type": "x.updated", "created": at, "livemode": False,
         "api_version": "2020-08-27", "data": {"object": one}}
        for number, one in enumerate(about)
    ]  # fmt: skip
    assert shop.app.replay_events(as_file(found)).taken == 4
    done = shop.app.empty_inbox()
    assert (done.landed, done.failed) == (4, 0)
    events_now = {row["id"]: row for row in shop.app.lake.table("events").to_pylist()}
    assert all(events_now[one["id"]]["api_version"] == "2020-08-27" for one in found)
    gone = [row for row in shop.app.lake.table("customers").to_pylist() if row["id"] == "cus_gone"]
    assert [row["deleted"] for row in gone] == [True]
    assert shop.app.lake.table("prices").filter(pc.field("id") == "../v1/prices")["deleted"].to_pylist() == [
        True
    ]


def test_what_cannot_be_read_keeps_nobody_waiting_and_is_given_up_at_last(
    shop: Shop, told: list[dict[str, Any]]
) -> None:
    bad = next(one["data"]["object"]["id"] for one in told if one["type"] == "payment_intent.payment_failed")
    about = sum(one["data"]["object"]["id"] == bad for one in told)
    shop.stripe.faults([{"kind": "conflict", "method": "GET", "path": f"/v1/payment_intents/{bad}"}])
    shop.app.replay_events(as_file(told))
    done = shop.app.empty_inbox()
    assert (done.landed, done.failed, done.put_off) == (len(told) - about, about, 0)
    assert any(bad in reason for reason in done.reasons)
    assert shop.app.events_waiting() == 0, "it waits for its next try"
    assert (shop.app.inbox().unlanded, shop.app.inbox().retried) == (about, about)
    tries = 1
    for wait in events.LAND_WAITS:
        shop.advance(wait)
        assert shop.app.events_waiting() == about
        done = shop.app.empty_inbox()
        tries += 1
    assert (done.given_up, done.failed, done.landed, tries) == (about, 0, 0, len(events.LAND_WAITS) + 1)
    rows = [row for row in shop.rows(webhook_event) if row["note"]]
    assert {row["payload"] for row in rows} == {None}
    assert all(
        "left to the next look at changes after 6 tries: /v1/payment_intents" in row["note"] for row in rows
    )
    waiting = shop.app.inbox()
    assert (waiting.unlanded, waiting.oldest_received_at, waiting.given_up) == (0, None, about)
    shop.stripe.faults([])
    shop.app.ingest_changes()
    assert bad in shop.app.lake.table("payment_intents")["id"].to_pylist()


def test_one_that_is_read_at_the_second_try_is_not_given_up(shop: Shop, told: list[dict[str, Any]]) -> None:
    shop.stripe.faults([{"kind": "conflict", "method": "GET", "path": "/v1/customers/*"}])
    shop.app.replay_events(as_file(told))
    failed = shop.app.empty_inbox().failed
    assert failed > 0
    shop.stripe.faults([])
    shop.advance(events.LAND_WAITS[0])
    done = shop.app.empty_inbox()
    assert (done.landed, shop.app.inbox().unlanded) == (failed, 0)
    assert {row["note"] for row in shop.rows(webhook_event)} == {None}


def test_one_that_is_spoilt_where_it_lies_is_set_aside_and_the_others_go_on(
    shop: Shop, told: list[dict[str, Any]]
) -> None:
    shop.app.replay_events(as_file(told))
    spoilt = {
        "cut off": '{"id": "evt_',
        "a list": "[1]",
        "no data": '{"id": "evt_1"}',
        "odd": '{"data": {"object": 3}}',
    }
    with shop.app.ledger.write() as connection:
        for name, payload in spoilt.items():
            at = shop.stripe.now()
            values = {
                "account_id": "default",
                "livemode": False,
                "type": "x",
                "created_at": at,
                "received_at": at,
            }
            connection.execute(webhook_event.insert().values(event_id=name, payload=payload, **values))
    done = shop.app.empty_inbox()
    assert (done.landed, done.failed) == (len(told), len(spoilt))
    waiting = shop.app.inbox()
    assert (waiting.unlanded, waiting.retried) == (len(spoilt), len(spoilt))
    notes = {row["note"] for row in shop.rows(webhook_event) if row["event_id"] in spoilt}
    assert all("what is kept of it is no event" in note for note in notes)
    for wait in events.LAND_WAITS:
        shop.advance(wait)
        done = shop.app.empty_inbox()
    assert (done.given_up, shop.app.inbox().given_up) == (len(spoilt), len(spoilt)), "and it is told of"


def test_nobody_is_given_up_that_was_not_tried(shop: Shop, told: list[dict[str, Any]]) -> None:
    shop.stripe.faults([{"kind": "conflict", "method": "GET", "path": "/v1/*"}])
    shop.app.replay_events(as_file(told))
    with shop.app.account().reader() as reader:
        reader.most_at_once = 2
        found = inbox.land_waiting(shop.app.ledger, shop.app.lake, reader, livemode=False, max_seconds=60)
    assert (found.landed, found.failed > 0, found.put_off > 0) == (0, True, True)
    assert found.failed + found.put_off == len(told)
    tried = [row for row in shop.rows(webhook_event) if row["land_tries"]]
    assert len(tried) == found.failed
    shop.stripe.faults([])
    shop.advance(inbox.DEAD_WAIT)
    assert shop.app.empty_inbox().landed == len(told)


def test_a_run_stays_for_what_comes_while_it_is_at_it(
    shop: Shop, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(inbox, "IDLE_SECONDS", 5.0)
    shop.app.replay_events(as_file(told[:4]))
    with ThreadPoolExecutor(1) as another:
        run = another.submit(shop.app.attend_inbox)
        assert eventually(lambda: shop.app.inbox().unlanded == 0)
        shop.app.replay_events(as_file(told[4:]))
        assert eventually(lambda: shop.app.inbox().unlanded == 0)
        assert not run.done()
        found = run.result(30)
    assert (found.landed, found.marked, found.failed) == (len(told), len(told), 0)
    monkeypatch.setattr(inbox, "IDLE_SECONDS", 600.0)
    began = time.monotonic()
    assert inbox.attend(shop.app.empty_inbox, shop.app.events_waiting, 0.5).landed == 0
    assert time.monotonic() - began < 10, "it ends itself"


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_a_lake_that_was_never_filled_is_not_begun_with_single_events(
    shop: Shop, told: list[dict[str, Any]], tmp_path: Path
) -> None:
    fresh = Shop(shop.app.settings.stripe_api_base, tmp_path / "fresh").app
    assert fresh.replay_events(as_file(told)).taken == len(told)
    done = fresh.empty_inbox()
    assert (done.landed, done.put_off, fresh.events_waiting()) == (0, len(told), 0)
    assert "run `tinko ingest --changes` first" in done.reasons.pop()
    with pytest.raises(StoreError, match="nothing was ingested"):
        fresh.plan()
    fresh.ingest_changes()
    shop.advance(inbox.EMPTY_WAIT)
    assert fresh.empty_inbox().landed == len(told)
    fresh.ledger.close()


class Dying(Lake):
    """A lake whose process dies at its n-th write."""

    def __init__(self, root: Path, n: int) -> None:
        super().__init__(root)
        self.left = n

    def upsert(self, name: str, account_id: str, fresh: pa.Table) -> Upserted:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().upsert(name, account_id, fresh)


@pytest.mark.parametrize("dies_at", [1, 3, None], ids=["before", "between", "after"])
def test_no_event_is_lost_by_a_death_before_it_is_marked_as_landed(
    dies_at: int | None, shop: Shop, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.app.replay_events(as_file(told))
    shop.app.ledger.close()

    def work() -> None:
        if dies_at is None:
            monkeypatch.setattr(events, "landed", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        app = App(shop.app.settings)
        app.__dict__["lake"] = Dying(app.settings.lake_dir, dies_at or 0)
        app.empty_inbox()

    assert run_forked(work) == -signal.SIGKILL
    rows = shop.rows(webhook_event)
    assert all(row["landed_at"] is None and row["payload"] for row in rows)
    assert shop.app.empty_inbox().landed == len(told)
    assert list(abandoned(shop.app.lake.root)) == [], "what the dead one had kept is taken in"
    named = {one["data"]["object"]["id"] for one in told}
    found = {one for name in OBJECTS for one in shop.app.lake.table(name)["id"].to_pylist()}
    assert {one["id"] for one in told} <= found
    assert {one for one in named if one.startswith(("ch_", "pi_", "in_", "cus_", "sub_"))} <= found


def test_it_goes_on_beside_a_run_that_holds_pages_of_its_own(shop: Shop, told: list[dict[str, Any]]) -> None:
    shop.app.replay_events(as_file(told))
    incoming = Incoming(shop.app.lake.root)
    with shop.app.account().reader() as reader:
        page = reader.page("charges")
    incoming.add([kept(page, False)])
    assert shop.app.empty_inbox().landed == len(told)
    assert len(incoming.files()) == 1, "a living run's pages are its own"
    incoming.close()


def test_events_are_refused_one_by_one_with_their_places(shop: Shop, told: list[dict[str, Any]]) -> None:
    good = told[0]
    lines: list[Any] = [
        good,
        {**good, "id": "evt_live", "livemode": True},
        {**good, "id": "evt_other", "account": "acct_1"},
        {**good, "id": ""},
        {**good, "id": "evt_c", "created": "now"},
        {**good, "id": "evt_d", "data": {}},
        {**good, "id": "evt_e", "object": "v2.core.event"},
        {**good, "id": "evt_f", "type": None},
        {**good, "id": "evt_g", "extra": "x" * events.EVENT_BYTES_MAX},
        {"object": "list", "data": [{**good, "id": "evt_h"}, 3]},
        {**good, "id": "evt_i"},
    ]
    text = as_file(lines).getvalue() + b'{"id": \n\xff\n\n' + json.dumps({**good, "id": "evt_j"}).encode()
    found = shop.app.replay_events(io.BytesIO(text))
    assert (found.taken, found.known, found.refused) == (4, 0, 11)
    assert [reason.partition(":")[0] for reason in found.reasons] == [
        *(f"line {number}" for number in range(2, 10)), "line 10, event 2", "line 12", "line 13"
    ]  # fmt: skip
    why = " | ".join(found.reasons)
    for part in (
        "livemode is True, and the key is of test mode", "account 'acct_1' is none of ours", "id is ''", "created is 'now'",
        "data.object is missing", "its `object` is not 'event'", "type is 'None'", "is longer than 500000 bytes", "is not JSON",
    ):  # fmt: skip
        assert part in why


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_may_be_a_list_or_a_page(indent: int | None, shop: Shop, told: list[dict[str, Any]]) -> None:
    page = {"object": "list", "has_more": False, "data": told}
    assert shop.app.replay_events(io.BytesIO(json.dumps(told[:4], indent=indent).encode())).taken == 4
    found = shop.app.replay_events(io.BytesIO(json.dumps(page, indent=indent).encode()))
    assert (found.taken, found.known) == (len(told) - 4, 4)
    with pytest.raises(InputError, match="hand it in as JSON lines"):
        shop.app.replay_events(io.BytesIO(b"{\n 'id': 3\n}\n"))


def test_the_event_of_a_connected_account_belongs_to_it(shop: Shop, told: list[dict[str, Any]]) -> None:
    body = json.dumps({**told[0], "account": "acct_1"}).encode()
    assert events.read_event(body, {"acct_1": "berlin"}, livemode=False).account_id == "berlin"
    with pytest.raises(InputError, match="it names no account"):
        events.read_event(json.dumps(told[0]).encode(), {"acct_1": "berlin"}, livemode=False)
