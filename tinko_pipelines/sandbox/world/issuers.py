"""What hides behind a decline: paydays, outages, dead cards, moody issuers. One pure function decides.

Nothing here is visible through Stripe except by its answers, and nothing here remembers an earlier attempt.
"""

import math
from datetime import UTC, datetime

from tinko_pipelines.sandbox.ports import EPOCH, CardTruth, Decision
from tinko_pipelines.sandbox.world.answers import APPROVED, NO_MORE, blocked, declined, mastercard_wait
from tinko_pipelines.sandbox.world.draw import DAY, HOUR, pick, uniform

FRESH = "fresh:"
"""Keys of cards that replace a broken one start so: they are in order, and their holder has money."""

DEATHS_BEGIN = EPOCH - 120 * DAY
DEATHS_A_MONTH = 0.0135
DEATH_CAUSES = (
    ("transaction_not_allowed", 0.33),
    ("incorrect_number", 0.18),
    ("previously_declined_do_not_retry", 0.19),
    ("invalid_account", 0.12),
    ("lost_card", 0.09),
    ("stolen_card", 0.07),
    ("pickup_card", 0.05),
)
OUTAGE_CODES = (("try_again_later", 0.6), ("issuer_not_available", 0.22), ("processing_error", 0.18))
STRICT_COUNTRIES = frozenset({"GB", "DE", "FR", "NL", "ES", "IE"})
USD_PER_MINOR = {"usd": 0.01, "eur": 0.011, "gbp": 0.013, "jpy": 0.0068}


