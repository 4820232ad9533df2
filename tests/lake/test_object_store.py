"""A lake on an object store is the lake of a folder, row for row; what goes wrong between here and there loses nothing."""

import os
import signal
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.lake.killing import run_forked
from tests.lake.rows import put
from tests.lake.shelf import Shelf
from tests.lake.stripe_objects import DAY, START, charge, customer, event, intent, invoice, paid
from tests.object_store import SECRETS, LocalS3
from tinko_pipelines.errors import StoreError
from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.lake.backfill import Left
from tinko_pipelines.lake.changes import ingest_changes
from tinko_pipelines.lake.debts import failed_payments
from tinko_pipelines.lake.deep import reconcile_days
from tinko_pipelines.lake.ingest import ingest
from tinko_pipelines.lake.intake import reparse
from tinko_pipelines.lake.place import File
from tinko_pipelines.lake.raw import abandoned
from tinko_pipelines.lake.remote import ObjectStore
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake

NOW = datetime.fromtimestamp(START + 10 * DAY, UTC)
LATER, NIGHT = NOW + timedelta(hours=6), NOW + timedelta(hours=20)


@pytest.fixture
def store(s3: LocalS3, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], ObjectStore]:
    """The same lake from as many machines as are named; on S3, or on the kind of store that a test asks for."""
    if getattr(request, "param", "s3") == "memory":
        return lambda machine: ObjectStore(f"memory://{tmp_path}", {}, tmp_path / machine / "copy")
    url = s3.bucket(f"b{abs(hash(request.node.name))}")
    return lambda machine: ObjectStore(url, s3.options(), tmp_path / machine / "copy")


EACH = pytest.mark.parametrize("store", ["s3", "memory"], indirect=True)


def lake_on(store: Callable[[str], ObjectStore], tmp_path: Path, machine: str = "one") -> Lake:
    return Lake(tmp_path / machine, store(machine))


def live(lake: Lake, shelf: Shelf) -> None:
    """A first load, changes, a night's look at old days, and a derived table."""
    born = int((NOW - timedelta(days=5)).timestamp())
    shelf.objects = {name: [] for name in shelf.objects}
    shelf.put("charges", *(paid(f"ch_{n:03}", START + n * 7200) for n in range(60)))
    shelf.put(
        "charges",
        charge("ch_bad", START, amount="x"),
        charge("ch_new", START, novelty=1, payment_intent="pi_2"),
        {"id": 7},
    )
    shelf.put("customers", customer("cus_1", born), customer("cus_2", born))
    shelf.put("invoices", invoice("in_1", born))
    shelf.put("payment_intents", intent("pi_2", START))
    read(ingest_changes, lake, shelf, NOW, since_days=30)
    at = int(LATER.timestamp()) - 120
    shelf.put("charges", charge("ch_bad", START))
    shelf.put("invoices", invoice("in_1", born, status="paid"))
    shelf.objects["customers"] = [
        {"id": name, "object": "customer", "deleted": True} for name in ("cus_1", "cus_2")
    ]
    shelf.put(
        "events",
        event("evt_1", at, "invoice.paid", invoice("in_1", born)),
        event("evt_2", at, "charge.updated", charge("ch_bad", START)),
        event("evt_3", at, "customer.deleted", customer("cus_1", born)),
        event("evt_4", at, "customer.deleted", customer("cus_2", born)),
    )
    read(ingest_changes, lake, shelf, LATER, since_days=30)
    shelf.put("charges", paid("ch_005", START + 5 * 7200, refunded=True, amount_refunded=1900))
    shelf.objects["charges"] = [one for one in shelf.objects["charges"] if one["id"] != "ch_006"]
    days = [datetime.fromtimestamp(START + n * DAY, UTC).date() for n in range(2)]
    read(reconcile_days, lake, shelf, NIGHT, days=days)
    lake.write_derived("failed_payments", failed_payments(lake, NIGHT))


def read(work: Callable[..., Any], lake: Lake, shelf: Shelf, at: datetime, **options: Any) -> Any:
    reader = BulkReader("sk_test_x", shelf.base, "default", sleep=lambda _: None, now=lambda: at)
    try:
        return work(reader, lake, now=at, **options)
    finally:
        reader.close()


def content(lake: Lake, *names: str) -> dict[str, Any]:
    """All a lake holds, or these objects of it, and what must not be left over."""
    rows = {name: lake.table(name).sort_by("id").to_pylist() for name in names or OBJECTS}
    with lake.connect("quarantine") as connection:
        aside = connection.execute("SELECT * FROM quarantine ORDER BY ALL").fetchall()
    left = [one.run for one in abandoned(lake.root)], lake.notes("backfill-")
    derived = lake.read_derived("failed_payments", "this").to_pylist() if lake.notes("deep-") else []
    return {**rows, "aside": aside, "notes": lake.notes(""), "left": left, "derived": derived}


