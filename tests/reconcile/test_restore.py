"""An older ledger, another one or none at all: nobody is charged again, and work goes on when a person says so."""

import shutil
import sqlite3
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url, select
from sqlalchemy.exc import IntegrityError

from tests.fake_stripe import NOW, failed_row, failed_table
from tests.reconcile.shop import Shop
from tinko_pipelines.app import App
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.ledger import backup as backups
from tinko_pipelines.ledger import caps, ids, meta
from tinko_pipelines.ledger.schema import attempt, control, message, network_attempt, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.reconcile.catch_up import GAP, numbers
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy

KINDS = ("failed_invoice", "failed_intent")


def owing(shop: Shop) -> dict[str, bool]:
    """Four debts: of each kind one whose card passes by now and one that never does."""
    made = {}
    for kind in KINDS:
        for passes in (True, False):
            made[shop.owe(kind, passes=passes, email=f"{kind}{passes}@example.com")] = passes
    return made


def states(shop: Shop) -> dict[str, str]:
    return {case["debt_id"]: case["state"] for case in shop.rows(recovery_case)}


def again(shop: Shop) -> Shop:
    """The same installation, as a new process finds it."""
    shop.app.ledger.close()
    shop.app = App(shop.app.settings)
    return shop


def put_back(shop: Shop, kept: Path) -> None:
    again(shop).app.restore_ledger(kept, replace=True)
    again(shop)


def nothing_runs(shop: Shop) -> None:
    before = shop.stripe.book()["digest"]
    for work in (shop.app.drain, shop.app.send_mail):
        with pytest.raises(StoreError, match="tinko reconcile"):
            work(owner="test")
    assert sum(shop.app.due().counts().values()) == 0
    assert shop.stripe.book()["digest"] == before
    (switch,) = shop.rows(control)
    assert (switch["scope"], switch["changed_by"]) == ("global", "restore")
    assert not (switch["charging_enabled"] or switch["mailing_enabled"])
    with pytest.raises(InputError, match="not reconciled"):
        shop.app.resume(None, reason="hurry", by="me")


def nobody_is_charged_again(shop: Shop, made: dict[str, bool]) -> None:
    """Until every plan is over; then each debt that could be paid was paid once, and no try is uncounted."""
    for _ in range(20):
        shop.app.drain(owner="test")
        shop.later(timedelta(days=2))
    audit = shop.stripe.book()
    assert (audit["double_charges"], audit["charged_after_paid"]) == (0, 0)
    for debt, passes in made.items():
        paid = [charge["status"] for charge in shop.stripe.charges_of(debt)]
        assert paid.count("succeeded") == int(passes)
        tried = [row for row in shop.rows(attempt) if row["executed"] and row["object_id"] == debt]
        assert len(tried) == len(paid) - 1, "the first charge was not ours, every other one is in the ledger"
    assert shop.app.reconcile(whole=True).agreed


def test_an_older_backup(shop: Shop, tmp_path: Path) -> None:
    made = owing(shop)
    shop.app.drain(owner="test")
    kept = tmp_path / "kept.backup"
    assert shop.app.backup_ledger(kept) == kept.stat().st_size > 1000
    assert kept.stat().st_mode & 0o077 == 0
    shop.retry()
    charged = {debt: len(shop.stripe.charges_of(debt)) for debt in made}
    assert sum(charged.values()) == 8
    with pytest.raises(InputError, match="--replace"):
        shop.app.restore_ledger(kept)
    put_back(shop, kept)
    assert shop.rows(attempt) == []
    nothing_runs(shop)
    shop.later()
    found = shop.app.reconcile()
    assert (found.agreed, found.recorded, found.whole) == (True, 4, True)
    assert {row["answer"] for row in shop.rows(attempt)} == {"restored"}
    assert {debt for debt, state in states(shop).items() if state == "recovered"} == {
        debt for debt, passes in made.items() if passes
    }
    assert shop.app.drain(owner="test").called == 0, "agreeing is not enough"
    shop.app.resume(None, reason="checked", by="me")
    nobody_is_charged_again(shop, made)


def test_no_ledger_at_all(shop: Shop, tmp_path: Path) -> None:
    made = owing(shop)
    shop.retry()
    old = shop.app.settings.ledger
    shop.app.ledger.close()
    if old.startswith("sqlite"):
        for file in tmp_path.glob("ledger.db*"):
            file.unlink()
    else:
        shop.app.ledger.engine.dispose()
        command = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        subprocess.run(["psql", "-qX", old, "-c", command], check=True, capture_output=True)
    again(shop)
    nothing_runs(shop)
    shop.later()
    shop.app.ingest_changes()
    shop.app.plan()
    found = shop.app.reconcile()
    assert (found.agreed, found.recorded) == (True, 2)
    shop.app.resume(None, reason="checked", by="me")
    for _ in range(20):
        shop.app.drain(owner="test")
        shop.later(timedelta(days=2))
    audit = shop.stripe.book()
    assert (audit["double_charges"], audit["charged_after_paid"]) == (0, 0)
    paid = [sum(one["status"] == "succeeded" for one in shop.stripe.charges_of(debt)) for debt in made]
    assert paid == [int(passes) for passes in made.values()]
    assert shop.app.reconcile(whole=True).agreed


