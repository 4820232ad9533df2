"""What a person may do, what is refused, and that both leave a trace or none."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError

from tests.retry.shop import Shop, passing_later
from tests.retry.test_janitor import unknown
from tests.test_cli import last_object, tinko
from tinko_pipelines.errors import InputError
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.ledger.schema import case_event, message
from tinko_pipelines.retry.desk import Desk
from tinko_pipelines.retry.files import list_cases, list_mails, whole_case
from tinko_pipelines.retry.looks import REPOST_HOURS
from tinko_pipelines.settings import SANDBOX_KEY


def desk(shop: Shop, *, apply: bool = True) -> Desk:
    return Desk(
        shop.app.ledger, lambda name: shop.app.account(name).gateway, shop.stripe.now(), "anna", apply=apply
    )


def waiting_for_a_person(shop: Shop, name: str, kind: str = "failed_invoice") -> str:
    """A debt whose amount was changed, found so by a drain, and changed back."""
    made = shop.stripe.fixture(kind, codes=passing_later(shop), email=f"{name}@example.com")
    debt = made["invoice"]
    shop.refresh()
    shop.until_due(debt)
    for amount in (500, 1900):
        shop.stripe.fixture("amend", object="invoices", id=debt, fields={"amount_remaining": amount})
        if amount == 500:
            shop.app.drain(owner="test")
    assert shop.case(debt)["state"] == "needs_human"
    return str(debt)


def events(shop: Shop, debt: str) -> list[tuple[str, str, str | None]]:
    case = shop.case(debt)["id"]
    return [
        (row["actor"], row["kind"], row["detail"]) for row in shop.rows(case_event) if row["case_id"] == case
    ]


def test_an_act_is_told_before_it_is_done_and_recorded_with_who_and_why(shared_shop: Shop) -> None:
    shop = shared_shop
    debt = waiting_for_a_person(shop, "told")
    before, said = shop.case(debt), events(shop, debt)
    told = desk(shop, apply=False).resolve(debt, "cancelled", "written off")
    assert (told.done, told.changes) == (False, ("case needs_human → cancelled: written off",))
    assert (shop.case(debt), events(shop, debt)) == (before, said)
    assert desk(shop).resolve(before["id"][:12], "cancelled", "written off").done
    assert (shop.case(debt)["state"], shop.case(debt)["state_reason"]) == ("cancelled", "written off")
    assert events(shop, debt) == [*said, ("person:anna", "closed", "written off")]
    for act in (desk(shop).stop, desk(shop).retry):
        with pytest.raises(InputError, match="that is its end"):
            act(debt, "again")


def test_stripe_is_not_contradicted(shared_shop: Shop) -> None:
    shop = shared_shop
    debt = waiting_for_a_person(shop, "contradicted")
    for state in ("recovered", "paid_elsewhere"):
        with pytest.raises(InputError, match="invoice is open at Stripe"):
            desk(shop).resolve(debt, state, "I think so")
    shop.stripe.act("pay", debt)
    for state in ("cancelled", "exhausted"):
        with pytest.raises(InputError, match="invoice is paid at Stripe"):
            desk(shop).resolve(debt, state, "I think so")
    with pytest.raises(InputError, match="no attempt of ours"):
        desk(shop).resolve(debt, "recovered", "I think so")
    with pytest.raises(InputError, match="is not retried: invoice is paid"):
        desk(shop).retry(debt, "again")
    with pytest.raises(InputError, match="ends as one of"):
        desk(shop).resolve(debt, "open", "again")
    assert shop.case(debt)["state"] == "needs_human"
    assert desk(shop).resolve(debt, "paid_elsewhere", "he called").done
    with pytest.raises(InputError, match="no case is called"):
        desk(shop).stop("nosuch", "what")


def test_a_case_handed_back_is_retried_under_every_guard(shared_shop: Shop) -> None:
    shop = shared_shop
    debt = waiting_for_a_person(shop, "retried")
    assert "due now" in desk(shop, apply=False).retry(debt, "amount is right again").changes[0]
    assert desk(shop).retry(debt, "amount is right again").done
    assert ("person:anna", "reopened", "amount is right again") in events(shop, debt)
    shop.app.drain(owner="test")
    assert shop.case(debt)["state"] == "recovered"


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ({"codes": [[0, "stolen_card"]]}, "no retry was planned"),
        ({"code": "insufficient_funds", "country": "IN"}, "cards issued in India"),
    ],
)
def test_who_may_not_be_retried_is_not_retried_by_a_person_either(
    shared_shop: Shop, who: dict[str, Any], why: str
) -> None:
    shop = shared_shop
    debt = shop.stripe.fixture("failed_invoice", email=f"{len(why)}@example.com", **who)["invoice"]
    shop.refresh()
    state = shop.case(debt)["state"]
    with pytest.raises(InputError, match="that is its end" if state == "not_ours" else why):
        desk(shop).retry(debt, "try anyway")
    assert shop.attempts(debt) == []


def test_a_card_the_bank_has_forbidden_stays_forbidden(shop: Shop) -> None:
    codes = [[0, "insufficient_funds"], [shop.at(0.5), "stolen_card"]]
    debt = shop.stripe.fixture("failed_invoice", codes=codes)["invoice"]
    shop.refresh()
    shop.until_due(debt)
    assert shop.app.drain(owner="test").declined == 1
    with pytest.raises(InputError, match="the bank forbids this card"):
        desk(shop).retry(debt, "try anyway")


def test_an_open_outcome_comes_first_and_is_read_at_stripe(shared_shop: Shop) -> None:
    shop = shared_shop
    made, watched = unknown(shop, "desk", {"kind": "reset_after"})
    debt = made["invoice"]
    with pytest.raises(InputError, match="its outcome must come first"):
        desk(shop).resolve(debt, "cancelled", "enough", "declined")
    shop.stripe.faults([])
    with pytest.raises(InputError, match="invoice is paid at Stripe"):
        desk(shop).resolve(debt, "cancelled", "enough")
    with pytest.raises(InputError, match=r"is succeeded at Stripe .*, not declined"):
        desk(shop).resolve(debt, "recovered", "enough", "declined")
    assert [row["state"] for row in shop.attempts(debt)] == ["unknown"]
    told = desk(shop, apply=False).resolve(debt, "recovered", "seen in the dashboard")
    assert told.changes[0] == "attempt 1 unknown → succeeded (found_succeeded)"
    assert desk(shop).resolve(debt, "recovered", "seen in the dashboard").done
    assert (shop.case(debt)["state"], shop.attempts(debt)[0]["state"]) == ("recovered", "succeeded")
    assert ("person:anna", "attempt_succeeded", "found_succeeded") in events(shop, debt)
    assert len(watched.keys) == 1


def test_a_call_that_may_still_run_is_not_declared_dead(shared_shop: Shop) -> None:
    shop = shared_shop
    made, watched = unknown(shop, "running", {"kind": "reset_before"})
    debt = made["invoice"]
    shop.stripe.faults([])
    for act in (
        lambda: desk(shop).retry(debt, "again"),
        lambda: desk(shop).resolve(debt, "cancelled", "enough"),
    ):
        with pytest.raises(InputError, match="may still run until"):
            act()
    assert desk(shop).stop(debt, "he has moved").done
    assert shop.case(debt)["state"] == "needs_human"
    shop.advance(timedelta(minutes=10))
    shop.app.drain(owner="test")
    assert len(watched.keys) == 1
    shop.advance(timedelta(hours=REPOST_HOURS))
    shop.app.drain(owner="test")
    assert (shop.case(debt)["state"], shop.attempts(debt)[0]["state"]) == ("exhausted", "abandoned")
    assert len(watched.keys) == 1
    case = shop.case(debt)["id"]
    told = [row["kind"] for row in shop.rows(case_event) if row["case_id"] == case]
    assert "reopened" not in told  # Not even for a moment, in which it could be planned anew.


def test_where_stripe_can_tell_nothing_a_person_may_after_a_day(shop: Shop) -> None:
    made, _ = unknown(shop, "mute", {"kind": "reset_before"})
    shop.advance(timedelta(hours=REPOST_HOURS + 1))

    class Mute:
        account_id, livemode, api_version = "default", False, ""

        def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
            return Answer(None, transport_error="no route")

    mute = Desk(shop.app.ledger, lambda _: Mute(), shop.stripe.now(), "anna", apply=True)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match="its outcome must come first"):
        mute.resolve(made["invoice"], "cancelled", "enough")
    with pytest.raises(InputError, match="Stripe cannot be asked"):
        mute.resolve(made["invoice"], "cancelled", "enough", "abandoned")
    assert shop.attempts(made["invoice"])[0]["state"] == "unknown"
    shop.stripe.faults([])
    assert desk(shop).resolve(made["invoice"], "cancelled", "enough", "abandoned").done


NO_ROOM = {
    "sqlite": [
        "CREATE TRIGGER full BEFORE INSERT ON case_event WHEN NEW.kind IN ('closed', 'retry_asked')"
        " BEGIN SELECT RAISE(ABORT, 'no room'); END",
    ],
    "postgresql": [
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.kind IN ('closed', 'retry_asked') THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END IF;"
        " RETURN NEW; END $$",
        "CREATE TRIGGER no_room BEFORE INSERT ON case_event FOR EACH ROW EXECUTE FUNCTION no_room()",
    ],
}  # fmt: skip
ROOM = {"sqlite": "DROP TRIGGER full", "postgresql": "DROP FUNCTION no_room CASCADE"}


@pytest.mark.parametrize("act", ["resolve", "retry"])
def test_an_act_on_an_open_outcome_is_done_as_a_whole_or_not_at_all(shared_shop: Shop, act: str) -> None:
    shop = shared_shop
    made, _ = unknown(shop, f"whole{act}", {"kind": "reset_after"}, passes=False)
    debt, ledger = made["invoice"], shop.app.ledger
    shop.stripe.faults([])

    def do() -> Any:
        hands = desk(shop)
        return hands.retry(debt, "again") if act == "retry" else hands.resolve(debt, "cancelled", "enough")

    before = shop.case(debt), shop.attempts(debt), events(shop, debt)
    with ledger.write() as connection:
        for statement in NO_ROOM[ledger.dialect]:
            connection.exec_driver_sql(statement)
    try:
        with pytest.raises(DatabaseError, match="no room"):
            do()
    finally:
        with ledger.write() as connection:
            connection.exec_driver_sql(ROOM[ledger.dialect])
    assert (shop.case(debt), shop.attempts(debt), events(shop, debt)) == before
    assert do().done
    assert shop.attempts(debt)[0]["state"] == "declined"
    assert shop.case(debt)["state"] == ("open" if act == "retry" else "cancelled")


@pytest.mark.parametrize("went_out", [True, False])
def test_a_mail_in_doubt_is_settled_and_never_sent_again(shared_shop: Shop, went_out: bool) -> None:
    shop = shared_shop
    made = shop.stripe.fixture("failed_invoice", code="expired_card", email=f"mail{went_out}@example.com")
    shop.refresh()
    case = shop.case(made["invoice"])["id"]
    first = min((row for row in shop.rows(message) if row["case_id"] == case), key=lambda row: row["step"])
    claim = {"claimed_at": shop.stripe.now(), "address_hmac": f"x{went_out}"}
    with shop.app.ledger.write() as connection:
        for values in ({"state": "sending", **claim}, {"state": "in_doubt"}):
            connection.execute(message.update().where(message.c.id == first["id"]).values(**values))
    assert first["id"] in [row["id"] for row in list_mails(shop.app.ledger, "in_doubt", 100)]
    told = desk(shop, apply=False).resolve_mail(first["id"], went_out, "asked the provider")
    state = "sent" if went_out else "failed"
    assert told.changes == (f"message in_doubt → {state}: asked the provider",)
    assert desk(shop).resolve_mail(first["id"], went_out, "asked the provider").done
    assert ("person:anna", f"message_{state}", "step 1: asked the provider") in events(shop, made["invoice"])
    shop.app.send_mail(owner="test")
    (present,) = [row for row in shop.rows(message) if row["id"] == first["id"]]
    assert (present["state"], present["sent_at"]) == (state, claim["claimed_at"] if went_out else None)
    with pytest.raises(InputError, match=f"is {state}"):
        desk(shop).resolve_mail(first["id"], went_out, "twice")


def test_a_case_is_listed_and_shown_with_all_there_is(shared_shop: Shop) -> None:
    shop = shared_shop
    debt = waiting_for_a_person(shop, "shown")
    listed = [row["debt_id"] for row in list_cases(shop.app.ledger, "needs_human", 100)]
    assert debt in listed
    found = whole_case(shop.app.ledger, debt)
    assert found["case"][0]["debt_id"] == debt
    assert [row["answer"] for row in found["attempts"]] == ["preflight"]
    assert {row["state"] for row in found["messages"]} == {"dropped"}
    assert found["events"][-1]["to_state"] == "needs_human"


def test_the_commands_tell_first_and_act_on_yes(shop: Shop) -> None:
    debt = waiting_for_a_person(shop, "commands")
    settings = shop.app.settings
    there = {"TINKO_STRIPE_API_BASE": settings.stripe_api_base, "TINKO_CLOCK": "sandbox"}

    def command(*arguments: str) -> dict[str, Any]:
        done = tinko(Path(settings.state), *arguments, "--json", STRIPE_SECRET_KEY=SANDBOX_KEY, **there)
        assert done.returncode == 0, done.stderr
        return dict(last_object(done))

    assert [row["debt_id"] for row in command("case", "list")["cases"]] == [debt]
    shown = command("case", "show", debt)
    assert (shown["case"]["state"], shown["stripe"]["standing"]) == ("needs_human", "open")
    act = ("case", "stop", debt, "--reason", "moved away", "--by", "anna")
    assert command(*act)["done"] is False
    assert shop.case(debt)["state"] == "needs_human"
    assert command(*act, "--yes")["done"] is True
    assert ("person:anna", "closed", "moved away") in events(shop, debt)
    assert command("mail", "list")["mails"] == []
    refused = tinko(Path(settings.state), *act, STRIPE_SECRET_KEY=SANDBOX_KEY, **there)
    assert (refused.returncode, "that is its end" in refused.stderr) == (2, True)