def test_it_holds_what_a_folder_holds_and_every_machine_sees_it(
    shelf: Shelf, store: Callable[[str], ObjectStore], tmp_path: Path
) -> None:
    folder = Lake(tmp_path / "folder")
    live(folder, shelf)
    truth = content(folder)
    changed = [row["id"] for row in truth["charges"] if row["deleted"] or row["refunded"]]
    assert (len(truth["charges"]), changed) == (62, ["ch_005", "ch_006"])
    assert (len(truth["aside"]), len(truth["derived"]), len(truth["notes"])) == (1, 1, 2)
    lake, other = lake_on(store, tmp_path), lake_on(store, tmp_path, "other")
    live(lake, shelf)
    assert content(lake) == truth
    assert content(other) == truth
    for name in ("tables", "derived"):
        assert {file: lake.place.read(file) for file in lake.place.names(name)} == {
            file: (other.place.folder / file).read_bytes() for file in lake.place.names(name)
        }
    assert len(lake.place.names("raw")) >= 3
    assert not list((tmp_path / "one").rglob("*.pages.zst")), "pages are kept in the store alone"
    for file in lake.place.names("tables"):
        lake.place.delete(file)
    shelf.asked.clear()
    again = lake_on(store, tmp_path, "other")
    assert reparse(again)["charges"].new == 62
    parsed = content(again)
    assert {name: parsed[name] for name in OBJECTS} == {name: truth[name] for name in OBJECTS}
    assert shelf.asked == []


class Dying(ObjectStore):
    """Kills this process when so many files are in the store, and before the copy has the last one."""

    left = 0

    def _send(self, name: str, content: bytes | memoryview) -> None:
        super()._send(name, content)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_killed_while_it_writes_is_gone_on_with(shelf: Shelf, s3: LocalS3, tmp_path: Path) -> None:
    shelf.put("charges", *(paid(f"ch_{n:03}", START + n * 3600) for n in range(230)))
    shelf.put("invoices", *(invoice(f"in_{n:03}", START + n * 3600) for n in range(30)))
    plain = Lake(tmp_path / "folder")
    read(ingest, plain, shelf, NOW, objects=["charges", "invoices"])
    kept = "charges", "invoices"
    wanted = content(plain, *kept)

    def opened(number: int, kind: type[ObjectStore] = ObjectStore) -> Lake:
        machine = tmp_path / f"machine-{number}"
        return Lake(machine, kind(f"s3://killed/lake-{number}", s3.options(), machine / "copy"))

    def work(number: int, die_after_files: int, die_after_pages: int = 0) -> Callable[[], None]:
        def progress(left: Left) -> None:
            if left.pages >= die_after_pages > 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def run() -> None:
            lake = opened(number, Dying)
            lake.place.left = die_after_files  # type: ignore[attr-defined]
            read(ingest, lake, shelf, NOW, objects=["charges", "invoices"], progress=progress)

        return run

    s3.bucket("killed")
    for number, deaths in enumerate([[(0, 2), (1, 0)], [(12, 0)]]):
        for death in deaths:
            assert run_forked(work(number, *death)) == -signal.SIGKILL, f"it lived through {death}"
        assert run_forked(work(number, 0)) == 0
        assert content(opened(number), *kept) == wanted


def test_while_the_store_is_down_that_is_said_and_nothing_is_lost(
    shelf: Shelf, s3: LocalS3, store: Callable[[str], ObjectStore], tmp_path: Path
) -> None:
    shelf.put("charges", *(paid(f"ch_{n:03}", START + n * 3600) for n in range(230)))
    lake = lake_on(store, tmp_path)

    def cut(left: Left) -> None:
        s3.cut = left.pages > 0

    try:
        with pytest.raises(
            StoreError, match=r"the lake at s3://b\d+/the/lake failed to list tables/charges"
        ) as said:
            read(ingest, lake, shelf, NOW, objects=["charges"], progress=cut)
        assert "check TINKO_LAKE_URL" in str(said.value)
        assert not any(secret in repr(said.getrepr(chain=True)) for secret in SECRETS)
        with pytest.raises(StoreError, match=r"failed to read notes/changes-default\.json"):
            lake.read_note("changes-default")
    finally:
        s3.cut = False
    shelf.asked.clear()
    read(ingest, lake, shelf, NOW, objects=["charges"])
    assert shelf.asked == [], "what had come was kept"
    assert lake.table("charges").num_rows == 230
    assert content(lake)["left"] == ([], {})