def lose_everything(shop: Shop, tmp_path: Path) -> None:
    """The ledger and the state folder with its mark and its lake."""
    url = shop.app.settings.ledger
    shop.app.ledger.close()
    shutil.rmtree(shop.app.settings.state)
    if url.startswith("sqlite"):
        for file in tmp_path.glob("ledger.db*"):
            file.unlink()
    else:
        command = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        subprocess.run(["psql", "-qX", url, "-c", command], check=True, capture_output=True)
    again(shop)


@pytest.mark.parametrize("first", ["plan", "reconcile"])
@pytest.mark.parametrize("kind", KINDS)
def test_ledger_and_state_folder_are_lost_together(shop: Shop, tmp_path: Path, kind: str, first: str) -> None:
    """What Stripe names of ours tells that there was another ledger; a card that never passes has its tries counted."""
    shop.owe(kind, passes=False)
    shop.retry()
    lose_everything(shop, tmp_path)
    shop.later()
    if first == "reconcile" or kind == "failed_invoice":  # Only requests name the attempts of an invoice.
        assert shop.app.reconcile().agreed
        assert shop.app.restored(), "without its cases nothing was regained"
        nothing_runs(shop)
    shop.app.ingest_changes()
    shop.app.plan()
    nothing_runs(shop)
    found = shop.app.reconcile()
    assert (found.agreed, found.recorded) == (True, 1)
    assert not shop.app.restored()
    shop.app.resume(None, reason="checked", by="me")
    assert [(row["n"], row["state"]) for row in shop.rows(attempt)] == [(1, "declined")]


def test_where_nothing_at_stripe_tells_a_person_says_that_a_ledger_is_lost(
    shop: Shop, tmp_path: Path
) -> None:
    shop.stripe.fixture("failed_invoice", code="expired_card")
    shop.app.ingest_changes()
    shop.app.plan()
    assert shop.app.send_mail(owner="test").sent == 1
    lose_everything(shop, tmp_path)
    shop.later()
    shop.app.ingest_changes()
    shop.app.plan()
    assert shop.app.follow_lost_ledger() == 4, "nobody knows which of its mails went out"
    nothing_runs(shop)
    assert shop.app.reconcile().agreed
    shop.app.resume(None, reason="checked", by="me")
    for _ in range(5):
        assert shop.app.send_mail(owner="test").sent == 0
        shop.later(timedelta(days=3))
    shop.stripe.fixture("failed_invoice", code="expired_card", email="new@example.com")
    shop.app.ingest_changes()
    shop.app.plan()
    assert shop.app.send_mail(owner="test").sent == 1, "what fails afterwards is written about as ever"
    assert shop.stripe.book()["mails"] == 2


def test_a_lost_case_is_sent_no_step_that_any_move_would_have_sent(ledger: Ledger) -> None:
    """Stripe may have retried the debt itself when it failed, and its customer been written to at once."""
    with ledger.write() as connection:
        meta.put(connection, "forgiven:acct_1", NOW.isoformat())
    failed_at = NOW - timedelta(days=5)
    row = failed_row("pi_1", account_id="acct_1", move="retry", first_failed_at=failed_at)
    enrol(ledger, failed_table(row), now=NOW, policy=Policy())
    with ledger.read() as connection:
        steps = list(connection.execute(select(message.c.step)).scalars())
        (move,) = connection.execute(select(recovery_case.c.move)).scalars()
    assert (move, steps) == ("retry", [3]), "two had been due in five days if it was written to at once"


def test_a_ledger_put_back_behind_our_back(shop: Shop, tmp_path: Path) -> None:
    if not shop.app.settings.ledger.startswith("sqlite"):
        pytest.skip("a server's files are not copied by hand; the mark is tested with a dropped schema too")
    made = owing(shop)
    shop.app.drain(owner="test")
    shop.app.ledger.close()
    here = Path(make_url(shop.app.settings.ledger).database or "")
    copied = tmp_path / "copied.db"
    with sqlite3.connect(here) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copyfile(here, copied)
    again(shop).retry()
    shop.app.ledger.close()
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    shutil.copyfile(copied, here)
    again(shop)
    shop.app.plan()
    nothing_runs(shop)
    shop.later()
    assert shop.app.reconcile().agreed
    shop.app.resume(None, reason="checked", by="me")
    nobody_is_charged_again(shop, made)


