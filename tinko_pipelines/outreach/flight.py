"""Doing several things at once and still in order: what is looked at ahead, what is under way, and how fast it may go."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Pace:
    """Lets through so many a second, evenly; all at once without a number."""

    def __init__(self, per_second: float | None) -> None:
        self._gap_seconds = 1 / per_second if per_second else 0.0
        self._next_at = 0.0

    @property
    def wait_seconds(self) -> float:
        """How long `wait` would take now."""
        return max(0.0, self._next_at - time.monotonic())

    def wait(self) -> None:
        """Until it is the next one's turn."""
        now = time.monotonic()
        if self._next_at > now:
            time.sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + self._gap_seconds


class Flight:
    """At most `most` calls under way; what they return is handed on, what they raise is raised."""

    def __init__(self, pool: Executor | None, most: int) -> None:
        self._pool, self.most = pool, most
        self._under_way: set[Future[Any]] = set()

    def start(self, work: Callable[..., R], *given: Any) -> Future[R]:
        """Begin a call; with no pool it is over when this returns."""
        if self._pool is not None:
            return self._pool.submit(work, *given)
        over: Future[R] = Future()
        try:
            over.set_result(work(*given))
        except Exception as error:
            over.set_exception(error)
        return over

    def add(self, work: Callable[..., Any], *given: Any) -> None:
        """Begin a call that `finished` tells of."""
        self._under_way.add(self.start(work, *given))

    def finished(self, *, room: bool) -> list[Any]:
        """What calls have returned that are over: those it takes for another to have room, or all."""
        returned: list[Any] = []
        while self._under_way and not (room and len(self._under_way) < self.most):
            over, self._under_way = wait(self._under_way, return_when=FIRST_COMPLETED)
            returned += [one.result() for one in over]
        return returned


@contextmanager
def in_flight(most: int) -> Iterator[Flight]:
    """A flight whose calls are all over when this ends; one at a time needs no thread."""
    if most == 1:
        yield Flight(None, 1)
        return
    with ThreadPoolExecutor(most) as pool:
        yield Flight(pool, most)


def ahead(flight: Flight, work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, Future[R]]]:
    """Each item with its call, in order, while as many as the flight takes are under way ahead of it."""
    begun: deque[tuple[T, Future[R]]] = deque()
    for item in items:
        begun.append((item, flight.start(work, item)))
        if len(begun) >= flight.most:
            yield begun.popleft()
    while begun:
        yield begun.popleft()
