"""One person in the lake: kept pages, tables and what is set aside; counting what still tells of him, and taking it out."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.errors import StoreError
from tinko_pipelines.gateway.page import plain
from tinko_pipelines.lake.erased import Erased
from tinko_pipelines.lake.merge import ordered
from tinko_pipelines.lake.place import Place
from tinko_pipelines.lake.raw import KeptPage, abandoned, being_read, files_of_pages, pages_in, rewrite
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake

WAIT_SECONDS = 60.0
PARTIAL_SECONDS = 600.0
"""No file takes so long to write."""
_POLL_SECONDS = 0.2

Row = dict[str, Any]


class Shelves:
    """The lake of one account, with whom to look for in it."""

    def __init__(self, lake: Lake, account_id: str, erased: Erased) -> None:
        self._lake, self._account_id, self._erased = lake, account_id, erased

    def wait_for_readers(self, wait_seconds: float = WAIT_SECONDS) -> None:
        """Until every run has ended that may have begun before it could know who is erased."""
        until = time.monotonic() + wait_seconds
        while being_read(self._lake.root):
            if time.monotonic() > until:
                raise StoreError(
                    "an ingest is under way, so nothing can be taken out of the lake: run the same command again"
                    " when it has ended; the person is not brought in any more, but is not erased yet"
                )
            time.sleep(_POLL_SECONDS)

    def left(self) -> dict[str, int]:
        """What still tells of him: rows by table, files of pages, what is set aside, notes."""
        counts = {"raw_pages": sum(self._in_file(*file) for file in self._files())}
        counts |= {name: sum(map(self._tells(name), self.rows(name))) for name in OBJECTS}
        counts["quarantine"] = len(self.set_aside())
        counts["notes"] = len(self._notes())
        return {name: count for name, count in counts.items() if count}

    def empty(self) -> None:
        """Take him out: of the pages first, since they tell of objects that no table shows to be his."""
        for left in abandoned(self._lake.root):
            for path in left.files():
                self._empty_file(self._lake.here, path.relative_to(self._lake.root).as_posix())
        for file in self._files():
            self._empty_file(*file)
        for name in OBJECTS:
            self._empty_table(name)
        if self.set_aside():
            self._lake.rewrite_quarantine(
                lambda table: table.filter(pa.array(map(self._stays_aside, table.to_pylist())))
            )
        for name in self._notes():
            self._lake.drop_note(name)
        for partial in self._lake.root.rglob(".*.partial"):
            if not _being_written(partial):
                partial.unlink(missing_ok=True)

    def rows(self, name: str) -> list[Row]:
        """His rows of one object."""
        payer = " OR sha256(customer_id) IN (SELECT hash FROM known)" if _has_payer(name) else ""
        with self._lake.connect(name) as connection:
            connection.execute(
                "CREATE TEMP TABLE known AS SELECT unnest(?::VARCHAR[]) AS hash", [sorted(self._erased.known)]
            )
            found = connection.sql(
                f"SELECT * FROM {name} WHERE account_id = ? AND (sha256(id) IN (SELECT hash FROM known){payer})"
                " ORDER BY created_at, id",
                params=[self._account_id],
            ).to_arrow_table()
        rows: list[Row] = found.cast(OBJECTS[name].schema).to_pylist()
        return rows

    def objects(self) -> Iterator[Row]:
        """His objects in the kept pages, as Stripe sent them."""
        for file in self._files():
            for page in self._pages(*file):
                items = [orjson.loads(page.body)] if page.single else plain(page.body).data
                for item in items:
                    if isinstance(item, dict) and self._erased.is_his(page.object_name, item):
                        yield {"read_as": page.object_name, "fetched_at": page.fetched_at, "object": item}

    def set_aside(self) -> list[Row]:
        """What of his is in quarantine."""
        with self._lake.connect("quarantine") as connection:
            rows: list[Row] = connection.sql("SELECT * FROM quarantine").to_arrow_table().to_pylist()
        return [row for row in rows if not self._stays_aside(row)]

    def _stays_aside(self, row: Row) -> bool:
        """What is malformed is his if it names anything of his; reduced by the rule for objects, it is not his any more."""
        if row["account_id"] != self._account_id or not self._erased.holds(row["body"]):
            return True
        with suppress(ValueError):
            item = orjson.loads(row["body"])
            return bool(self._erased.object(row["object_name"], item) == item)
        return False

    def _tells(self, name: str) -> Any:
        return lambda row: self._erased.row(name, row) != row

    def _files(self) -> list[tuple[Place, str]]:
        """Every file of pages: those of the lake, and those on this machine that no table has yet."""
        below = f"raw/{self._account_id}"
        kept = [(self._lake.place, name) for name in files_of_pages(self._lake.place, below)]
        return [*kept, *((self._lake.here, name) for name in files_of_pages(self._lake.here, "incoming"))]

    def _pages(self, place: Place, name: str) -> Iterator[KeptPage]:
        """The pages of a file that have anything of his in them."""
        for page in pages_in(place, name):
            if page.account_id == self._account_id and self._erased.touches(page.body):
                yield page

    def _in_file(self, place: Place, name: str) -> bool:
        return any(self._changed(page) is not page for page in self._pages(place, name))

    def _changed(self, page: KeptPage) -> KeptPage | None:
        """The page without him; the same one where it tells nothing of him."""
        if page.account_id != self._account_id:
            return page
        body = self._erased.page(page.object_name, page.body, single=page.single)
        if not body:
            return None
        return page if body == page.body else replace(page, body=body)

    def _empty_file(self, place: Place, name: str) -> None:
        if self._in_file(place, name):
            rewrite(place, name, self._changed)

    def _empty_table(self, name: str) -> None:
        by_day: defaultdict[str, list[Row]] = defaultdict(list)
        for row in filter(self._tells(name), self.rows(name)):
            by_day[f"{row['created_at']:%Y-%m-%d}"].append(row)
        ids = pa.array(sorted({row["id"] for rows in by_day.values() for row in rows}), pa.string())
        if by_day:
            self._lake.rewrite(
                name, self._account_id, sorted(by_day), lambda day: self._without(name, day, ids)
            )

    def _without(self, name: str, day: pa.Table, ids: pa.Array) -> pa.Table:
        his = pc.is_in(day["id"], ids)
        kept = [
            left for row in day.filter(his).to_pylist() if (left := self._erased.row(name, row)) is not None
        ]
        others = day.filter(pc.invert(his))
        return ordered(pa.concat_tables([others, pa.Table.from_pylist(kept, schema=day.schema)]))

    def _notes(self) -> Sequence[str]:
        """What a cut back-fill has left to read may begin at an id of his; without its note it begins anew."""
        return [
            name
            for name, told in self._lake.notes("backfill-").items()
            if self._erased.names_him(orjson.dumps(told).decode())
        ]


def _being_written(partial: Path) -> bool:
    """Whether the process that a half-written file is named after is alive, and has touched it lately."""
    writer = re.search(r"\.(\d+)-\d+\.partial$", partial.name)
    try:
        if writer is None or time.time() - partial.stat().st_mtime > PARTIAL_SECONDS:
            return False
        os.kill(int(writer[1]), 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _has_payer(name: str) -> bool:
    return any(column.name == "customer_id" for column in OBJECTS[name].columns)
