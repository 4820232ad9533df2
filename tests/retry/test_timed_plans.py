"""Plans with a timing model: never earlier than allowed, spaced, the same each time; without one the ladder as ever."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.fake_stripe import failed_row, failed_table
from tests.ledgers import KINDS, empty_ledger
from tests.retry.shop import Shop, passing_later
from tinko_pipelines.ledger.schema import case_event, recovery_case
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.retry.enrol import enrol
from tinko_pipelines.retry.policy import LADDER_DAYS, PAYDAYS, Policy
from tinko_pipelines.retry.replan import Plan
from tinko_pipelines.retry.timing import SHIFT_HOURS, SPACING, Question, Rung, place

NOW = datetime(2026, 11, 18, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Likes:
    """A model that likes one hour of the day, and counts how often it was asked."""

    def __init__(self, hour: int, version: str = "v1") -> None:
        self.hour, self.version, self.asked = hour, version, 0

    def chances(self, questions: Sequence[Question]) -> Sequence[Sequence[float] | None]:
        self.asked += len(questions)
        return [[0.9 if at.hour == self.hour else 0.1 for at in asked.moments] for asked in questions]


class Silent(Likes):
    def chances(self, questions: Sequence[Question]) -> Sequence[Sequence[float] | None]:
        return [None for _ in questions]


class Broken(Likes):
    """Fails in the way that is named."""

    def __init__(self, how: str) -> None:
        super().__init__(0, "broken")
        self.how = how

    def chances(self, questions: Sequence[Question]) -> Sequence[Sequence[float] | None]:
        if self.how == "raises":
            raise RuntimeError("trees are gone")
        if self.how == "too few":
            return []
        value = {"no number": float("nan"), "no chance": 1.5}.get(self.how, 0.5)
        return [[value] * (len(asked.moments) - (self.how == "too short")) for asked in questions]


@pytest.fixture(params=KINDS)
def ledger(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    with empty_ledger(request, tmp_path) as opened:
        yield opened


def case_of(ledger: Ledger, debt: str = "pi_1") -> dict[str, Any]:
    with ledger.read() as connection:
        query = select(recovery_case).where(recovery_case.c.debt_id == debt)
        return dict(connection.execute(query).mappings().one())


def row(**changes: Any) -> dict[str, Any]:
    failed = NOW - timedelta(hours=3)
    return failed_row("pi_1", **{"first_failed_at": failed, "last_failed_at": failed, **changes})


class Dealt(Likes):
    """Chances as they were dealt, by the hour since the epoch."""

    def __init__(self, dealt: Sequence[float]) -> None:
        super().__init__(0)
        self.dealt = dealt

    def chances(self, questions: Sequence[Question]) -> Sequence[Sequence[float] | None]:
        return [
            [self.dealt[int(at.timestamp() // 3600) % len(self.dealt)] for at in asked.moments]
            for asked in questions
        ]


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(
    dealt=st.lists(st.floats(0, 1), min_size=1, max_size=200),
    category=st.sampled_from([*sorted(LADDER_DAYS), "something_else"]),
    late_hours=st.integers(0, 700),
    wait_hours=st.sampled_from([None, 1.0, 48.0, 96.0, 400.0]),
    day=st.integers(0, 40),
)
def test_whatever_the_model_likes_waits_and_distances_are_kept(
    dealt: list[float], category: str, late_hours: int, wait_hours: float | None, day: int
) -> None:
    failed = NOW + timedelta(days=day)
    now = failed + late_hours * HOUR
    plain, timed = Policy(), Policy(foresight=Dealt(dealt))
    rungs = timed.rungs("case", category, failed, now, wait_hours)
    (chances,) = timed.foresee([({}, rungs)])
    schedule = timed.placed(rungs, chances)
    ladder = [rung.at for rung in plain.rungs("case", category, failed, now, wait_hours)]
    assert [rung.at for rung in rungs] == ladder
    assert schedule.version == "ladder-1+timing:v1"
    assert schedule == timed.placed(rungs, timed.foresee([({}, rungs)])[0])
    earliest = max(now, failed + timedelta(hours=24.5), failed + timedelta(hours=wait_hours or 0))
    assert schedule.times[0] >= earliest
    assert all(later - earlier >= SPACING for earlier, later in pairwise(schedule.times))
    for at, rung in zip(schedule.times, ladder, strict=True):
        assert abs(at - rung) <= SHIFT_HOURS * HOUR
        assert (at - rung) % HOUR == timedelta(0), "the spread over the minutes is kept"
        if category == "insufficient_funds" and rung.day in PAYDAYS:
            assert at >= rung, "nothing is brought forward from a payday"
    assert chances is not None
    assert schedule.chances == tuple(chances[at] for at in schedule.times)


@pytest.mark.parametrize(
    ("best", "hours", "expected"),
    [
        ({8: 0.5}, -50, 0),
        ({14: 0.5}, -50, 6),
        ({3: 0.5}, -50, -5),
        ({20: 0.5}, -50, -12),
        ({3: 0.5, 14: 0.6}, -50, 6),
        ({3: 0.5}, -2, 19),
        ({}, -50, 0),
    ],
)
def test_the_nearest_of_the_best_hours_is_taken(best: dict[int, float], hours: int, expected: int) -> None:
    at = datetime(2026, 11, 20, 8, 17, tzinfo=UTC)
    rung = Rung(at, at + hours * HOUR)
    (chosen,) = place([rung], {moment: best.get(moment.hour, 0.1) for moment in rung.hours()})
    assert chosen - at == expected * HOUR


def test_a_best_hour_too_near_to_the_one_before_is_left() -> None:
    at = datetime(2026, 11, 20, 8, tzinfo=UTC)
    rungs = [Rung(at, at), Rung(at + SPACING, at)]
    late = {moment: 0.9 if moment == at + 30 * HOUR else 0.1 for rung in rungs for moment in rung.hours()}
    assert place(rungs, late) == [at + 30 * HOUR, at + 55 * HOUR]


def test_the_plan_names_the_model_and_its_chances(ledger: Ledger) -> None:
    enrol(ledger, failed_table(row()), now=NOW, policy=Policy(foresight=Likes(18)))
    case = case_of(ledger)
    plan = json.loads(case["plan"])
    rungs = Policy().rungs(case["id"], "insufficient_funds", row()["last_failed_at"], NOW, None)
    ladder = [rung.at for rung in rungs]
    assert case["policy_version"] == "ladder-1+timing:v1"
    assert [datetime.fromisoformat(at).hour for at in plan["retries"]] == [18] * len(ladder)
    assert plan["rungs"] == [at.isoformat() for at in ladder]
    assert plan["chances"] == [0.9] * len(ladder)
    assert case["due_at"] == datetime.fromisoformat(plan["retries"][0])
    assert case["plan_ends_at"] == datetime.fromisoformat(plan["retries"][-1]) + timedelta(days=7)


@pytest.mark.parametrize("how", ["raises", "too few", "too short", "no number", "no chance"])
def test_a_model_that_fails_keeps_nobody_from_being_planned(ledger: Ledger, how: str) -> None:
    result = enrol(ledger, failed_table(row()), now=NOW, policy=Policy(foresight=Broken(how)))
    case = case_of(ledger)
    assert (result.created, case["policy_version"]) == (1, "ladder-1")
    assert len(result.notices) == 1
    assert result.notices[0].startswith("model broken failed: ")
    assert set(json.loads(case["plan"])) == {"retries", "messages", "max_attempts", "sequence"}


def test_a_model_without_an_opinion_leaves_the_ladder(ledger: Ledger) -> None:
    result = enrol(ledger, failed_table(row()), now=NOW, policy=Policy(foresight=Silent(1)))
    case = case_of(ledger)
    assert (case["policy_version"], result.notices) == ("ladder-1", ())
    assert (
        Plan.of(case["plan"]).times
        == Policy()
        .placed(Policy().rungs(case["id"], "insufficient_funds", row()["last_failed_at"], NOW, None), None)
        .times
    )


def test_promoted_and_rolled_back_open_cases_are_planned_anew_once(ledger: Ledger) -> None:
    table = failed_table(row())
    enrol(ledger, table, now=NOW, policy=Policy())
    ladder = case_of(ledger)
    for policy, version, hour in (
        (Policy(foresight=Likes(18)), "ladder-1+timing:v1", 18),
        (Policy(foresight=Likes(5, "v2")), "ladder-1+timing:v2", 5),
    ):
        assert enrol(ledger, table, now=NOW, policy=policy).replanned == 1
        case = case_of(ledger)
        plan = Plan.of(case["plan"])
        assert (case["policy_version"], {at.hour for at in plan.times}) == (version, {hour})
        assert plan.rungs == Plan.of(ladder["plan"]).times, "the rungs do not wander from model to model"
        assert case["due_at"] == plan.times[0]
        asked = policy.foresight.asked  # type: ignore[union-attr]
        assert enrol(ledger, table, now=NOW, policy=policy).unchanged == 1
        assert policy.foresight.asked == asked, "what is planned already is not asked again"  # type: ignore[union-attr]
    broken = Policy(trouble=["the timing model cannot be used"])
    assert enrol(ledger, table, now=NOW, policy=broken).unchanged == 1
    assert enrol(ledger, table, now=NOW, policy=Policy(foresight=Broken("raises"))).unchanged == 1
    assert enrol(ledger, table, now=NOW, policy=Policy()).replanned == 1
    back = case_of(ledger)
    assert Plan.of(back["plan"]).times == Plan.of(ladder["plan"]).times
    assert (back["policy_version"], back["due_at"]) == ("ladder-1", ladder["due_at"])
    assert enrol(ledger, table, now=NOW, policy=Policy()).unchanged == 1
    with ledger.read() as connection:
        told = connection.execute(
            select(case_event.c.detail).where(case_event.c.kind == "replanned")
        ).scalars()
        assert next(iter(told)) == "planned by ladder-1+timing:v1, before by ladder-1"


@pytest.mark.parametrize(
    "situation", ["due", "put off by a cap", "just tried", "no tries left", "waiting for a person"]
)
def test_what_waits_is_not_planned_anew(ledger: Ledger, situation: str) -> None:
    table = failed_table(row())
    enrol(ledger, table, now=NOW, policy=Policy())
    case = case_of(ledger)
    now, values = NOW, {}
    if situation == "due":
        now = case["due_at"] + HOUR
    elif situation == "put off by a cap":
        values = {"due_at": case["due_at"] + 7 * HOUR}
    elif situation == "no tries left":
        values = {"due_at": case["plan_ends_at"], "executed_attempts": case["max_attempts"]}
    elif situation == "waiting for a person":
        values = {"state": "needs_human", "due_at": None}
    else:
        table = failed_table(row(wait_hours=500.0))
    if values:
        with ledger.write() as connection:
            connection.execute(recovery_case.update().values(**values))
    before = case_of(ledger)
    assert enrol(ledger, table, now=now, policy=Policy(foresight=Likes(3))).unchanged == 1
    assert case_of(ledger) == before


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(
    dealt=st.lists(st.lists(st.floats(0, 1), max_size=90), min_size=1, max_size=4),
    passed_hours=st.lists(st.integers(0, 90), min_size=4, max_size=4),
    category=st.sampled_from(sorted(LADDER_DAYS)),
)
def test_however_often_models_come_and_go_nothing_moves_into_the_past_or_before_a_wait(
    dealt: list[list[float]], passed_hours: list[int], category: str
) -> None:
    from tinko_pipelines.retry import replan

    failed = NOW - 3 * HOUR
    known = failed_row("pi_1", category=category, first_failed_at=failed, last_failed_at=failed)
    rungs = Policy().rungs("case", category, failed, NOW, None)
    plan = Plan.new(Policy().placed(rungs, None), ())
    case: dict[str, Any] = {
        "plan": plan.text(),
        "due_at": plan.times[0],
        "executed_attempts": 0,
        "max_attempts": len(plan.times),
    }
    now = NOW
    for number, scores in enumerate(dealt):
        now += passed_hours[number] * HOUR
        policy = Policy(foresight=Dealt(scores)) if scores else Policy()
        places = replan.movable(case, known, None, now, policy)
        standing = replan.standing_rungs(case, known, places, now)
        (chances,) = policy.foresee([(known, standing)])
        made = replan.moved(case, places, standing, chances, policy) if places else Plan.of(case["plan"])
        assert len(made.times) == len(plan.times)
        assert all(later - earlier >= SPACING for earlier, later in pairwise(made.times))
        for number_in_plan, (at, rung) in enumerate(zip(made.times, plan.times, strict=True)):
            assert abs(at - rung) <= SHIFT_HOURS * HOUR
            if number_in_plan in places:
                assert at > now
                assert at >= failed + timedelta(hours=24.5)
        again = replan.moved({**case, "plan": made.text()}, places, standing, chances, policy)
        assert again == made
        case |= {"plan": made.text(), "due_at": made.times[places[0]] if places else case["due_at"]}


def test_a_new_card_is_tried_at_once_and_later_at_the_best_hours(ledger: Ledger) -> None:
    enrol(ledger, failed_table(row()), now=NOW, policy=Policy(foresight=Likes(18)))
    later = NOW + timedelta(hours=2)
    changed = failed_table(row(payment_method_id="pm_other", card_fingerprint="fp_other"))
    enrol(ledger, changed, now=later, policy=Policy(foresight=Likes(18)))
    case = case_of(ledger)
    plan = Plan.of(case["plan"])
    assert case["due_at"] == plan.times[0] == later
    assert [at.hour for at in plan.times[1:]] == [18, 18]
    assert plan.chances == (None, 0.9, 0.9)
    assert all(after - before >= SPACING for before, after in pairwise(plan.times))
    assert case["policy_version"] == "ladder-1+timing:v1"


def test_the_retry_is_made_at_the_models_hour(shop: Shop) -> None:
    made = shop.stripe.fixture("failed_invoice", codes=passing_later(shop))
    shop.refresh()
    app = shop.app
    enrol(
        app.ledger,
        app.lake.read_derived("verdicts", "tinko plan"),
        now=app.clock.now(),
        policy=replace(app.policy(app.clock.now()), foresight=Likes(18)),
    )
    shop.until_due(made["invoice"])
    app.drain(owner="test")
    (attempt,) = shop.attempts(made["invoice"])
    assert (attempt["state"], attempt["called_at"].hour) == ("succeeded", 18)
