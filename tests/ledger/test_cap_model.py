"""Any history and any rules: the trigger and the code decide as a plain model of rolling windows does."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.fake_stripe import NOW
from tests.ledger.rows import add_attempt, add_rule, add_seen, attempt_values, hours, refusal, undone
from tinko_pipelines.ledger import caps
from tinko_pipelines.ledger.store import Ledger

UNRESOLVED = ("prepared", "calling", "processing", "requires_action", "unknown")
KEYS = {
    "fingerprint": ("card_fingerprint",),
    "fingerprint_amount": ("card_fingerprint", "amount_minor", "currency"),
    "customer": ("customer_id",),
    "account": (),
}


@dataclass(frozen=True)
class Past:
    """Something that was tried: at Stripe (`state` is None) or by an attempt of ours."""

    at: datetime
    state: str | None
    declined: bool
    card_fingerprint: str | None
    customer_id: str | None
    amount_minor: int
    currency: str
    account_id: str

    def named(self) -> dict[str, object]:
        names = ("card_fingerprint", "customer_id", "amount_minor", "currency", "account_id")
        return {name: getattr(self, name) for name in names}

    def counts_for(self, keyed_by: str) -> bool:
        if keyed_by == "account":
            return self.state not in (None, "abandoned")
        return self.declined if self.state is None else self.state in UNRESOLVED


@dataclass(frozen=True)
class Cap:
    keyed_by: str
    most: int
    window_hours: int
    network: str
    begins_in: int
    ends_in: int | None

    def refuses(self, new: Past, history: list[Past]) -> bool:
        holds = self.begins_in <= 0 and (self.ends_in is None or self.ends_in > 0)
        names = KEYS[self.keyed_by]
        if not holds or self.network not in ("any", "visa"):
            return False
        if any(getattr(new, name) is None for name in names):
            return False
        same = [
            past
            for past in history
            if past.counts_for(self.keyed_by)
            and past.at > new.at - hours(self.window_hours)
            and all(getattr(past, name) == getattr(new, name) for name in ("account_id", *names))
        ]
        return len(same) >= self.most


MOMENTS = st.one_of(
    st.integers(-50, 5).map(lambda number: NOW + hours(number)),
    st.integers(-50 * 3_600_000_000, 0).map(lambda number: NOW + timedelta(microseconds=number)),
)
TRIED = {
    "declined": st.sampled_from([True, True, False]),
    "card_fingerprint": st.sampled_from(["card", "card", "card", "other", None]),
    "customer_id": st.sampled_from(["cus", "cus", "other", None]),
    "amount_minor": st.sampled_from([1000, 1000, 5]),
    "currency": st.sampled_from(["usd", "usd", "eur"]),
    "account_id": st.sampled_from(["default", "default", "default", "other"]),
}
STATES = st.sampled_from([None, None, *UNRESOLVED, "succeeded", "declined", "abandoned"])
HISTORIES = st.lists(st.builds(Past, at=MOMENTS, state=STATES, **TRIED), max_size=8)
CAPS = st.lists(
    st.builds(
        Cap,
        keyed_by=st.sampled_from(sorted(KEYS)),
        most=st.integers(0, 4),
        window_hours=st.sampled_from([1, 24, 30, 48]),
        network=st.sampled_from(["any", "any", "visa", "mastercard"]),
        begins_in=st.sampled_from([-9999, -1, 0, 1]),
        ends_in=st.sampled_from([None, None, 0, 1]),
    ),
    max_size=3,
)
NEW = st.builds(Past, at=st.just(NOW), state=st.just("prepared"), **TRIED)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(history=HISTORIES, rules=CAPS, new=NEW)
def test_trigger_and_code_decide_as_the_model(
    untouched: Ledger, history: list[Past], rules: list[Cap], new: Past
) -> None:
    expected = any(rule.refuses(new, history) for rule in rules)
    event("refused" if expected else "let through")
    with undone(untouched) as connection:
        for number, past in enumerate(history):
            if past.state is None:
                add_seen(connection, f"ch_{number}", past.at, declined=past.declined, **past.named())
            else:
                add_attempt(connection, f"past_{number}", past.at, past.state, **past.named())
        for number, rule in enumerate(rules):
            valid_until = None if rule.ends_in is None else NOW + hours(rule.ends_in)
            add_rule(
                connection, rule.keyed_by, rule.most, rule.window_hours, rule=f"r{number}",
                network=rule.network, valid_from=NOW + hours(rule.begins_in), valid_until=valid_until,
            )  # fmt: skip
        wanted = attempt_values("new", NOW, **new.named())
        found = caps.reached(connection, wanted, NOW)
        assert (found is not None) == expected
        if found is not None and all(
            rule.most and rule.begins_in <= 0 and not rule.ends_in for rule in rules
        ):
            assert found.free_at > NOW
            assert caps.reached(connection, wanted, found.free_at) is None
            still = caps.reached(connection, wanted, found.free_at - timedelta(microseconds=1))
            assert still == found
        assert (refusal(lambda: add_attempt(connection, "new", NOW, **new.named())) is not None) == expected
