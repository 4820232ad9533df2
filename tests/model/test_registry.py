"""The registry: what it refuses to open, what it remembers, and what a kill at any moment leaves behind."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.model.stand_in import SmallWorkshop, attempts
from tinko_pipelines.errors import InputError, StoreError
from tinko_pipelines.model.artefact import sha256_of
from tinko_pipelines.model.registry import ARTEFACT_FILE, VERSION_FILE, Registry, Version

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WHO = {"by": "cli:ada", "reason": "why not"}


@pytest.fixture(scope="module")
def artefacts() -> list[bytes]:
    return [SmallWorkshop(noise).train(attempts(600), NOW).artefact for noise in (0.0, 0.1, 0.2)]


def add(registry: Registry, artefact: bytes, hours: int = 0) -> Version:
    card = {"data_window": {"from": "2026-01-01", "until": "2026-06-01"}}
    at = NOW + timedelta(hours=hours)
    return registry.add(artefact, card, "<p>card</p>", **WHO, now=at, code_version="0.1.0")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "timing")


def states(registry: Registry) -> list[str]:
    return [standing.state for standing in reversed(registry.versions())]


def test_a_version_goes_from_candidate_to_promoted_to_retired(
    registry: Registry, artefacts: list[bytes]
) -> None:
    assert registry.promoted() is None
    first, second = add(registry, artefacts[0]), add(registry, artefacts[1], 1)
    assert first.id == f"20261120T120000Z-{sha256_of(artefacts[0])[:8]}"
    assert (first.data_from, first.data_until) == ("2026-01-01", "2026-06-01")
    assert add(registry, artefacts[0]) == first
    assert states(registry) == ["candidate", "candidate"]
    registry.promote(first, **WHO, now=NOW)
    assert (registry.promoted(), states(registry)) == (first, ["promoted", "candidate"])
    with pytest.raises(InputError, match="in use already"):
        registry.promote(first, **WHO, now=NOW)
    registry.promote(second, **WHO, now=NOW, anyway=True, detail="log loss: worse")
    assert states(registry) == ["retired", "promoted"]
    assert registry.artefact(second) == artefacts[1]
    back = registry.rollback(**WHO, now=NOW)
    assert (back.version, back.detail) == (first.id, f"away from {second.id}")
    assert states(registry) == ["promoted", "retired"]
    assert registry.rollback(**WHO, now=NOW).version is None
    assert registry.promoted() is None
    with pytest.raises(InputError, match="nothing to roll back"):
        registry.rollback(**WHO, now=NOW)
    acts = [(act.number, act.act, act.version, act.anyway) for act in registry.journal.history()]
    assert acts == [
        (1, "added", first.id, False),
        (2, "added", second.id, False),
        (3, "promote", first.id, False),
        (4, "promote", second.id, True),
        (5, "rollback", first.id, False),
        (6, "rollback", None, False),
    ]
    assert {(act.by, act.reason) for act in registry.journal.history()} == {("cli:ada", "why not")}


def test_another_process_is_seen_at_once_and_nothing_is_read_twice(
    registry: Registry, artefacts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add(registry, artefacts[0])
    running = Registry(registry.folder)
    assert running.promoted() is None
    registry.promote(version, **WHO, now=NOW)
    assert running.promoted() == version
    read = running.journal.pointer
    monkeypatch.setattr(running.journal, "pointer", lambda: pytest.fail("it was read again"))
    assert running.promoted() == version
    monkeypatch.setattr(running.journal, "pointer", read)
    registry.rollback(**WHO, now=NOW)
    assert running.promoted() is None


def zipped(**members: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return packed.getvalue()


class Trap:
    """A pickle that would leave a file behind if it were opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.path, "w"))


