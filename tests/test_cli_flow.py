"""Each command of the flow in its own process against a running sandbox, as somebody without Dagster would work."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tinko_pipelines.cli import cli
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.sandbox.process import SandboxProcess

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), seed=3, charges=400, history_days=40) as process:
        yield process.base


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


def run(
    state: Path, base: str, *arguments: str, given: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    return subprocess.run(
        [sys.executable, "-m", "tinko_pipelines.cli", *arguments],
        env={**clean, "TINKO_STATE": str(state), "TINKO_STRIPE_API_BASE": base, "TINKO_CLOCK": "sandbox", **more},
        input=given, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def answer(state: Path, base: str, *arguments: str) -> dict[str, Any]:
    done = run(state, base, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_from_ingest_to_report(sandbox: str, state: Path) -> None:
    some = ("ingest", "--objects", "charges,customers", "--since", "2026-08-10", "--until", "2026-08-20")
    first = answer(state, sandbox, *some)
    assert set(first["objects"]) == {"charges", "customers"}
    assert first["written"] > 0
    assert answer(state, sandbox, *some)["written"] == 0, "a second run changes nothing"
    assert answer(state, sandbox, "ingest", "--changes")["written"] > first["written"]
    planned = answer(state, sandbox, "plan")
    assert planned["created"] > 0
    assert answer(state, sandbox, "plan")["created"] == 0
    client = SandboxClient(sandbox)
    client.advance_to(client.now() + timedelta(days=8))
    retried = answer(state, sandbox, "drain")
    assert retried["dry_run"] is False
    assert retried["called"] > 0
    assert answer(state, sandbox, "mail")["sent"] > 0
    answer(state, sandbox, "ingest", "--changes")
    answer(state, sandbox, "plan")
    report = answer(state, sandbox, "report")
    assert report["attempts"] == retried["called"]
    told = run(state, sandbox, "report").stdout
    assert "{" not in told, "amounts are told in words"
    assert re.search(r"USD\s+[0-9.,]+ USD of [0-9.,]+ USD recovered, [0-9.]+%", told), told
    assert "…" not in told
    idle = run(state, sandbox, "drain").stdout.split()
    assert idle == ["dry_run", "False", "done", "nothing"]
    rows = answer(state, sandbox, "query", "SELECT sum(succeeded_count) FROM recovery_by_attempt_number")[
        "rows"
    ]
    assert rows == [[retried["succeeded"]]]
    assert answer(state, sandbox, "check")["broken"] == []
    assert client.book()["double_charges"] == 0


def test_the_ledger_is_compared_backed_up_and_restored(sandbox: str, state: Path, tmp_path: Path) -> None:
    compared = answer(state, sandbox, "reconcile", "--whole")
    assert (compared["agreed"], compared["findings"]) == (True, [])
    kept = tmp_path / "kept.backup"
    assert answer(state, sandbox, "ledger", "backup", str(kept))["bytes"] > 0
    assert "--replace" in run(state, sandbox, "ledger", "restore", str(kept)).stderr
    restored = answer(state, sandbox, "ledger", "restore", str(kept), "--replace")
    assert (restored["paused"], restored["mails_dropped"] >= 0) == (True, True)
    assert "not sent again" in restored["mails"]
    held = run(state, sandbox, "drain")
    assert (held.returncode, "`tinko reconcile` until it agrees" in held.stderr) == (4, True)
    assert "not reconciled" in run(state, sandbox, "resume").stderr
    doctor = run(state, sandbox, "doctor")
    assert "paused: global: by restore" in doctor.stdout
    assert answer(state, sandbox, "reconcile")["agreed"] is True
    assert answer(state, sandbox, "anomalies") == {"open": []}
    assert "no open anomaly" in run(state, sandbox, "anomalies", "--settle", "7").stderr
    assert answer(state, sandbox, "resume")["charging_enabled"] is True
    assert answer(state, sandbox, "drain")["dry_run"] is False


def test_a_malformed_object_is_set_aside_and_the_rest_goes_on(sandbox: str, state: Path) -> None:
    client = SandboxClient(sandbox)
    now = int(client.now().timestamp())
    odd = {"id": "ch_odd", "object": "charge", "created": now, "amount": "much"}
    client.fixture("raw", object="charges", body=odd)
    found = answer(state, sandbox, "ingest", "--changes")
    assert found["objects"]["charges"]["quarantined"] == 1
    assert answer(state, sandbox, "plan")["created"] >= 0
    # The mails that were due were dropped with the restored ledger; some are again in two days.
    client.advance_to(client.now() + timedelta(days=2))


def test_events_of_a_file_are_put_in_shown_and_brought_into_the_lake(
    sandbox: str, state: Path, tmp_path: Path
) -> None:
    about = {"id": "cus_unheard", "object": "customer", "created": 1_780_000_000}
    event = {"id": "evt_cli", "object": "event", "type": "customer.updated", "created": 1_780_000_000}
    event |= {"livemode": False, "data": {"object": about}}
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event) + "\n" + json.dumps({**event, "livemode": True}) + "\n")
    done = run(state, sandbox, "inbox", "replay", str(path), "--json")
    assert (done.returncode, json.loads(done.stdout)) == (2, {"taken": 1, "known": 0, "refused": 1})
    assert done.stderr == "refused: line 2: livemode is True, and the key is of test mode\n"
    path.write_text(json.dumps(event))
    assert answer(state, sandbox, "inbox", "replay", str(path)) == {"taken": 0, "known": 1, "refused": 0}
    piped = run(state, sandbox, "inbox", "replay", "-", "--json", given=json.dumps(event))
    assert json.loads(piped.stdout)["known"] == 1
    shown = answer(state, sandbox, "inbox")
    assert (shown["unlanded"], shown["unmarked"]) == (1, 1)
    assert shown["oldest_received_at"] is not None
    assert answer(state, sandbox, "inbox", "show") == shown
    assert answer(state, sandbox, "ingest", "--changes")["objects"]["customers"]["deleted"] == 1
    assert answer(state, sandbox, "drain")["dry_run"] is False
    emptied = answer(state, sandbox, "inbox")
    assert (emptied["unlanded"], emptied["unmarked"], emptied["oldest_received_at"]) == (0, 0, None)
    missing = run(state, sandbox, "inbox", "replay", str(tmp_path / "none"))
    assert (missing.returncode, "cannot be read: No such file" in missing.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "sentence"),
    [
        (("ingest",), {"STRIPE_SECRET_KEY": "sk_test_nobody"}, 3, "the key is refused"),
        (("ingest", "--objects", "payments"), {}, 2, "'payments'"),
        (("ingest", "--since", "2026-08-20", "--until", "2026-08-10"), {}, 2, "is not before --until 2026-08-10"),
        (("ingest", "--changes", "--since", "2026-08-01"), {}, 2, "--changes goes by itself"),
        (("ingest",), {"TINKO_STRIPE_API_BASE": "http://127.0.0.1:1", "TINKO_CLOCK": "system"}, 3, "cannot be read"),
        (("drain",), {"TINKO_STRIPE_API_BASE": "http://127.0.0.1:1"}, 3, "no sandbox answers"),
        (("query", "DROP TABLE fct_failed_payments"), {}, 2, "tinko:"),
        (
            ("mail",),
            {"TINKO_MAIL_TRANSPORT": "smtp", "TINKO_SMTP_URL": "smtp+plain://127.0.0.1:1"},
            5,
            "mail server",
        ),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_sentence(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    code: int,
    sentence: str,
    sandbox: str,
    state: Path,
) -> None:
    done = run(state, sandbox, *arguments, **environment)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_every_command_is_in_the_readme() -> None:
    documented = set(re.findall(r"`tinko ([a-z]+)", README.read_text("utf-8")))
    commands = {command.callback.__name__ for command in cli.registered_commands if command.callback}
    commands |= {str(group.name) for group in cli.registered_groups}
    assert commands == documented & commands
    assert documented <= commands
