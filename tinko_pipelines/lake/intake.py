"""From pages to tables: kept as they came first, then parsed, then merged in large portions beside the reading.

What `take` was given is safe when it returns. It is in the tables after `close`, or when a later run has found what
a dead one left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tinko_pipelines.gateway.page import Page, single_object
from tinko_pipelines.lake.columns import page_decoder
from tinko_pipelines.lake.erased import NOBODY, Erased
from tinko_pipelines.lake.parse import Origin
from tinko_pipelines.lake.portion import IngestResult, Portion, Results
from tinko_pipelines.lake.raw import Incoming, KeptPage, abandoned, all_pages, kept, raw_name, read
from tinko_pipelines.lake.store import Lake
from tinko_pipelines.lake.turns import ALL_PAGES, only_one

MERGED_WHEN_IDLE = 20_000
MERGED_AT_ONCE = 100_000
"""So many rows are held in memory before they are merged; as many again while that is done."""


class Intake:
    """The way into the lake for one run. Not for several threads; the merging has one of its own."""

    def __init__(self, lake: Lake, account_id: str, *, livemode: bool) -> None:
        self._lake, self._account_id, self._livemode = lake, account_id, livemode
        self._incoming = Incoming(lake.root)
        self._portion, self._files = Portion(), list[tuple[Path, str, datetime]]()
        self._erased = NOBODY
        self._merger = ThreadPoolExecutor(1, "merge")
        self._merging: Future[Results] | None = None
        self.results: defaultdict[str, IngestResult] = defaultdict(IngestResult)

    def __enter__(self) -> Self:
        # Asked now that our own folder shows that we have begun: whoever is erased later waits until we have ended.
        self._erased = self._lake.erased(self._account_id)
        for left in abandoned(self._lake.root):
            self._recover(left)
        self.results.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            self._merger.shutdown()
            self._incoming.close()

    def _recover(self, left: Incoming) -> None:
        """Take in what a run that died had read."""
        for path in left.files():
            first: KeptPage | None = None
            for page in read(path):
                first = first or page
                add_kept(self._portion, page, self._lake.erased(page.account_id))
            if first is not None:
                self._files.append((path, first.account_id, first.fetched_at))
            if self._portion.rows >= MERGED_AT_ONCE:
                self._merge_beside()
        self.flush()

    def take(self, pages: Sequence[Page]) -> None:
        """Keep pages of lists, and send their objects on the way."""
        pages = self._without_the_erased(pages, single=False)
        self._take([kept(page, self._livemode) for page in pages], pages)

    def take_single(self, pages: Sequence[Page], known: Mapping[str, Mapping[str, Any]]) -> None:
        """The same for objects read by id. `known` says what deleted ones no longer say of themselves."""
        pages = self._without_the_erased(pages, single=True)
        told = [known.get(page.data[0].get("id")) for page in pages]
        keep = [
            kept(page, self._livemode, single=True, known=dict(one) if one else None)
            for page, one in zip(pages, told, strict=True)
        ]
        self._take(keep, pages)

    def _without_the_erased(self, pages: Sequence[Page], *, single: bool) -> Sequence[Page]:
        if not self._erased:
            return pages
        left = []
        for page in pages:
            body = self._erased.page(page.object_name, page.body, single=single)
            if body is page.body:
                left.append(page)
            elif body:
                decode = single_object if single else page_decoder(page.object_name)
                left.append(replace(page, body=body, data=decode(body).data))
        return left

    def _take(self, keep: Sequence[KeptPage], pages: Sequence[Page]) -> None:
        full = [one for one, page in zip(keep, pages, strict=True) if page.data]
        if full:
            path = self._incoming.add(full)
            self._files.append((path, self._account_id, full[0].fetched_at))
        for one, page in zip(keep, pages, strict=True):
            origin = Origin(page.account_id, self._livemode, page.fetched_at, page.api_version)
            self._portion.add(page.object_name, page.data, page.body, origin, one.known)
        if self._portion.rows >= MERGED_AT_ONCE:
            self._merge_beside()

    def use_idle_time(self) -> None:
        """Begin to merge, though there is little yet: nothing else is to be done, and less will be left at the end."""
        if self._portion.rows >= MERGED_WHEN_IDLE and (self._merging is None or self._merging.done()):
            self._merge_beside()

    def notice(self, name: str, text: str) -> None:
        """Something a person should know of this object."""
        self.results[name] = self.results[name].plus(IngestResult(notices=(text,)))

    def flush(self) -> None:
        """Wait until the tables have all that was taken."""
        self._merge_beside()
        self._wait()

    def _merge_beside(self) -> None:
        self._wait()
        portion, files = self._portion, self._files
        self._portion, self._files = Portion(), []
        self._merging = self._merger.submit(self._merge, portion, files)

    def _wait(self) -> None:
        if self._merging is None:
            return
        merging, self._merging = self._merging, None
        for name, result in merging.result().items():
            self.results[name] = self.results[name].plus(result)

    def _merge(self, portion: Portion, files: Sequence[tuple[Path, str, datetime]]) -> Results:
        found = portion.apply(self._lake)
        self._lake.place.take((path, raw_name(path, account_id, day)) for path, account_id, day in files)
        return found


def add_kept(portion: Portion, page: KeptPage, erased: Erased) -> None:
    """A page from the disk, once more."""
    body = erased.page(page.object_name, page.body, single=page.single)
    if not body:
        return
    origin = Origin(page.account_id, page.livemode, page.fetched_at, page.api_version)
    decode = single_object if page.single else page_decoder(page.object_name)
    portion.add(page.object_name, decode(body).data, body, origin, page.known)


def reparse(lake: Lake) -> Results:
    """Parse every page that is kept once more, for a column that is new; nothing is asked of Stripe."""
    results: defaultdict[str, IngestResult] = defaultdict(IngestResult)
    portion, erased = Portion(), cache(lake.erased)

    def apply() -> None:
        for name, result in portion.apply(lake).items():
            results[name] = results[name].plus(result)

    with only_one(lake, ALL_PAGES), closing(Incoming(lake.root)):
        for page in all_pages(lake.place):
            add_kept(portion, page, erased(page.account_id))
            if portion.rows >= MERGED_AT_ONCE:
                apply()
                portion = Portion()
        apply()
    return dict(results)
