"""Which mails fall due when: as a table, as data of one's own, and as errors that say what is wrong and where."""

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.fake_stripe import NOW, failed_row, failed_table
from tinko_pipelines.declines.records import CATEGORIES
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.ledger.schema import message, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach import languages, sequences
from tinko_pipelines.outreach.sequences import DEFAULT_FILE, MAILED_MOVES, load, subject_for, template_now
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import Policy
from tinko_pipelines.settings import Settings, load_settings

DAY = timedelta(days=1)
AT_ONCE = [0.0, 3.0, 7.0, 14.0]
SILENT = [3.0, 8.0, 14.0]


def row(**changes: Any) -> dict[str, Any]:
    return failed_row("pi_1", **changes)


@pytest.mark.parametrize(
    ("category", "move", "days", "first", "last"),
    [
        ("authentication_required", "customer", AT_ONCE, "authenticate", "last_notice"),
        ("authentication_required", "wait_stripe", AT_ONCE, "authenticate", "last_notice"),
        ("customer_abandoned", "customer", AT_ONCE, "authenticate", "last_notice"),
        ("card_expired", "customer", AT_ONCE, "details", "last_notice"),
        ("incorrect_details", "wait_stripe", AT_ONCE, "details", "last_notice"),
        ("lost_or_stolen", "customer", AT_ONCE, "other_card", "last_notice"),
        ("account_closed", "customer", AT_ONCE, "other_card", "last_notice"),
        ("do_not_honor", "customer", AT_ONCE, "update_card", "last_notice"),
        ("unknown", "customer", AT_ONCE, "update_card", "last_notice"),
        ("do_not_honor", "both", SILENT, "payment_failed_retrying", "last_notice"),
        ("insufficient_funds", "retry", SILENT, "payment_failed_retrying", "last_notice"),
        ("insufficient_funds", "wait_stripe", SILENT, "payment_failed_retrying", "last_notice"),
        ("issuer_unavailable", "retry", SILENT, "payment_failed_retrying", "last_notice"),
    ],
)
def test_what_the_customer_can_mend_is_written_about_at_once_and_what_mends_itself_is_not(
    category: str, move: str, days: list[float], first: str, last: str
) -> None:
    found = load().of(row(category=category), move)
    assert found is not None
    assert [step.after_days for step in found.steps] == days
    assert (found.steps[0].template, found.steps[-1].template) == (first, last)
    start = NOW if days is AT_ONCE else NOW - DAY
    assert found.times(NOW - DAY, NOW) == [start + n * DAY for n in days]


