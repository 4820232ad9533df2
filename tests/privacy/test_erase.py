"""Erasing a person through the front door, and looking for him everywhere afterwards."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.conftest import EMAIL, Person, settled
from tests.privacy.places import where
from tests.retry.shop import Shop
from tests.test_cli_flow import answer, run
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.lake.deep import COMPARED
from tinko_pipelines.lake.intake import Intake
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.ledger.schema import recovery_case
from tinko_pipelines.privacy.erase import Eraser
from tinko_pipelines.privacy.person import find_person
from tinko_pipelines.privacy.shelves import Shelves

MONEY = "charges payment_intents invoices refunds disputes balance_transactions invoice_payments".split()
_READ = {"fetched_at", "version_at"}
NEW_DEBT = {
    "amount": 777,
    "currency": "usd",
    "confirm": True,
    "off_session": True,
    "setup_future_usage": "off_session",
}


def lake(shop: Shop) -> dict[str, dict[str, dict[str, Any]]]:
    """All rows by table and id, but for when they were read."""
    return {
        name: {
            row["id"]: {key: value for key, value in row.items() if key not in _READ}
            for row in shop.app.lake.table(name).to_pylist()
        }
        for name in OBJECTS
    }


def sums(shop: Shop) -> list[Any]:
    """The money of each day and currency."""
    found = []
    for name in MONEY:
        amounts = [one.name for one in OBJECTS[name].columns if one.name.endswith("_minor")]
        total = ", ".join(f"sum({one})" for one in amounts)
        with shop.app.lake.connect(name) as connection:
            found.append(
                connection.execute(
                    f"SELECT created_at::DATE, currency, count(*), {total} FROM {name} GROUP BY ALL ORDER BY ALL"
                ).fetchall()
            )
    return found


@pytest.mark.slow
def test_an_erased_person_is_found_nowhere_and_never_comes_back(shop: Shop, person: Person) -> None:
    app = shop.app
    settled(shop, person)
    app.ingest()
    app.training_set()
    app.report()
    dead = person.state / "lake" / "raw" / ".x.pages.zst.4194305-1.partial"
    dead.write_text(f"what a run that was killed has left: {person.customer}")
    before, money = lake(shop), sums(shop)
    known = where(person.state, app.ledger, person.needles)
    for place in (
        "lake/raw",
        "lake/tables",
        "lake/derived/verdicts",
        "lake/derived/training_set",
        "export/",
        "recovery.duckdb",
        "outbox/",
    ):
        assert any(name.startswith(place) for name in known), f"the person is in {place} beforehand"

    told = app.erase_person(person.customer, apply=False)
    assert (told.done, told.against) == (False, [])
    assert {"raw_pages", "customers", "charges"} <= told.lake.keys()
    assert told.closes == [shop.case(person.invoice)["id"]]
    assert where(person.state, app.ledger, person.needles) == known, "a dry run changes nothing"

    done = app.erase_person(person.customer, apply=True)
    assert (done.done, done.lake, done.mails) == (True, told.lake, told.mails)
    assert where(person.state, app.ledger, person.needles) == {}
    assert [one for one in app.check() if one.rows] == []
    assert app.reconcile(whole=True).agreed
    assert sums(shop) == money
    after = lake(shop)
    _others_are_as_before(before, after)
    app.ingest()
    app.ingest_changes()
    assert lake(shop) == after
    assert where(person.state, app.ledger, person.needles) == {}
    if app.ledger.dialect == "sqlite":  # the lake does not know which ledger stands beside it
        _no_way_of_reading_brings_him_back(shop, after)
        assert app.erase_person(person.customer, apply=True).empty
    assert where(person.state, app.ledger, person.needles) == {}
    assert app.erase_person(person.customer, apply=False).empty


def _no_way_of_reading_brings_him_back(shop: Shop, after: dict[str, dict[str, dict[str, Any]]]) -> None:
    app = shop.app
    assert sum(one.written for one in app.reparse().values()) == 0
    assert lake(shop) == after, "the kept pages make the same tables"
    days = sorted({row["created_at"].date() for rows in after.values() for row in rows.values()})
    again = app.read_again(days)
    assert again.repaired == 0
    assert not [one for one in again.differences if one.object_name in COMPARED]
    app.reparse()
    app.report()
    assert lake(shop) == after


def _others_are_as_before(before: Any, after: Any) -> None:
    changed = {
        name: {one for one, row in rows.items() if after[name].get(one) != row}
        for name, rows in before.items()
    }
    assert len(changed["customers"]) == len(changed["payment_methods"]) == 1
    assert not changed["customers"] & after["customers"].keys()
    assert changed["prices"] == set()
    for name in MONEY:
        assert after[name].keys() == before[name].keys()
        for one in changed[name]:
            row, was = after[name][one], before[name][one]
            assert row.get("customer_id") in (None, "erased")
            kept = [
                key for key in row if key.endswith("_minor") or key in ("currency", "status", "created_at")
            ]
            assert [row[key] for key in kept] == [was[key] for key in kept]


def test_nobody_charges_or_writes_to_an_erased_person(shop: Shop, person: Person) -> None:
    settled(shop, person)
    shop.app.erase_person(person.customer, apply=True)
    case = shop.case(person.invoice)
    assert (case["state"], case["customer_id"], case["payment_method_id"]) == ("cancelled", None, None)
    mails = set((person.state / "outbox").glob("*.eml"))
    declined = shop.app.account().gateway.post("/v1/payment_intents", {**NEW_DEBT, "customer": person.customer,
                                     "payment_method": person.method}, "new", shop.app.account().gateway.api_version)  # fmt: skip
    assert declined.error_type == "card_error"
    other = shop.stripe.fixture(
        "failed_invoice", email="grace@hopper.example", name="Grace", amount_minor=1_234
    )
    watched = shop.watch()
    for _ in range(6):
        shop.advance(timedelta(days=4))
        shop.refresh()
        shop.app.drain(owner="test", max_seconds=20)
        shop.app.send_mail(owner="test", max_seconds=20)
    debts = shop.app.failed_payments().to_pylist()
    his = {row["debt_id"] for row in debts if row["customer_id"] == "erased"}
    assert len(his) == 2, "the old debt, and one made after he was erased"
    assert all(
        row["customer_deleted"] and row["payment_method_id"] is None for row in debts if row["debt_id"] in his
    )
    assert {row["debt_id"] for row in shop.rows(recovery_case)} & his == {person.invoice}
    intents = {row["payment_intent_id"] for row in debts if row["debt_id"] in his}
    charged = {path.split("/")[3] for path in watched.charging()}
    assert not charged & (his | intents)
    assert other["invoice"] in charged, "others are charged"
    written = "".join(one.read_text() for one in set((person.state / "outbox").glob("*.eml")) - mails)
    assert (EMAIL in written, "grace@hopper.example" in written) == (False, True)
    assert where(person.state, shop.app.ledger, person.needles) == {}
    assert [one for one in shop.app.check() if one.rows] == []


def test_who_is_not_known_cannot_be_erased(shop: Shop) -> None:
    shop.app.ingest_changes()
    with pytest.raises(InputError, match="nothing is kept of a customer 'cus_nobody'"):
        shop.app.erase_person("cus_nobody", apply=True)
    with pytest.raises(InputError, match="nothing is kept"):
        shop.app.export_person("cus_nobody")


def test_an_export_holds_all_that_is_kept(shop: Shop, person: Person) -> None:
    found = shop.app.export_person(person.customer)
    text = json.dumps(found, default=str)
    assert not [one for one in person.needles if one not in text]
    assert {"customers", "payment_methods", "charges", "invoices"} <= found["lake"].keys()
    assert found["ledger"]["attempt"] and found["mails"]
    assert {one["object"]["object"] for one in found["stripe_objects"]} >= {"customer", "charge", "event"}


@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
def test_the_commands(shop: Shop, person: Person, tmp_path: Path) -> None:
    base, state, target = shop.app.settings.stripe_api_base, person.state, tmp_path / "person.json"
    settled(shop, person)
    shop.app.ledger.close()
    assert (
        "keep it safe" in run(state, base, "privacy", "export", person.customer, "--file", str(target)).stdout
    )
    assert target.stat().st_mode & 0o777 == 0o600
    assert json.loads(target.read_text())["customer"] == person.customer
    again = run(state, base, "privacy", "export", person.customer, "--file", str(target))
    assert (again.returncode, "overwrites nothing" in again.stderr) == (2, True)
    told = run(state, base, "privacy", "erase", person.customer).stdout
    assert "say --yes" in told
    assert answer(state, base, "privacy", "erase", person.customer, "--yes")["done"] is True
    assert where(state, shop.app.ledger, person.needles) == {}
    gone = run(state, base, "privacy", "export", person.customer)
    assert (gone.returncode, "was erased" in gone.stderr) == (2, True)
    nobody = run(state, base, "privacy", "erase", "cus_typo", "--yes")
    assert (nobody.returncode, "nothing is kept of a customer 'cus_typo'" in nobody.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
def test_an_erasure_that_is_killed_is_finished_by_the_next(shop: Shop, person: Person) -> None:
    settled(shop, person)
    shop.app.ingest()
    base, money, kills = shop.app.settings.stripe_api_base, sums(shop), 0
    shop.app.ledger.close()
    # Each is given a little longer, and goes on with what those before it have left.
    while _killed(person, base, 0.9 + 0.15 * kills):
        kills += 1
    assert kills >= 5, "hardly any run was killed"
    assert answer(person.state, base, "privacy", "erase", person.customer, "--yes")["done"] is True
    assert where(person.state, shop.app.ledger, person.needles) == {}
    assert sums(shop) == money
    after = lake(shop)
    shop.app.reparse()
    assert lake(shop) == after


def _killed(person: Person, base: str, after_seconds: float) -> bool:
    command = [sys.executable, "-m", "tinko_pipelines.cli", "privacy", "erase", person.customer, "--yes"]
    asked = {"TINKO_STATE": str(person.state), "TINKO_STRIPE_API_BASE": base, "TINKO_CLOCK": "sandbox"}
    with subprocess.Popen(command, env=os.environ | asked, stdout=subprocess.DEVNULL) as process:
        try:
            assert process.wait(after_seconds) == 0
        except subprocess.TimeoutExpired:
            process.kill()
    return process.returncode == -signal.SIGKILL


def test_while_an_ingest_is_under_way_nothing_is_taken_out(shop: Shop, person: Person) -> None:
    settled(shop, person)
    with Intake(shop.app.lake, "default", livemode=False):
        eraser = Shelves(shop.app.lake, "default", shop.app.erased("default"))
        with pytest.raises(StoreError, match="an ingest is under way"):
            eraser.wait_for_readers(0.1)
    eraser.wait_for_readers(0.1)


@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
def test_marts_that_cannot_be_made_anew_leave_the_erasure_undone(shop: Shop, person: Person) -> None:
    settled(shop, person)
    app = shop.app
    eraser = Eraser(app.settings, app.ledger, app.lake, app.erased, app.clock.now())
    him = find_person(app.lake, app.ledger, "default", person.customer)

    def broken() -> None:
        raise StoreError("no room")

    with pytest.raises(
        StoreError, match=r"is not erased yet: marts and report could not be made anew.*no room"
    ):
        eraser.erase(him, lambda: None, broken)
    app.erase_person(person.customer, apply=True)
    assert where(person.state, app.ledger, person.needles) == {}
