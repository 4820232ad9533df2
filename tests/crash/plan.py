"""What one trial is to be, all of it from the campaign's seed and the trial's number."""

import random
from dataclasses import dataclass

from tinko_pipelines.sandbox.handicaps import MODES

DATABASES = ("sqlite", "postgresql")
WORKERS = (1, 2, 1, 4)
FAULT_KINDS = (
    "error_before",
    "error_after",
    "reset_before",
    "reset_after",
    "hang",
    "latency",
    "late",
    "rate_limit",
    "conflict",
    "malformed",
    "truncated",
    "html",
    "bad_gateway",
)
TIMEOUT_SECONDS = 0.8
"""Of HTTP in trials; every lease is far longer. `hang` did the work at once, `late` does it after we gave up."""
LEASE_SECONDS = 180.0
RECORDING = 8
"""So many trials at a campaign's beginning kill nobody: they tell which points there are."""
BEHAVIOURS = {
    "passes": 9,
    "never": 1,
    "passes_late": 1,
    "lost": 1,
    "authentication": 1,
    "action": 1,
    "processing": 2,
    "customer_only": 1,
}
DEEDS = ("pay", "cancel", "delete", "reorder", "refund", "dispute")
TOLD = ("pay_and_tell", "pay_and_wait")
"""In the middle of a retry: paid, and the webhook has been read; paid, and a minute and a half go by."""
CALL = r"_call\|POST .*(confirm|pay)\|"
MOMENTS = (
    r"preflight\._debt\|GET .*\|before",
    r"preflight\._debt\|GET .*\|after",
    r"charge\._tag\|POST .*\|after",
    CALL + "before",
    CALL + "after",
)
"""Where a customer may act in the middle of a drain: no transaction is open there."""
LAST_LOOKS = (MOMENTS[2], r"preflight>.*\|GET /v1/charges\|after")
"""After the last look at the debt, and before the call is written down."""
SLEEPS = (
    r"preflight\._debt\|GET .*\|after",
    CALL + "before",
    CALL + "after",
    r"_look>.*\|GET .*\|after",
    r"MAIL\|before",
)


@dataclass(frozen=True)
class Happening:
    """Somebody does something to the debt of that number: before a round of work, or at a moment within it."""

    round: int
    deed: str
    debt: int
    moment: str = ""
    skip: int = 0


@dataclass(frozen=True)
class Plan:
    """One trial."""

    seed: int
    number: int
    mode: str
    database: str
    workers: int
    threads: int
    behaviours: tuple[str, ...]
    kinds: tuple[str, ...]
    fault_kinds: tuple[str, ...]
    happenings: tuple[Happening, ...]
    database_dies: bool = False
    lake: bool = False
    targets: tuple[tuple[str, int], ...] = ()
    """Short names of kill points, and at which passing to die there."""
    lease_seconds: float = LEASE_SECONDS
    mutant: str = ""
    faults: tuple[tuple[tuple[str, object], ...], ...] = ()
    """Trouble to be met in each of the first rounds, in place of what chance would choose."""
    fault_rounds: int = 60
    visit: int | None = None
    """The trial that visits this world again, killed elsewhere; None for the world's own trial."""


def plan(seed: int, number: int) -> Plan:
    """The trial of that number."""
    rng = random.Random(f"{seed}:{number}")
    count = rng.choice((7, 7, 7, 8))
    database = DATABASES[(number // 3) % 2]
    workers = WORKERS[(number // 6) % 4]
    behaviours = tuple(rng.choices(list(BEHAVIOURS), list(BEHAVIOURS.values()), k=count))
    kinds = tuple(
        rng.choice(("invoice", "intent", "invoice", "intent", "same_card", "same_customer"))
        for _ in range(count)
    )
    faults = () if rng.random() < 0.2 else tuple(rng.sample(FAULT_KINDS, rng.choice((1, 2, 3))))
    return Plan(
        seed,
        number,
        MODES[number % 3],
        database,
        workers,
        rng.choice((1, 1, 2)),
        behaviours,
        kinds,
        faults,
        tuple(_happenings(rng, count)),
        database_dies=database == "postgresql" and rng.random() < 0.12,
        lake=rng.random() < 0.1,
    )


def _happenings(rng: random.Random, count: int) -> list[Happening]:
    found = []
    for debt in range(count):
        if rng.random() < 0.3:
            deed = rng.choice(("pay", "pay", "new_card", *DEEDS))
            moment = rng.choice(MOMENTS) if deed in DEEDS and rng.random() < 0.5 else ""
            if rng.random() < 0.15:
                deed, moment = rng.choice(TOLD), rng.choice(LAST_LOOKS)
            found.append(Happening(rng.choice((0, 1, 1, 2, 3)), deed, debt, moment, rng.choice((0, 0, 1, 2))))
    if rng.random() < 0.25:
        found.append(
            Happening(
                rng.choice((1, 2)),
                rng.choice(("sleep", "sleep", "visit")),
                -1,
                rng.choice(SLEEPS),
                rng.choice((0, 0, 1, 2)),
            )
        )
    if rng.random() < 0.15:
        found.append(Happening(rng.choice((0, 1, 2)), "pause", -1, rng.choice(("", MOMENTS[1]))))
    if rng.random() < 0.2:
        found.append(Happening(0, "suppress", rng.randrange(count)))
    return found
