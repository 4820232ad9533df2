"""The command line as a person meets it: real processes, one-sentence errors, one JSON object."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def tinko(
    state: Path, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TINKO_", "STRIPE_"))}
    return subprocess.run(
        [sys.executable, "-c", "from tinko_pipelines.cli import main; main()", *arguments],
        input=stdin, capture_output=True, text=True, check=False, timeout=120,
        env={**clean, "TINKO_STATE": str(state), **environment},
    )  # fmt: skip


def last_object(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    parsed = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(parsed, dict)
    return parsed


def test_classify_reads_and_writes_json_lines(tmp_path: Path) -> None:
    lines = '{"code": "insufficient_funds"}\nnot json\n{"code": "stolen_card", "network": "visa"}\n'
    lines += '{"code": "card_declined", "decline_code": "fraudulent"}\n'
    done = tinko(tmp_path, "classify", stdin=lines)
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["category"], first["retry_same_card"]) == ("insufficient_funds", True)
    assert "error" in second
    assert (third["category"], third["retry_same_card"]) == ("lost_or_stolen", False)
    assert (fourth["move"], fourth["retry_same_card"]) == ("stop", False)


def test_pause_and_resume_and_check(tmp_path: Path) -> None:
    for command in ("pause", "resume", "check"):
        done = tinko(tmp_path / "elsewhere", command)
        assert done.returncode == 2
        assert "there is no ledger at" in done.stderr
    tinko(tmp_path, "doctor")  # It makes the ledger.
    assert "no account 'nosuch'" in tinko(tmp_path, "pause", "--account", "nosuch").stderr
    assert last_object(tinko(tmp_path, "pause", "--json"))["charging_enabled"] is False
    tinko(tmp_path, "pause", "--account", "default")
    resumed = last_object(tinko(tmp_path, "resume", "--json"))
    assert (resumed["charging_enabled"], resumed["still_paused"]) == (True, ["default"])
    assert "still_paused" not in last_object(tinko(tmp_path, "resume", "--account", "default", "--json"))
    done = tinko(tmp_path, "check", "--json")
    assert done.returncode == 0, done.stderr
    assert last_object(done)["ok"] is True


def test_drain_is_a_dry_run_with_a_test_key(tmp_path: Path) -> None:
    done = tinko(tmp_path, "drain", "--json", STRIPE_SECRET_KEY="sk_test_" + "x" * 8)
    assert done.returncode == 0, done.stderr
    assert last_object(done)["dry_run"] is True


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "no Stripe key"),
        ({"STRIPE_SECRET_KEY": "sk_" + "live_" + "x" * 8}, "TINKO_ALLOW_LIVE=1"),
        (
            {"TINKO_LEDGER_URL": "postgresql://nobody:pw@127.0.0.1:1/x", "STRIPE_SECRET_KEY": "sk_test_x"},
            "cannot be used",
        ),
        ({"TINKO_DRAIN_WORKERS": "many"}, "TINKO_DRAIN_WORKERS"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, environment: dict[str, str], sentence: str) -> None:
    done = tinko(tmp_path, "drain", **environment)
    assert done.returncode in {2, 3, 4}
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "pw" not in done.stderr.replace("pw_", "")


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    done = tinko(tmp_path, "doctor", "--json")
    assert done.returncode == 1, done.stderr
    found = {each["name"]: each for each in last_object(done)["findings"]}  # type: ignore[index,attr-defined]
    assert "STRIPE_SECRET_KEY" in found["key"]["text"]
    assert found["ledger"]["ok"] is True


def test_a_state_folder_serves_one_stripe(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("stand-in")
    done = tinko(tmp_path, "drain", STRIPE_SECRET_KEY="sk_test_" + "x" * 8)
    assert done.returncode == 2
    assert "set TINKO_STATE to another folder" in done.stderr