@pytest.mark.parametrize("move", ["stop", "fix_config"])
def test_who_has_nothing_to_do_gets_no_mail(move: str) -> None:
    assert [load().of(row(category=category), move) for category in CATEGORIES] == [None] * len(CATEGORIES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_case_that_is_written_to_has_a_last_notice_and_no_reason_in_its_subjects(category: str) -> None:
    for move in MAILED_MOVES:
        found = load().of(row(category=category), move)
        assert found is not None
        assert [step.template for step in found.steps].count("last_notice") == 1


def test_a_failure_found_late_is_not_written_about_twice_at_once() -> None:
    found = load().of(row(), "retry")
    assert found is not None
    times = found.times(NOW - 25 * DAY, NOW)
    assert times[0] == NOW + DAY
    assert min(late - early for early, late in pairwise(times)) >= 3 * DAY


def own_file(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    body = json.loads(DEFAULT_FILE.read_text())
    change(body)
    path = folder / "mine.json"
    path.write_text(json.dumps(body))
    return path


def with_step(number: int, **values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["sequences"][0]["steps"][number].update(values)


def with_first(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["sequences"][0].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_step(1, delay=3), r"unknown field `delay` - at `\$\.sequences\[0\]\.steps\[1\]`"),
        (with_step(1, after_days="3"), r"Expected `float`, got `str` - at `\$\.sequences\[0\]\.steps\[1\]"),
        (with_step(1, after_days=0), "sequence confirm: step 2: after_days is 0"),
        (with_step(3, after_days=61), "sequence confirm: step 4: after_days is 61"),
        (with_step(0, template="plaese_pay"), "step 1: no template for reminders is named plaese_pay; there are auth"),
        (with_step(0, template="receipt"), "step 1: no template for reminders is named receipt"),
        (with_step(0, subjects=["loud"]), "step 1: template authenticate has the subjects action, plain, reminder, not loud"),
        (with_step(0, subjects=[]), "step 1: template authenticate has the subjects .* not none"),
        (with_step(0, condition="raining"), r"Invalid enum value 'raining' - at `\$\.sequences\[0\]\.steps\[0\]"),
        (with_step(0, otherwise="details"), "step 1: otherwise is never used"),
        (with_first(steps=[]), "sequence confirm: 1 to 12 steps are wanted, it has 0"),
        (with_first(moves=["hope"]), "sequence confirm: hope is no move"),
        (with_first(categories=["bad_luck"]), "sequence confirm: bad_luck is no category"),
        (with_first(currencies=["EUR"]), "sequence confirm: currency EUR: three small letters"),
        (with_first(amount_from_minor=5), "sequence confirm: an amount says nothing without its currency"),
        (with_first(amount_from_minor=5, amount_below_minor=5, currencies=["eur"]), "no amount is from 5 and below 5"),
        (with_first(name="details"), "two sequences are named details"),
        (with_first(counted_from="easter"), r"Invalid enum value 'easter' - at `\$\.sequences\[0\]\.counted_from`"),
        (lambda body: body["sequences"].pop(), "nothing fits every case of category insufficient_funds with move both"),
        (lambda body: body["sequences"][3].update(accounts=["eu"]), "nothing fits every case of .* with move customer"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_with_what_and_where(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    path = own_file(tmp_path, change)
    with pytest.raises(SettingsError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"{", "truncated"), (b"\xff", "cannot be used")]
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        load(path)


def with_segments(body: dict[str, Any]) -> None:
    def one(name: str, **fits: Any) -> dict[str, Any]:
        steps = [{"after_days": 1.5, "template": "details", "subjects": ["plain", "action"]}]
        return {"name": name, "counted_from": "plan", "steps": steps, **fits}

    body["version"] = "shop-1"
    body["sequences"] = [
        one("large", currencies=["eur"], amount_from_minor=100_000),
        one("middle", currencies=["eur"], amount_from_minor=5_000, amount_below_minor=100_000),
        one("branch", accounts=["branch"]),
        one("austria", locales=["de-AT"]),
        one("german", locales=["de"]),
        *body["sequences"],
    ]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"currency": "eur", "amount_minor": 100_000}, "large"),
        ({"currency": "eur", "amount_minor": 99_999}, "middle"),
        ({"currency": "eur", "amount_minor": 4_999}, "wait"),
        ({"currency": "usd", "amount_minor": 100_000}, "wait"),
        ({"account_id": "branch"}, "branch"),
        ({"preferred_locale": "de_AT"}, "austria"),
        ({"preferred_locale": "de-CH"}, "german"),
        ({"preferred_locale": None}, "wait"),
    ],
)
def test_segments_by_account_currency_amount_and_language(
    tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    found = load(own_file(tmp_path, with_segments)).of(row(**changes), "retry")
    assert found is not None
    assert found.name == name


def planned(ledger: Ledger) -> tuple[dict[str, Any], list[tuple[int, str, timedelta]]]:
    with ledger.read() as connection:
        case = dict(connection.execute(select(recovery_case)).mappings().one())
        mails = connection.execute(select(message).order_by(message.c.step)).mappings().all()
    return case, [(mail["step"], mail["template"], mail["due_at"] - NOW) for mail in mails]


def test_a_plan_follows_the_operators_own_file(ledger: Ledger, tmp_path: Path) -> None:
    path = own_file(tmp_path, with_segments)
    policy = Policy.from_settings(Settings(sequences=path))
    enrol(ledger, failed_table(row(currency="eur", amount_minor=100_000)), now=NOW, policy=policy)
    case, mails = planned(ledger)
    assert mails == [(1, "details", 1.5 * DAY)]
    assert json.loads(case["plan"])["sequence"] == "large@shop-1"
    step = policy.sequences.step(case["plan"], 1)
    assert step is not None
    assert step.subjects == ("plain", "action")
    assert policy.sequences.step(case["plan"], 2) is None
    assert sequences.default().step(case["plan"], 1) is None, "a sequence that is gone says nothing"


def test_a_card_that_may_no_longer_be_tried_changes_what_the_mails_ahead_say(ledger: Ledger) -> None:
    enrol(ledger, failed_table(row()), now=NOW, policy=Policy())
    assert [template for _, template, _ in planned(ledger)[1]] == ["payment_failed_retrying"] * 2 + [
        "last_notice"
    ]
    moments = [due for _, _, due in planned(ledger)[1]]
    changed = row(category="card_expired", move="customer", retry_same_card=False)
    enrol(ledger, failed_table(changed), now=NOW + DAY, policy=Policy())
    case, mails = planned(ledger)
    assert [template for _, template, _ in mails] == ["details", "details", "last_notice"]
    assert [due for _, _, due in mails] == moments
    assert json.loads(case["plan"])["sequence"] == "details@mails-1"


def test_subjects_are_dealt_evenly_and_always_alike() -> None:
    step = sequences.Step(after_days=0, template="details", subjects=("plain", "action"))
    dealt = [subject_for(step, "details", f"message-{number}") for number in range(1000)]
    assert dealt == [subject_for(step, "details", f"message-{number}") for number in range(1000)]
    assert 430 < dealt.count("plain") < 570
    assert subject_for(step, "update_card", "message-1") == languages.FIRST_SUBJECT
    assert subject_for(None, "details", "message-1") == languages.FIRST_SUBJECT


@pytest.mark.parametrize(
    ("condition", "ahead", "found"),
    [
        ("always", True, "details"), ("always", False, "details"),
        ("retries_ahead", True, "details"), ("retries_ahead", False, "update_card"),
        ("no_retries_ahead", True, "update_card"), ("no_retries_ahead", False, "details"),
    ],
)  # fmt: skip
def test_what_is_sent_where_a_condition_holds_no_more(
    condition: sequences.Condition, ahead: bool, found: str
) -> None:
    step = sequences.Step(after_days=0, template="details", condition=condition, otherwise="update_card")
    assert template_now(step, "details", ahead) == found
    without = sequences.Step(after_days=0, template="details", condition=condition)
    assert template_now(without, "details", ahead) == (None if found == "update_card" else found)
    assert template_now(None, "details", ahead) == "details"
    assert template_now(step, "authenticate", ahead) == "authenticate", "what was planned otherwise stays"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TINKO_TIME_ZONE", "Mars/Olympus"), ("TINKO_TIME_ZONE", "../../etc/passwd"), ("TINKO_BRAND_COLOUR", "red"),
        ("TINKO_BRAND_COLOUR", "#12345;"), ("TINKO_BRAND_LOGO_URL", "http://x.test/a.png"),
        ("TINKO_BRAND_LOGO_URL", 'https://x.test/"onerror='), ("TINKO_MAIL_WEEKENDS", "often"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()
