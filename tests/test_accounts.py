"""Several Stripe accounts in one installation: each read, charged and written to as itself, none held up by another."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import instance_for_test
from sqlalchemy import select

from tests.front import Front, front
from tinko_pipelines.accounts import accounts_of
from tinko_pipelines.app import App
from tinko_pipelines.definitions import build_definitions
from tinko_pipelines.errors import GatewayError, InputError, SettingsError, StoreError
from tinko_pipelines.ledger.schema import attempt, message, recovery_case
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess
from tinko_pipelines.settings import SANDBOX_KEY, load_settings

CONNECTED, OWN_KEY = "acct_1eu", f"{SANDBOX_KEY}_us"
MORE = f"eu={CONNECTED}, us={OWN_KEY}"
NAMES = ("default", "eu", "us")
DAYS = 4

pytestmark = pytest.mark.slow


class World:
    """Three accounts behind one address, and the installation that serves them."""

    def __init__(self, door: Front, state: Path) -> None:
        self.door = door
        self.stripe = dict(zip(NAMES, map(SandboxClient, door.accounts.values()), strict=True))
        self.app = App(
            load_settings(
                state=state,
                stripe_api_base=door.base,
                more_accounts=MORE,
                clock="sandbox",
                stripe_requests_per_second=1000,
                drain_lease_seconds=1,
            )
        )

    def advance(self, delta: timedelta) -> None:
        now = self.stripe["default"].now() + delta
        for client in self.stripe.values():
            client.advance_to(now)

    def read_until(self) -> dict[str, str]:
        """Up to when the changes of each account are known."""
        found = {f"{one.account_id}": str(one.fresh_until) for one in self.app.lake_standing().freshness}
        assert found.keys() == set(NAMES)
        return found

    def rows(self, table: Any) -> list[dict[str, Any]]:
        return world_rows(self.app, table)


def world_rows(app: App, table: Any) -> list[dict[str, Any]]:
    with app.ledger.read() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("accounts")
    with ExitStack() as stack:
        bases = [
            stack.enter_context(SandboxProcess(folder / name, seed=seed, charges=200, history_days=20)).base
            for seed, name in enumerate(NAMES, 31)
        ]
        ways = dict(zip(("", CONNECTED, OWN_KEY), bases, strict=True))
        made = World(stack.enter_context(front(ways)), folder / "state")
        made.advance(timedelta(0))
        yield made
        made.app.ledger.close()


def test_each_is_read_as_itself(world: World) -> None:
    world.app.ingest_changes()
    charges = world.app.lake.table("charges").to_pylist()
    held = Counter(row["account_id"] for row in charges)
    assert held == {name: client.book()["objects"]["charges"] for name, client in world.stripe.items()}
    assert len({row["id"] for row in charges}) == len(charges)
    folders = {
        path.parent.name for path in (world.app.settings.lake_dir / "tables/charges").rglob("2*.parquet")
    }
    assert folders == set(NAMES)
    assert world.app.lake_standing().freshness
    found = world.app.read_again([world.stripe["eu"].now().date() - timedelta(days=3)])
    assert found.read
    assert not found.repaired


def test_each_is_charged_and_written_to_as_itself(world: World) -> None:
    app = world.app
    for _ in range(DAYS):
        app.ingest_changes()
        app.plan()
        app.drain(owner="test")
        app.send_mail(owner="test")
        world.advance(timedelta(days=1))
    app.ingest_changes()
    app.plan()
    app.drain(owner="test")
    tried = Counter(row["account_id"] for row in world.rows(attempt) if row["executed"])
    assert set(tried) == set(NAMES)
    assert {row["account_id"] for row in world.rows(message) if row["state"] == "sent"} == set(NAMES)
    for client in world.stripe.values():
        assert (client.book()["double_charges"], client.book()["charged_after_paid"]) == (0, 0)
    found = app.reconcile(whole=True)
    assert found.agreed, found.findings
    assert found.cases
    assert {result.name: result.sample for result in app.check() if result.rows} == {}
    app.report()
    sql = "SELECT account_id, sum(failed_count), sum(recovered_count) FROM recovery_cohorts GROUP BY 1"
    told = {row[0]: (row[1], row[2] > 0) for row in app.query(sql, 10).rows}
    assert told == {
        name: (client.book()["debts_failed_first"], True) for name, client in world.stripe.items()
    }


def test_a_lost_right_is_told_and_keeps_nobody_else_waiting(world: World) -> None:
    before = world.read_until()
    world.advance(timedelta(hours=2))
    world.door.refused = {CONNECTED}
    try:
        with pytest.raises(GatewayError, match=r"account eu: .* lacks the right") as told:
            world.app.ingest_changes()
        assert "us" not in str(told.value)
        with pytest.raises(GatewayError, match="account eu"):
            world.app.reconcile()
    finally:
        world.door.refused = set()
    after = world.read_until()
    assert after["eu"] == before["eu"]
    assert after["default"] > before["default"]
    assert after["us"] > before["us"]
    world.app.ingest_changes()
    assert world.read_until()["eu"] > before["eu"]


def test_what_could_be_read_is_planned_though_one_key_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = world.app.settings
    monkeypatch.setenv("TINKO_STATE", str(settings.state))
    monkeypatch.setenv("TINKO_STRIPE_API_BASE", settings.stripe_api_base)
    monkeypatch.setenv("TINKO_MORE_ACCOUNTS", MORE)
    monkeypatch.setenv("TINKO_CLOCK", "sandbox")
    made = world.stripe["default"].fixture("failed_invoice", codes=[[0, "insufficient_funds"]])
    world.advance(timedelta(minutes=5))
    world.door.refused = {CONNECTED}
    try:
        with instance_for_test(temp_dir=str(tmp_path)) as instance:
            job = build_definitions(load_settings()).resolve_job_def("recovery_job")
            done = job.execute_in_process(instance=instance)
    finally:
        world.door.refused = set()
    assert done.success
    (read,) = [
        one for one in done.get_asset_check_evaluations() if one.check_name == "every_account_was_read"
    ]
    assert not read.passed
    assert "account eu" in str(read.metadata["trouble"].value)
    assert made["invoice"] in {row["debt_id"] for row in world.rows(recovery_case)}


def test_a_lost_ledger_holds_every_account(world: World) -> None:
    settings = world.app.settings
    world.app.ledger.close()
    elsewhere = settings.state / "lost.db"
    for ending in ("", "-wal", "-shm"):
        path = settings.state / f"ledger.db{ending}"
        if path.exists():
            path.replace(f"{elsewhere}{ending}")
    fresh = App(settings)
    fresh.plan()
    assert fresh.restored()
    with pytest.raises(StoreError, match=r"account default: .*; account eu: .*; account us: "):
        fresh.send_mail(owner="test")
    assert {row["state"] for row in world_rows(fresh, message)} <= {"scheduled", "dropped"}
    fresh.ledger.close()
    for ending in ("", "-wal", "-shm"):
        (settings.state / f"ledger.db{ending}").unlink(missing_ok=True)
        if (old := Path(f"{elsewhere}{ending}")).exists():
            old.replace(settings.state / f"ledger.db{ending}")
    settings.ledger_mark.unlink()


def test_an_event_by_webhook_is_its_accounts_own(world: World) -> None:
    world.advance(timedelta(hours=3))
    told = []
    for name, mark in (("eu", {"account": CONNECTED}), ("us", {})):
        with world.app.account(name).reader() as reader:
            page = reader.page("events")
        told.append({**page.data[0], **mark})
    files = [io.BytesIO(json.dumps(event).encode()) for event in told]
    assert world.app.replay_events(files[0]).taken == 1
    assert world.app.replay_events(files[1], "us").taken == 1
    assert world.app.empty_inbox().landed == 2
    landed = {row["id"]: row["account_id"] for row in world.app.lake.table("events").to_pylist()}
    assert [landed[event["id"]] for event in told] == ["eu", "us"]
    stranger = io.BytesIO(json.dumps({**told[0], "id": "evt_9", "account": "acct_9"}).encode())
    assert "acct_9" in world.app.replay_events(stranger).reasons[0]


def test_requests_are_counted_for_each_account(world: World) -> None:
    budgets = {one.budget(reading=True)._whole._key["account_id"] for one in world.app.accounts}
    assert budgets == set(NAMES)


def test_an_account_that_is_not_configured(world: World) -> None:
    with pytest.raises(InputError, match=r"no account 'fr'.*default, eu, us"):
        world.app.account("fr")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("eu", "part 1 is no name with"),
        ("eu=acct_1, =acct_2", "part 2 is no name with"),
        ("eu=acct_1,eu=acct_2", "two accounts called 'eu'"),
        ("default=acct_1", "two accounts called 'default'"),
        ("eu=acct_1,us=acct_1", "'us' and 'eu' are the same account"),
        ("a/b=acct_1", "cannot be called 'a/b'"),
        ("eu-live=acct_1", "no -live at the end"),
    ],
)
def test_what_cannot_be_read_is_named(given: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        load_settings(more_accounts=given)


def test_a_key_that_stands_alone_is_not_shown() -> None:
    secret = "rk_test_" + "s" * 12
    with pytest.raises(SettingsError) as told:
        load_settings(more_accounts=secret)
    assert secret not in str(told.value)
    settings = load_settings(stripe_secret_key="sk_test_1", more_accounts=f"us={secret}")
    assert secret not in repr(settings)
    assert secret not in repr(accounts_of(settings))


def test_the_main_key_is_no_second_account() -> None:
    settings = load_settings(stripe_secret_key="sk_test_1", more_accounts="us=sk_test_1")
    with pytest.raises(SettingsError, match="us has the key of default"):
        accounts_of(settings)


def test_both_modes_are_not_mixed() -> None:
    settings = load_settings(stripe_secret_key="sk_test_1", more_accounts="us=rk_" + "live_2")
    with pytest.raises(SettingsError, match="the key of us is of another mode"):
        accounts_of(settings)