def test_a_call_that_was_only_prepared_in_the_backup(shop: Shop, tmp_path: Path) -> None:
    """The backup is of a moment between preparing and calling; the call then went through."""
    debt = shop.owe("failed_intent")
    kept = tmp_path / "kept.backup"

    def at(name: str) -> None:
        if name == "before_preflight":
            shop.app.backup_ledger(kept)

    last = max(row["due_at"] for row in shop.rows(recovery_case) if row["state"] == "open")
    shop.stripe.advance_to(last + timedelta(minutes=1))
    assert shop.app.drain(owner="test", boundary=at).succeeded == 1
    put_back(shop, kept)
    assert [row["state"] for row in shop.rows(attempt)] == ["prepared"]
    shop.later()
    assert shop.app.reconcile().agreed
    assert [(row["state"], row["answer"]) for row in shop.rows(attempt)] == [("succeeded", "restored")]
    assert states(shop) == {debt: "recovered"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_regained_refusal_still_forbids_its_card(shop: Shop, tmp_path: Path, kind: str) -> None:
    later = int(shop.stripe.now().timestamp()) + 43_200
    shop.stripe.fixture(kind, codes=[[0, "insufficient_funds"], [later, "lost_card"]])
    shop.app.ingest_changes()
    shop.app.plan()
    kept = tmp_path / "kept.backup"
    shop.app.backup_ledger(kept)
    shop.retry()
    (before,) = shop.rows(attempt)
    assert before["forbids_card"]
    put_back(shop, kept)
    shop.later()
    assert shop.app.reconcile().agreed
    (regained,) = shop.rows(attempt)
    carried = ("id", "n", "state", "forbids_card", "decline_code", "card_fingerprint", "card_brand")
    assert [regained[name] for name in carried] == [before[name] for name in carried]
    (case,) = shop.rows(recovery_case)
    assert (case["max_attempts"], case["due_at"]) == (1, case["plan_ends_at"])
    assert [row["ours"] for row in shop.rows(network_attempt) if row["charge_id"] == before["charge_id"]] == [
        True
    ]
    with shop.app.ledger.write() as connection:
        refusal = caps.reached(connection, case, shop.stripe.now())
    assert refusal is not None
    assert refusal.rule == "card_forbidden"


def test_attempts_are_regained_whatever_their_number(shop: Shop, tmp_path: Path) -> None:
    shop.owe("failed_intent", passes=False)
    kept = tmp_path / "kept.backup"
    shop.app.backup_ledger(kept)
    shop.retry()
    shop.lie("UPDATE attempt SET n = 640")
    shop.retry()
    assert max(row["n"] for row in shop.rows(attempt)) == 641
    put_back(shop, kept)
    shop.later()
    found = shop.app.reconcile()
    assert (found.agreed, found.recorded) == (True, 2)
    assert sorted(row["n"] for row in shop.rows(attempt)) == [1, 641]


def test_an_attempt_that_cannot_be_regained_is_said(shop: Shop, tmp_path: Path) -> None:
    debt = shop.owe("failed_intent", passes=False)
    kept = tmp_path / "kept.backup"
    shop.app.backup_ledger(kept)
    (case,) = shop.rows(recovery_case)
    named = {"tinko_case": case["id"], "tinko_attempt": ids.attempt_id(case["id"], 9_000)}
    shop.stripe.fixture("amend", object="payment_intents", id=debt, fields={"metadata": named})
    shop.later()
    put_back(shop, kept)
    shop.later()
    assert not shop.app.reconcile().agreed
    assert shop.kinds() == ["attempt_missing"]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, 5_000), min_size=1, max_size=8), st.integers(0, 5_000))
def test_numbers_are_found_as_far_as_a_gap_allows(wanted: set[int], known: int) -> None:
    found = numbers("case", {ids.attempt_id("case", n) for n in wanted}, known)
    reach = known
    for n in sorted(wanted):
        if n <= reach + GAP:
            reach = max(reach, n)
    assert set(found.values()) == {n for n in wanted if n <= reach}


def test_a_mail_that_may_have_been_sent_is_not_sent_again(shop: Shop, tmp_path: Path) -> None:
    shop.stripe.fixture("failed_invoice", code="expired_card")
    shop.app.ingest_changes()
    shop.app.plan()
    kept = tmp_path / "kept.backup"
    shop.app.backup_ledger(kept)
    shop.later()
    assert shop.app.send_mail(owner="test").sent == 1
    put_back(shop, kept)
    shop.later()
    shop.app.reconcile()
    shop.app.resume(None, reason="checked", by="me")
    assert shop.app.send_mail(owner="test").sent == 0
    assert sorted({row["state"] for row in shop.rows(message)}) == ["dropped", "scheduled"]
    assert shop.stripe.book()["mails"] == 1


