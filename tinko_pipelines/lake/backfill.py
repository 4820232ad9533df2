"""Reading ranges by several threads at once, and remembering after each few pages what is left.

The threads only read. One place keeps the pages, brings them on their way into the tables and writes down what is
left: so a run that dies at any moment has lost the pages in flight and nothing else.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from tinko_pipelines.gateway.bulk import CursorGoneError, NotOfferedError
from tinko_pipelines.gateway.page import last_id
from tinko_pipelines.lake.columns import page_decoder
from tinko_pipelines.lake.intake import Intake
from tinko_pipelines.lake.parse import LATEST
from tinko_pipelines.lake.ranges import Place, Range, largest

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader
    from tinko_pipelines.gateway.page import Page

WORKERS_WITHOUT_LIMIT = 8
QUEUE_MOST = 16
KEPT_AT_ONCE = 16
MARGIN = 1.3
"""More workers than limit × latency, since they also wait for each other."""
LATENCY_FIRST_SECONDS = 0.1
"""What Stripe takes for a page, until it is known."""
_LATENCIES = 50
IDLE_SECONDS = 0.02
"""Who has waited so long for a page has time to merge what there is."""
_PATIENCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Left:
    """Where a back-fill of an account stands. `covered` is the share of the time that is read, from 0 to 1."""

    account_id: str
    ranges: tuple[Range, ...]
    pages: int
    rows: int
    covered: float
    workers: int


Progress = Callable[[Left], None]


def quiet(left: Left) -> None:
    """For who does not want to know."""


class _Reading:
    """One range under way: as far as it is asked for, and as far as it is kept."""

    def __init__(self, asked: Range) -> None:
        self.asked, self.kept = asked, replace(asked)

    def left(self) -> Range:
        """What is to be read again if everything ended now."""
        return replace(self.kept, gte=self.asked.gte)


@dataclass(frozen=True, slots=True)
class _Arrived:
    reading: _Reading
    page: Page | None
    position: Range
    is_last: bool
    notice: str = ""


class Backfill:
    """Reads ranges into an intake. `kept` is called whenever what is left has changed, after its pages are safe."""

    def __init__(
        self,
        reader: BulkReader,
        intake: Intake,
        ranges: Sequence[Range],
        kept: Progress = quiet,
    ) -> None:
        self._reader, self._intake, self._kept = reader, intake, kept
        self._waiting = [_Reading(one) for one in ranges]
        self._open = list(self._waiting)
        self._running: list[_Reading] = []
        self._seconds = sum(one.seconds_left() for one in ranges) or 1
        self._arrived: queue.Queue[_Arrived | BaseException] = queue.Queue(QUEUE_MOST)
        self._changed = threading.Condition()
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._latencies: list[float] = []
        self._pages = self._rows = 0

    def run(self) -> None:
        """To the end; raises what a reader's thread met, after all that had come before it is kept."""
        try:
            self._grow(self._workers_wanted())
            while self._open:
                self._keep(self._next_few())
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            while any(thread.is_alive() for thread in self._threads):
                self._drain()
                for thread in self._threads:
                    thread.join(_PATIENCE_SECONDS)

    def _drain(self) -> None:
        while not self._arrived.empty():
            self._arrived.get_nowait()

    def _next_few(self) -> list[_Arrived]:
        """What has arrived by now, at least one; what a thread died of is raised after the pages before it are kept."""
        few: list[_Arrived] = []
        while len(few) < KEPT_AT_ONCE:
            try:
                found = self._arrived.get(block=not few, timeout=IDLE_SECONDS)
            except queue.Empty:
                if few:
                    break
                self._intake.use_idle_time()
                continue
            if isinstance(found, BaseException):
                if few:
                    self._keep(few)
                raise found
            few.append(found)
        return few

    def _keep(self, few: Sequence[_Arrived]) -> None:
        pages = [one.page for one in few if one.page is not None]
        self._intake.take(pages)
        with self._changed:
            for one in few:
                one.reading.kept = one.position
                if one.is_last:
                    self._open.remove(one.reading)
                if one.notice:
                    self._intake.notice(one.position.object_name, one.notice)
            self._pages += len(pages)
            self._rows += sum(len(page.data) for page in pages)
            left = self._left()
        self._kept(left)
        self._latencies = (self._latencies + [page.seconds for page in pages])[-_LATENCIES:]
        self._grow(self._workers_wanted())

    def _left(self) -> Left:
        ranges = tuple(one.left() for one in self._open)
        covered = max(0.0, 1 - sum(one.seconds_left() for one in ranges) / self._seconds)
        return Left(self._reader.account_id, ranges, self._pages, self._rows, covered, len(self._threads))

    def _workers_wanted(self) -> int:
        rate = self._reader.requests_per_second
        if rate is None:
            return min(WORKERS_WITHOUT_LIMIT, self._reader.most_at_once)
        latency_seconds = median(self._latencies or [LATENCY_FIRST_SECONDS])
        return max(1, min(math.ceil(rate * latency_seconds * MARGIN), self._reader.most_at_once))

    def _grow(self, count: int) -> None:
        while len(self._threads) < count:
            thread = threading.Thread(target=self._work, name=f"read-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    # In the threads

    def _work(self) -> None:
        while (reading := self._take_over()) is not None:
            try:
                self._read(reading)
            except BaseException as error:
                self._put(error)
                return
            finally:
                with self._changed:
                    self._running.remove(reading)
                    self._changed.notify_all()

    def _take_over(self) -> _Reading | None:
        """A range nobody reads yet, or the older half of the largest rest; None when there is nothing left to do."""
        with self._changed:
            while not self._stopped:
                if len(self._running) < self._reader.most_at_once:
                    found = self._waiting.pop(0) if self._waiting else self._share()
                    if found is not None:
                        self._running.append(found)
                        return found
                    if not self._running:
                        return None
                self._changed.wait(_PATIENCE_SECONDS)
            return None

    def _share(self) -> _Reading | None:
        victim = largest([one.asked for one in self._running])
        older = victim.split() if victim is not None else None
        if older is None:
            return None
        found = _Reading(older)
        self._open.append(found)
        return found

    def _read(self, reading: _Reading) -> None:
        more = True
        while more and not self._stopped:
            with self._changed:
                asked = replace(reading.asked)
            try:
                page = self._reader.page(
                    asked.object_name,
                    gte=asked.gte or None,
                    lt=None if asked.open_ended else asked.lt,
                    after=asked.after,
                    decode=page_decoder(asked.object_name),
                )
            except CursorGoneError:
                if asked.after is None:
                    raise
                with self._changed:
                    reading.asked = reading.asked.reopened()
                continue
            except NotOfferedError as error:
                self._put(_Arrived(reading, None, asked, is_last=True, notice=str(error)))
                return
            with self._changed:
                more = reading.asked.advance(_place(page), page.has_more)
                position = replace(reading.asked)
                self._changed.notify_all()
            self._put(_Arrived(reading, page, position, is_last=not more))

    def _put(self, what: _Arrived | BaseException) -> None:
        while not self._stopped:
            try:
                self._arrived.put(what, timeout=_PATIENCE_SECONDS)
                return
            except queue.Full:
                continue


def _place(page: Page) -> Place | None:
    """Where a page begins and ends; None for an empty one."""
    times = [at for item in page.data if (at := _created(item)) is not None]
    if not page.data:
        return None
    return Place(
        last_id(page) if page.has_more else "",
        times[0] if times else None,
        times[-1] if times else None,
        len(page.data),
    )


def _created(item: Any) -> int | None:
    at = item.get("created") if isinstance(item, dict) else getattr(item, "created", None)
    return at if isinstance(at, int) and not isinstance(at, bool) and 0 <= at <= LATEST else None
