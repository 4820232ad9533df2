"""Doing all that is due: webhook inbox, unsettled attempts, retries; safe to start twice and to kill at any point."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.exc import OperationalError

from tinko_pipelines.clock import Clock
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger import claims
from tinko_pipelines.ledger.control import charging_allowed
from tinko_pipelines.ledger.store import Ledger, collided, repeated
from tinko_pipelines.retry import breaker, inbox, janitor
from tinko_pipelines.retry.charge import Boundary, Run, retry
from tinko_pipelines.retry.due import anything_due

LEASE_SECONDS = 180.0
"""Longer than every call of one attempt at its time-out."""
CLAIM_AT_ONCE = 50
_MOST_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class DrainResult:
    """What one drain did; `due` is what a dry run would have begun."""

    called: int = 0
    succeeded: int = 0
    declined: int = 0
    processing: int = 0
    requires_action: int = 0
    unknown: int = 0
    abandoned: int = 0
    refused: int = 0
    exhausted: int = 0
    closed: int = 0
    failed: int = 0
    skipped: int = 0
    settled: int = 0
    looked: int = 0
    due: int = 0

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def drain(
    ledger: Ledger,
    gateway: Gateway,
    clock: Clock,
    *,
    workers: int,
    max_seconds: float,
    owner: str,
    dry_run: bool,
    boundary: Boundary | None = None,
    lease_seconds: float = LEASE_SECONDS,
    limits: breaker.Limits | None = None,
) -> DrainResult:
    """Work until nothing is due, `max_seconds` are over, or charging goes so wrong that it is stopped."""
    now = clock.now()
    if dry_run:
        return DrainResult(due=anything_due(ledger, now, gateway.account_id, gateway.livemode).retries)
    run = Run(
        ledger,
        gateway,
        clock,
        owner,
        lease_seconds,
        boundary or (lambda _name: None),
        time.monotonic() + max_seconds,
    )
    repeated(lambda: inbox.mark(ledger, now))
    half_time = time.monotonic() + max_seconds / 2
    looked = repeated(lambda: inbox.look_at_marked(ledger, gateway, now, until=half_time))
    tally = Counter(looked=looked)
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="drain") as pool:
        tried: set[str] = set()
        for _ in range(_MOST_ROUNDS):
            unsettled = janitor.waiting(ledger, now, gateway.account_id, gateway.livemode)
            pending = [name for name in unsettled if name not in tried]
            tried.update(pending)
            settled = _spread(pool, workers, run, [partial(_tidy, run, name) for name in pending])
            tally["settled"] += sum(count for state, count in settled.items() if state != "skipped")
            retried = _Turns(run, pool, workers, limits or breaker.Limits()).all_due(now)
            tally.update(retried)
            if not (pending or retried) or time.monotonic() > run.deadline:
                break
    called = ("succeeded", "declined", "processing", "requires_action", "unknown")
    tally["called"] = sum(tally[state] for state in called)
    return DrainResult(**tally)


def _spread(
    pool: ThreadPoolExecutor, workers: int, run: Run, jobs: Iterable[Callable[[], str]]
) -> Counter[str]:
    tally: Counter[str] = Counter()
    flying: set[Future[str]] = set()
    for job in jobs:
        if time.monotonic() > run.deadline:
            break
        flying.add(pool.submit(job))
        if len(flying) >= workers * 2:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            tally.update(future.result() for future in done)
    tally.update(future.result() for future in flying)
    return tally


def _tidy(run: Run, attempt_id: str) -> str:
    try:
        return janitor.resolve(
            run.ledger, run.gateway, attempt_id, run.clock, run.owner, run.lease_seconds, run.boundary
        )
    except OperationalError as error:
        if collided(error):
            return "skipped"  # It is looked at again when its lease has lapsed.
        raise


class _Turns:
    """Keeps the workers busy with claimed cases, those of one payer one after the other.

    They share cards and caps, so which of them is first must be no accident of threads.
    """

    def __init__(self, run: Run, pool: ThreadPoolExecutor, workers: int, limits: breaker.Limits) -> None:
        self._run, self._pool, self._workers, self._limits = run, pool, workers, limits
        self._news, self._stopped = limits.declines, False
        self._lines: dict[str, deque[str]] = {}
        self._ready: deque[str] = deque()
        self._flying: dict[Future[str], str] = {}
        self._last: claims.Claim | None = None
        self._more = True

    def all_due(self, now: datetime) -> Counter[str]:
        """Retry what is due at `now`; how many ended in which state. What there is no time for stays due."""
        tally: Counter[str] = Counter()
        try:
            while True:
                in_time = self._may_go_on(now)
                if in_time and self._more and len(self._ready) < self._workers:
                    self._claim(now)
                while in_time and self._ready and len(self._flying) < self._workers:
                    payer = self._ready.popleft()
                    future = self._pool.submit(retry, self._run, self._lines[payer].popleft())
                    self._flying[future] = payer
                if not self._flying:
                    return tally
                done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
                for future in done:
                    payer = self._flying.pop(future)
                    if self._lines[payer]:
                        self._ready.append(payer)
                    else:
                        del self._lines[payer]
                    state = future.result()
                    tally[state] += 1
                    self._news += self._limits.declines if state == "unknown" else 1
        finally:
            self._release()

    def _may_go_on(self, now: datetime) -> bool:
        """Whether charging is stopped for no reason, asked again whenever there is news for the breaker."""
        if self._news >= self._limits.declines:
            self._news = 0
            account = self._run.gateway.account_id
            found = repeated(lambda: breaker.judge(self._run.ledger, account, now, self._limits))
            self._stopped = found is not None
        return not self._stopped and time.monotonic() <= self._run.deadline

    def _claim(self, now: datetime) -> None:
        found = repeated(lambda: self._claimed(now))
        self._more = len(found) == CLAIM_AT_ONCE
        for claim in found:
            self._last = claim
            if claim.payer not in self._lines:
                self._lines[claim.payer] = deque()
                self._ready.append(claim.payer)
            self._lines[claim.payer].append(claim.case_id)

    def _release(self) -> None:
        left = [case_id for line in self._lines.values() for case_id in line]
        if left:
            repeated(lambda: self._give_back(left))

    def _claimed(self, now: datetime) -> list[claims.Claim]:
        run = self._run
        with run.ledger.write(durable=False) as connection:
            if not charging_allowed(connection, run.gateway.account_id, now):
                return []
            return claims.claim_due(
                run.ledger,
                connection,
                account_id=run.gateway.account_id,
                livemode=run.gateway.livemode,
                now=now,
                owner=run.owner,
                limit=CLAIM_AT_ONCE,
                lease_seconds=run.lease_seconds,
                after=self._last,
            )

    def _give_back(self, left: list[str]) -> None:
        with self._run.ledger.write(durable=False) as connection:
            claims.release(connection, left, self._run.owner)
