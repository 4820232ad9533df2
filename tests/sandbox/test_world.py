"""The world repeats, is natural in its numbers, hides its causes well, and remembers nothing itself."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from tinko_pipelines.sandbox.ports import EPOCH, CardTruth
from tinko_pipelines.sandbox.world import SeededWorld, decide_test_token
from tinko_pipelines.sandbox.world.issuers import next_payday
from tinko_pipelines.sandbox.world.population import first_card, fresh_card, person

DAY = 86_400
ENDS = EPOCH + 28 * DAY


@pytest.fixture(scope="module")
def lived(request):
    cache = {}

    def live(seed, make):
        if seed not in cache:
            cache[seed] = make(SeededWorld(seed, 4_000, 90))
            cache[seed].run(ENDS)
        return cache[seed]

    return live


def test_decisions_depend_on_nothing_but_seed_card_and_hour():
    cards = [first_card(5, person(5, number)) for number in range(300)]
    asked = [(card, EPOCH + day * DAY, 1_900, "usd", True) for card in cards for day in range(0, 28, 3)]
    one, other = SeededWorld(5, 100, 90), SeededWorld(5, 9_000, 30)
    first = [one.decide(*question) for question in asked]
    order = list(range(len(asked)))
    random.Random(1).shuffle(order)
    again = {index: other.decide(*asked[index]) for index in order}
    assert [again[index] for index in range(len(asked))] == first
    assert [SeededWorld(6, 100, 90).decide(*question) for question in asked] != first


def test_approval_noise_is_the_same_within_the_hour():
    world = SeededWorld(5, 100, 90)
    hour = EPOCH + 12 * 3_600  # no payday arrives at noon
    for number in range(300):
        card = first_card(5, person(5, number))
        answers = [
            world.decide(card, hour + second, 1_900, "usd", True).outcome for second in (0, 1_800, 3_599)
        ]
        assert len(set(answers)) == 1


def test_the_same_seed_lives_the_same_life(recorder):
    books = [recorder(SeededWorld(3, 600, 90)) for _ in range(2)]
    for book in books:
        book.run(ENDS)
    assert books[0].debts == books[1].debts
    assert books[0].did == books[1].did


def test_a_world_replaced_midway_goes_on_as_if_nothing_happened(recorder):
    whole, parted = recorder(SeededWorld(3, 600, 90)), recorder(SeededWorld(3, 600, 90))
    whole.run(ENDS)
    for week in range(-12, 5):
        parted.world = SeededWorld(3, 600, 90)
        parted.run(EPOCH + week * 7 * DAY)
    assert parted.debts == whole.debts
    assert parted.did == whole.did


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_size_failure_rate_and_mix_are_natural(seed, lived, recorder):
    book = lived(seed, recorder)
    debts = list(book.debts.values())
    failed = book.failed_first()
    assert 0.85 * 4_000 < len(debts) < 1.15 * 4_000
    assert 0.08 < len(failed) / len(debts) < 0.12
    codes = Counter(debt.attempts[0][1] for debt in failed)
    share = {code: count / len(failed) for code, count in codes.items()}
    assert 0.33 < share["insufficient_funds"] < 0.55
    assert 0.04 < share["transaction_not_allowed"] < 0.15
    assert 0.05 < share["do_not_honor"] + share["generic_decline"] < 0.22
    assert 0.02 < share["highest_risk_level"] < 0.14
    assert 0.02 < share["previously_declined_do_not_retry"] < 0.12
    assert share.get("expired_card", 0) < 0.05
    assert len(codes) >= 12


def test_the_business_is_as_described(lived, recorder):
    book = lived(1, recorder)
    debts = list(book.debts.values())
    one_offs = [debt for debt in debts if debt.subscription is None]
    assert 0.10 < len(one_offs) / len(debts) < 0.20
    currencies = Counter(debt.currency for debt in debts)
    assert set(currencies) == {"usd", "eur", "gbp", "jpy"}
    assert currencies["usd"] > len(debts) / 2
    retried = sum(debt.stripe_retries for debt in debts) / (len(debts) - len(one_offs))
    assert 0.10 < retried < 0.20
    for deed in ("refund", "dispute", "void", "attach_card", "cancel:payment_failed", "pay_on_session"):
        assert book.did[deed] > 0, deed
    assert {locale[:2] for _, _, locale in book.people.values()} >= {"en", "de", "fr"}


def test_renewals_go_on_after_the_measured_days_and_then_stop(recorder):
    book = recorder(SeededWorld(3, 300, 90))
    book.run(EPOCH + 40 * DAY)
    last = max(debt.first[0] for debt in book.debts.values() if debt.subscription)
    assert EPOCH + 35 * DAY < last <= EPOCH + 40 * DAY
    assert not [entry for entry in book.queue if entry[2] == "renewal"]


def test_an_empty_world_does_nothing(recorder):
    book = recorder(SeededWorld(3, 0, 90))
    assert book.queue == []


def test_payday_ends_a_shortage():
    world = SeededWorld(2, 100, 90)
    seen = 0
    for number in range(600):
        card = first_card(2, person(2, number))
        if world.decide(card, EPOCH, 1_900, "usd", True).decline_code != "insufficient_funds":
            continue
        payday, _ = next_payday(2, card.key, EPOCH)
        assert EPOCH < payday <= EPOCH + 33 * DAY
        after = world.decide(card, payday + 3_600, 1_900, "usd", True)
        seen += after.decline_code != "insufficient_funds"
    assert seen > 8


def test_paydays_of_a_month_fall_on_their_days():
    days = {datetime.fromtimestamp(next_payday(2, f"p{n}", EPOCH + 3 * DAY)[0], UTC).day for n in range(200)}
    assert {1, 15, 25} <= days


def test_lost_cards_stay_dead_and_replacements_work():
    world = SeededWorld(4, 100, 90)
    dead = {"lost_card", "stolen_card", "invalid_account", "transaction_not_allowed", "pickup_card"}
    for number in range(1_500):
        card = first_card(4, person(4, number))
        if world.decide(card, EPOCH, 900, "usd", True).decline_code in dead:
            later = [world.decide(card, EPOCH + day * DAY, 900, "usd", True) for day in range(1, 60)]
            assert all(answer.outcome == "declined" for answer in later)
    fresh = [fresh_card(4, "US", number) for number in range(300)]
    approved = sum(world.decide(card, EPOCH, 900, "usd", True).outcome == "approved" for card in fresh)
    assert approved > 285


def test_every_decline_is_spelled_whole(lived, recorder):
    for debt in lived(1, recorder).failed_first():
        _, card, answer = debt.first
        assert answer.outcome == "declined"
        assert answer.failure_code and answer.decline_code and answer.message
        if answer.outcome_type == "blocked":
            assert answer.network_status == "not_sent_to_network"
            assert answer.network_decline_code is None
            assert answer.network_advice_code is None
        else:
            assert (answer.outcome_type, answer.network_status) == ("issuer_declined", "declined_by_network")
            assert answer.advice_code in {"confirm_card_data", "do_not_try_again", "try_again_later"}
            assert answer.network_decline_code
        if card.network != "mastercard":
            assert answer.network_advice_code is None
        if answer.network_advice_code in {"24", "25", "26", "27", "28", "29", "30"}:
            assert answer.network_decline_code == "51"


def test_mails_move_some_customers_and_never_pay_twice(recorder):
    world = SeededWorld(9, 3_000, 90)
    book = recorder(world)
    book.run(EPOCH)
    owed = [name for name, debt in book.debts.items() if debt.state == "open"]
    for step in range(3):
        for name in owed:
            if book.is_open(name):
                world.mail_delivered(book, book.customer_of(name), name, f"{name}:{step}")
        book.run(EPOCH + (step + 1) * 4 * DAY)
    needs_card = [
        name
        for name in owed
        if book.debts[name].attempts[0][1] in {"lost_card", "invalid_account", "transaction_not_allowed"}
    ]
    paid = sum(book.is_paid(name) for name in needs_card) / len(needs_card)
    assert 0.12 < paid < 0.45
    for debt in book.debts.values():
        assert [outcome for _, outcome in debt.attempts].count("approved") <= 1


def test_what_a_mail_does_is_a_function_of_customer_and_message(recorder):
    def visits(world):
        book = recorder(world)
        book.queue.clear()
        for number in range(200):
            world.mail_delivered(book, f"cus_{number}", f"in_{number}", f"m{number}")
        return sorted((at, kind, payload["debt"]) for at, _, kind, payload in book.queue)

    assert visits(SeededWorld(9, 10, 90)) == visits(SeededWorld(9, 8_000, 30))
    assert 10 < len(visits(SeededWorld(9, 10, 90))) < 60


@pytest.mark.parametrize(
    ("token", "code", "outcome_type"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline", "issuer_declined"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds", "issuer_declined"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card", "issuer_declined"),
        ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card", "issuer_declined"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "issuer_declined"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "issuer_declined"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "issuer_declined"),
        ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded", "issuer_declined"),
        ("pm_card_chargeCustomerFail", "generic_decline", "issuer_declined"),
        ("tok_chargeCustomerFail", "generic_decline", "issuer_declined"),
        ("pm_card_authenticationRequired", "authentication_required", "issuer_declined"),
        ("pm_card_radarBlock", "highest_risk_level", "blocked"),
        ("pm_card_visa", None, "authorized"),
        ("pm_card_mastercard", None, "authorized"),
    ],
)
def test_test_tokens_do_what_is_documented(token, code, outcome_type):
    answer = decide_test_token(token)
    assert (answer.decline_code, answer.outcome_type) == (code, outcome_type)


def test_a_test_token_overrides_the_world_and_is_confirmed_by_a_present_customer():
    card = CardTruth(
        key="t", brand="visa", network="visa", funding="credit", country="US", exp_month=1, exp_year=2020,
        fingerprint="f", last4="3184", issuer="us-bank-0", test_token="pm_card_authenticationRequired",
    )  # fmt: skip
    world = SeededWorld(1, 10, 90)
    assert world.decide(card, EPOCH, 900, "usd", True).decline_code == "authentication_required"
    assert world.decide(card, EPOCH, 900, "usd", False).outcome == "requires_action"


def test_unknown_happenings_and_negative_sizes_are_refused(recorder):
    world = SeededWorld(1, 10, 90)
    with pytest.raises(ValueError, match="no happening"):
        world.handle(recorder(world), "eclipse", {})
    with pytest.raises(ValueError, match="count up from 0"):
        SeededWorld(1, -1, 90)