def foreign() -> bytes:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    model.extra = io.StringIO
    return bytes(skops.io.dumps(model))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("changed", "is not what was stored"),
        ("pickle", "is no skops file but a pickle"),
        ("text", "is no skops file but something else"),
        ("empty", "is no skops file"),
        ("zip", "is a zip file but no skops file"),
        ("cut", "is damaged"),
        ("gone", "cannot be read"),
    ],
)
def test_what_is_not_the_artefact_is_refused_unopened(
    registry: Registry, artefacts: list[bytes], tmp_path: Path, kind: str, sentence: str
) -> None:
    version = add(registry, artefacts[0])
    registry.promote(version, **WHO, now=NOW)
    path, mark = registry.folder / "versions" / version.id / ARTEFACT_FILE, tmp_path / "opened"
    whole = artefacts[0]
    other = {
        "changed": artefacts[1],
        "pickle": pickle.dumps(Trap(str(mark))),
        "text": b"model",
        "empty": b"",
        "zip": zipped(a_txt="x"),
        "cut": whole[: len(whole) // 2],
    }
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(other[kind])
    with pytest.raises(StoreError, match=sentence) as refused:
        registry.artefact(version)
    assert str(path) in str(refused.value)
    assert not mark.exists()
    assert registry.rollback(**WHO, now=NOW).version is None


def test_types_that_are_not_on_the_list_never_come_in(registry: Registry) -> None:
    with pytest.raises(StoreError, match=r"not on the list .*_io\.StringIO|_io.StringIO"):
        add(registry, foreign())
    with pytest.raises(StoreError, match="no skops file but a pickle"):
        add(registry, pickle.dumps([1]))
    assert registry.versions() == []


def test_an_artefact_swapped_together_with_its_note_is_not_what_was_promoted(
    registry: Registry, artefacts: list[bytes]
) -> None:
    version = add(registry, artefacts[0])
    registry.promote(version, **WHO, now=NOW)
    folder = registry.folder / "versions" / version.id
    (folder / ARTEFACT_FILE).write_bytes(artefacts[1])
    note = json.loads((folder / VERSION_FILE).read_text())
    (folder / VERSION_FILE).write_text(json.dumps({**note, "sha256": sha256_of(artefacts[1])}))
    with pytest.raises(StoreError, match="is not what was promoted"):
        registry.promoted()


def test_a_rollback_passes_over_what_can_no_longer_be_opened(
    registry: Registry, artefacts: list[bytes]
) -> None:
    versions = [add(registry, artefact, number) for number, artefact in enumerate(artefacts)]
    for version in versions:
        registry.promote(version, **WHO, now=NOW)
    (registry.folder / "versions" / versions[1].id / ARTEFACT_FILE).write_bytes(b"x")
    act = registry.rollback(**WHO, now=NOW)
    assert act.version == versions[0].id
    assert f"{versions[1].id} was passed over" in act.detail


def test_a_damaged_version_and_a_torn_line_leave_the_others_alone(
    registry: Registry, artefacts: list[bytes]
) -> None:
    first, second = add(registry, artefacts[0]), add(registry, artefacts[1], 1)
    (registry.folder / "versions" / first.id / VERSION_FILE).write_text("{")
    assert states(registry) == ["damaged", "candidate"]
    with registry.journal.history_path.open("ab") as file:
        file.write(b'{"number": 99, "act": "pro')
    registry.promote(second, **WHO, now=NOW)
    assert registry.promoted() == second
    assert [act.number for act in registry.journal.history()] == [1, 2, 3]
    registry.journal.pointer_path.write_text("{")
    with pytest.raises(StoreError, match="remove it, and `tinko model promote`"):
        Registry(registry.folder).promoted()


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("nosuch", "there is no version called"),
        ("2026", "more than one version"),
        ("20", "there is no version"),
    ],
)
def test_a_version_that_is_not_one_is_named(
    registry: Registry, artefacts: list[bytes], reference: str, sentence: str
) -> None:
    with pytest.raises(InputError, match="no model is trained yet"):
        registry.version()
    first, second = add(registry, artefacts[0]), add(registry, artefacts[1], 1)
    assert registry.version() == second
    assert registry.version(first.id) == registry.version(first.sha256[:8]) == first
    with pytest.raises(InputError, match=sentence):
        registry.version(reference)


def test_many_at_once_lose_no_act(registry: Registry, artefacts: list[bytes]) -> None:
    versions = [add(registry, artefact, number) for number, artefact in enumerate(artefacts)]

    def promote(version: Version) -> None:
        for _ in range(10):
            Registry(registry.folder).note("looked", version, **WHO, now=NOW, detail="")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, versions))
    assert [act.number for act in registry.journal.history()] == list(range(1, 34))


PROMOTING = """
import sys, itertools
from datetime import UTC, datetime
from pathlib import Path
from tinko_pipelines.model.registry import Registry
registry = Registry(Path(sys.argv[1]))
one, other = [standing.version for standing in registry.versions()]
registry.artefact(one)
print("ready", flush=True)
for turn in itertools.count(registry.promoted() == one):
    registry.promote((one, other)[turn % 2], by="killed", reason=str(turn), now=datetime.now(UTC))
"""


def test_killed_while_it_promotes_there_is_one_model_in_use_and_no_act_is_lost(
    registry: Registry, artefacts: list[bytes]
) -> None:
    for number, artefact in enumerate(artefacts[:2]):
        add(registry, artefact, number)
    promoted = 0
    for kill in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", PROMOTING, str(registry.folder)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + 0.011 * kill)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        in_use = Registry(registry.folder).promoted()
        acts = registry.journal.history()
        assert [act.number for act in acts] == list(range(1, len(acts) + 1))
        done = [act for act in acts if act.act == "promote"]
        assert (in_use.id if in_use else None) == (done[-1].version if done else None)
        promoted = len(done)
        if in_use is not None:
            registry.rollback(**WHO, now=NOW)
    assert promoted >= 5
    assert set(states(registry)) <= {"promoted", "retired"}


@pytest.mark.parametrize("left", ["swapped, not written", "drafts"])
def test_what_a_killed_one_left_undone_is_finished_by_the_next(
    registry: Registry, artefacts: list[bytes], left: str
) -> None:
    first = add(registry, artefacts[0])
    registry.promote(first, **WHO, now=NOW)
    if left == "drafts":
        drafts = registry.folder / "drafts"
        drafts.mkdir()
        (drafts / ARTEFACT_FILE).write_bytes(b"half")
    else:
        lines = registry.journal.history_path.read_bytes().splitlines(keepends=True)
        registry.journal.history_path.write_bytes(b"".join(lines[:-1]))
        assert [act.act for act in registry.journal.history()] == ["added", "promote"]
    second = add(registry, artefacts[1], 1)
    assert [act.act for act in registry.journal.history()] == ["added", "promote", "added"]
    assert len(registry.journal.history_path.read_bytes().splitlines()) == 3
    assert not (registry.folder / "drafts").exists()
    assert registry.artefact(second) == artefacts[1]