@EACH
def test_writers_on_two_machines_that_take_turns_lose_nothing_of_each_other(
    store: Callable[[str], ObjectStore], tmp_path: Path
) -> None:
    one, two = lake_on(store, tmp_path), lake_on(store, tmp_path, "two")
    for number in range(3):
        put(one, NOW, charge(f"ch_1_{number}", START))
        put(two, NOW, charge(f"ch_2_{number}", START))
    assert one.table("charges").num_rows == two.table("charges").num_rows == 6
    two.place.delete(f"tables/charges/default/{datetime.fromtimestamp(START, UTC):%Y-%m-%d}.parquet")
    assert one.table("charges").num_rows == 0


@EACH
def test_the_copy_is_made_good_whatever_became_of_it(
    store: Callable[[str], ObjectStore], tmp_path: Path
) -> None:
    lake = lake_on(store, tmp_path)
    put(lake, NOW, charge("ch_1", START), charge("ch_2", START + DAY), charge("ch_3", START + 2 * DAY))
    days = sorted((tmp_path / "one/copy/tables/charges/default").iterdir())
    days[0].unlink()
    days[1].rename(days[1].with_name("1999-01-01.parquet"))
    assert lake.table("charges")["id"].to_pylist() == ["ch_1", "ch_2", "ch_3"]
    (tmp_path / "one/copy/.marks.json").unlink()
    assert lake.table("charges").num_rows == 3
    assert stat.S_IMODE((tmp_path / "one/copy").stat().st_mode) == 0o700


def test_only_what_changed_is_fetched(store: Callable[[str], ObjectStore], tmp_path: Path) -> None:
    class Counting(ObjectStore):
        fetched: list[str]

        def read(self, name: str) -> bytes | None:
            self.fetched.append(name)
            return super().read(name)

    lake = lake_on(store, tmp_path)
    put(lake, NOW, *(charge(f"ch_{n}", START + n * DAY) for n in range(4)))
    counting = Counting(lake.place._url, lake.place._options, tmp_path / "two")  # type: ignore[attr-defined]
    counting.fetched = []
    counting.refresh("tables/charges")
    assert len(counting.fetched) == 5
    put(lake, NOW + timedelta(1), charge("ch_2", START + 2 * DAY, status="succeeded"))
    counting.fetched.clear()
    counting.refresh("tables/charges")
    assert len(counting.fetched) == 1


@pytest.mark.parametrize("name", ["../../outside", "charges/../../../outside", "charges//x", ".marks.json"])
def test_a_name_in_the_store_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.store[f"{tmp_path}/lake/tables/{name}"] = store.__class__.store.get("none") or _file(
        store, tmp_path
    )
    place = ObjectStore(f"memory://{tmp_path}/lake", {}, tmp_path / "machine" / "copy")
    place.refresh("tables")
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found <= {".lock", ".marks.json"}
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def _file(store: Any, tmp_path: Path) -> Any:
    store.pipe_file(f"{tmp_path}/elsewhere", b"secret")
    return store.store[f"{tmp_path}/elsewhere"]


def test_a_bucket_that_is_not_there_is_said(s3: LocalS3, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"failed to list tables: .*bucket does not exist"):
        Lake(tmp_path, ObjectStore("s3://nowhere/lake", s3.options(), tmp_path / "copy"))


def test_a_store_that_is_not_installed_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="failed to open: ImportError: Please install gcsfs"):
        ObjectStore("gs://bucket/lake", {}, tmp_path / "copy").names("notes")


def test_a_file_is_written_while_others_are_made_ready(store: Callable[[str], ObjectStore]) -> None:
    place = store("one")

    def some() -> Iterator[File]:
        for number in range(30):
            yield f"tables/{number:02}", b"%d" % number
        assert place._store.exists(place._at("tables/00"))

    place.write(some())
    assert len(place.names("tables")) == 30


@pytest.mark.parametrize("secret", SECRETS)
def test_no_message_holds_what_the_store_was_told(secret: str, s3: LocalS3, tmp_path: Path) -> None:
    place = ObjectStore("s3://nowhere/lake", s3.options(), tmp_path)
    error = ValueError(f"told {secret}; see https://x.example/a?X-Amz-Signature=abcdef&b=1 for more")
    said = place._harmless(error)
    assert secret not in said
    assert "abcdef" not in said
    assert "https://x.example/a?***" in said
