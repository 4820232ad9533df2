"""The lake's files under several writers, and who may read what they hold."""

import multiprocessing
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.lake.rows import put
from tests.lake.stripe_objects import START, charge
from tinko_pipelines.lake.files import make_private
from tinko_pipelines.lake.parse import Malformed
from tinko_pipelines.lake.place import Folder
from tinko_pipelines.lake.raw import Incoming, KeptPage, abandoned, raw_name
from tinko_pipelines.lake.store import Lake

NOW = datetime.fromtimestamp(START, UTC)
WRITERS, ROUNDS = 4, 15


def write(folder: Path, writer: int) -> None:
    lake = Lake(folder)
    for number in range(ROUNDS):
        put(lake, NOW, charge(f"ch_{writer}_{number}", START))
        lake.quarantine("charges", "default", [Malformed(None, "no id", f"{writer} {number}")], NOW)


def test_writers_in_several_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    Lake(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write, args=(tmp_path, number)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {writer.exitcode for writer in writers} == {0}
    assert Lake(tmp_path).table("charges").num_rows == WRITERS * ROUNDS
    assert Lake(tmp_path).quarantined() == WRITERS * ROUNDS


def test_what_holds_names_and_addresses_is_for_its_owner_alone(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.quarantine("customers", "default", [Malformed(None, "no id", "{}")], NOW)
    for folder in (tmp_path / "raw", tmp_path / "incoming", tmp_path / "tables" / "quarantine"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_runs_that_end_while_another_begins_are_not_in_its_way(tmp_path: Path) -> None:
    at = datetime(2026, 9, 1, tzinfo=UTC)
    page = KeptPage("charges", "default", False, at, "", False, None, b'{"data": []}')
    make_private(tmp_path / "incoming")
    ended = threading.Event()

    def runs() -> None:
        try:
            for _ in range(200):
                run = Incoming(tmp_path)
                path = run.add([page])
                Folder(tmp_path).take([(path, raw_name(path, "default", at))])
                run.close()
        finally:
            ended.set()

    with ThreadPoolExecutor(1) as another:
        running = another.submit(runs)
        looks = 0
        while not ended.is_set():
            assert [left.files() for left in abandoned(tmp_path)] in ([], [[]])
            looks += 1
        running.result()
    assert looks > 0
    assert len(list((tmp_path / "raw").rglob("*.zst"))) == 200