@pytest.mark.parametrize("notices", ["plan", "drain"])
def test_a_case_that_was_lost_is_not_written_to_again_from_the_start(
    shop: Shop, tmp_path: Path, notices: str
) -> None:
    kept = tmp_path / "kept.backup"
    shop.app.backup_ledger(kept)
    shop.stripe.fixture("failed_invoice", code="expired_card")
    shop.app.ingest_changes()
    shop.app.plan()
    assert shop.app.send_mail(owner="test").sent == 1
    shop.later(timedelta(hours=1))
    put_back(shop, kept)
    if notices == "drain":
        nothing_runs(shop)
    shop.app.plan()
    assert sorted(row["step"] for row in shop.rows(message)) == [2, 3, 4]
    shop.app.reconcile()
    shop.app.resume(None, reason="checked", by="me")
    assert shop.app.send_mail(owner="test").sent == 0
    shop.later(timedelta(days=3, hours=20))  # by day where the customer lives
    assert shop.app.send_mail(owner="test").sent == 1
    assert shop.stripe.book()["mails"] == 2


def test_a_person_may_resume_against_advice(shop: Shop, tmp_path: Path) -> None:
    shop.owe("failed_invoice")
    shop.app.backup_ledger(tmp_path / "kept.backup")
    put_back(shop, tmp_path / "kept.backup")
    nothing_runs(shop)
    shop.app.resume(None, reason="I know", by="me", anyway=True)
    shop.retry()
    assert set(states(shop).values()) == {"recovered"}


def test_what_cannot_be_backed_up_or_restored_is_said(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.owe("failed_invoice")
    kept = tmp_path / "kept.backup"
    shop.app.backup_ledger(kept)
    with pytest.raises(InputError, match="overwrites nothing"):
        shop.app.backup_ledger(kept)
    with pytest.raises(InputError, match="does not exist"):
        shop.app.backup_ledger(tmp_path / "nowhere" / "kept.backup")
    with pytest.raises(InputError, match="cannot be read"):
        shop.app.restore_ledger(tmp_path / "nothing", replace=True)
    (tmp_path / "notes.txt").write_text("not a backup")
    with pytest.raises(InputError, match="no backup"):
        shop.app.restore_ledger(tmp_path / "notes.txt", replace=True)
    torn = tmp_path / "torn.backup"
    torn.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    with pytest.raises(StoreError):
        shop.app.restore_ledger(torn, replace=True)
    assert len(shop.rows(recovery_case)) == 1, "a damaged backup changes nothing"
    if shop.app.ledger.dialect == "postgresql":
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(backups, "INSTALLED", tmp_path)
        with pytest.raises(StoreError, match="postgresql-client"):
            shop.app.backup_ledger(tmp_path / "other.backup")


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ({"state": "succeeded", "answer": "restored", "settled_at": NOW, "called_at": NOW}, True),
        ({"state": "declined", "answer": "restored", "settled_at": NOW, "called_at": NOW}, True),
        ({"state": "declined", "answer": "declined", "settled_at": NOW, "called_at": NOW}, False),
        ({"state": "declined", "settled_at": NOW, "called_at": NOW}, False),
        ({"state": "declined", "answer": "restored", "called_at": NOW}, False),
        ({"state": "calling", "answer": "restored", "settled_at": NOW, "called_at": NOW}, False),
        ({"state": "unknown", "answer": "restored", "settled_at": NOW, "called_at": NOW}, False),
    ],
)
def test_only_what_has_ended_is_taken_for_restored(
    ledger: Ledger, values: dict[str, Any], taken: bool
) -> None:
    enrol(ledger, failed_table(failed_row("pi_1")), now=NOW, policy=Policy())
    with ledger.read() as connection:
        case = dict(connection.execute(select(recovery_case)).mappings().one())
    same = ("account_id", "livemode", "amount_minor", "currency")
    row = {
        "id": "a1",
        "case_id": case["id"],
        "n": 1,
        "idempotency_key": "k",
        "object_id": "pi_1",
        "params": "{}",
    }
    row |= {"params_sha256": "", "api_version": "", "operation": "payment_intent.confirm", "fence": 1}
    row |= {name: case[name] for name in same} | {"prepared_at": NOW} | values
    if taken:
        with ledger.write() as connection:
            connection.execute(attempt.insert().values(**row))
        return
    with pytest.raises(IntegrityError, match="starts as prepared"), ledger.write() as connection:
        connection.execute(attempt.insert().values(**row))