def decide(
    seed: int, card: CardTruth, at: int, amount_minor: int, currency: str, off_session: bool
) -> Decision:
    """The answer to one authorization; the causes are asked in the order in which they would strike."""
    hour = at // HOUR
    fresh = card.key.startswith(FRESH)
    dead_of = None if fresh else cause_of_death(seed, card.key, at)
    if not fresh and _blocked_for_risk(seed, card, at):
        return blocked("highest_risk_level")
    if dead_of == "previously_declined_do_not_retry":
        return blocked(dead_of)
    if is_expired(card, at):
        return declined("expired_card", card.network, "01")
    outage = _outage(seed, card, hour)
    if outage is not None:
        return declined(outage, card.network, "02")
    if dead_of is not None:
        return declined(dead_of, card.network, _advice_of_dead(seed, card, dead_of))
    if off_session and _wants_confirmation(seed, card, at):
        return declined("authentication_required", card.network, "01")
    if uniform(seed, "velocity", card.key, at // DAY) < 0.0012:
        return declined("card_velocity_exceeded", card.network, "02")
    if not fresh:
        short_hours = hours_until_funds(seed, card.key, at, amount_minor * USD_PER_MINOR.get(currency, 0.01))
        if short_hours > 0:
            return declined(
                "insufficient_funds", card.network, _advice_of_short(seed, card, hour, short_hours)
            )
    mood = _mood(seed, card, hour)
    return APPROVED if mood is None else declined(mood, card.network, "02")


def cause_of_death(seed: int, key: str, at: int) -> str | None:
    """Why the card is dead for good at that moment, or None while it lives."""
    months = -math.log(1.0 - uniform(seed, "death", key)) / DEATHS_A_MONTH
    if at < DEATHS_BEGIN + months * 30 * DAY:
        return None
    return pick(DEATH_CAUSES, uniform(seed, "death-cause", key))


def is_expired(card: CardTruth, at: int) -> bool:
    """Whether the last day of the card's printed month is over."""
    moment = datetime.fromtimestamp(at, UTC)
    return (moment.year, moment.month) > (card.exp_year, card.exp_month)


def hours_until_funds(seed: int, key: str, at: int, amount_usd: float) -> float:
    """Hours until the holder's account covers the amount again; 0 if it does now.

    Who lives from payday to payday runs short some days before the next one, sooner for a larger amount; a
    few cycles are short from end to end, and for some holders most of them are.
    """
    if uniform(seed, "tight", key) >= 0.26:
        return 0.0
    payday, cycle_days = next_payday(seed, key, at)
    chronic = uniform(seed, "chronic", key) < 0.2
    if uniform(seed, "short", key, payday) >= (0.9 if chronic else 0.42):
        return 0.0
    broke = uniform(seed, "broke", key, payday) < (0.65 if chronic else 0.08)
    share = 1.0 if broke else 0.6 * uniform(seed, "days", key, payday)
    share *= min(1.5, max(0.7, 0.7 + amount_usd / 100.0))
    left = payday - at
    return left / HOUR if left <= share * cycle_days * DAY else 0.0


def next_payday(seed: int, key: str, at: int) -> tuple[int, float]:
    """When the holder is paid next, and how many days lie between his paydays."""
    habit = pick(((1, 0.36), (15, 0.2), (25, 0.22), (0, 0.22)), uniform(seed, "payday", key))
    arrives = int(5 * HOUR + uniform(seed, "arrives", key) * 5 * HOUR)
    if habit == 0:
        friday = (at - arrives) // DAY + 1
        while (friday + 3) % 7 != 4:  # 1970-01-01 was a Thursday, day 3 of its week
            friday += 1
        return friday * DAY + arrives, 7.0
    moment = datetime.fromtimestamp(at, UTC)
    year, month = moment.year, moment.month
    for _ in range(3):
        payday = int(datetime(year, month, habit, tzinfo=UTC).timestamp()) + arrives
        if payday > at:
            break
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return payday, 30.4


def _blocked_for_risk(seed: int, card: CardTruth, at: int) -> bool:
    risky = uniform(seed, "risky", card.key) < 0.035
    return risky and uniform(seed, "risk", card.key, at // (3 * DAY)) < 0.24


def _outage(seed: int, card: CardTruth, hour: int) -> str | None:
    for day in (hour // 24, hour // 24 - 1):
        if uniform(seed, "outage", card.issuer, day) >= 0.022:
            continue
        begins = day * 24 + int(uniform(seed, "begins", card.issuer, day) * 24)
        lasts = 2 + int(uniform(seed, "lasts", card.issuer, day) ** 2 * 22)
        if begins <= hour < begins + lasts and uniform(seed, "hit", card.key, hour) < 0.75:
            return pick(OUTAGE_CODES, uniform(seed, "outage-code", card.issuer, day))
    return None


def _wants_confirmation(seed: int, card: CardTruth, at: int) -> bool:
    if card.country not in STRICT_COUNTRIES or uniform(seed, "strict", card.key) >= 0.06:
        return False
    return uniform(seed, "confirm", card.key, at // (30 * DAY)) < 0.14


def _mood(seed: int, card: CardTruth, hour: int) -> str | None:
    fussy = uniform(seed, "fussy", card.key) < (0.0 if card.key.startswith(FRESH) else 0.16)
    chance = 0.003
    if fussy:
        chance = 0.02 + 0.05 * uniform(seed, "temper", card.key)
        if uniform(seed, "sulks", card.key, hour // 96) < 0.045:
            chance = 0.8
    if uniform(seed, "mood", card.key, hour) >= chance:
        return None
    return pick((("do_not_honor", 0.57), ("generic_decline", 0.43)), uniform(seed, "words", card.key))


def _advice_of_dead(seed: int, card: CardTruth, cause: str) -> str:
    if cause == "transaction_not_allowed":
        return "21" if uniform(seed, "mac", card.key) < 0.35 else "03"
    return "03" if cause in NO_MORE else "01"


def _advice_of_short(seed: int, card: CardTruth, hour: int, short_hours: float) -> str | None:
    number = uniform(seed, "mac", card.issuer)
    if number < 0.3:
        return None
    if number < 0.45:
        return "02"
    guess = short_hours * (0.5 + uniform(seed, "guess", card.key, hour))
    return mastercard_wait(guess)
