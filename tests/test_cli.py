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


def test_classify_keeps_what_it_is_taught_and_names_lines_it_refuses(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"text": "zorgl blib", "category": "limit_exceeded"}\n{"text": "x y", "category": "nope"}\n'
    )
    done = tinko(tmp_path, "classify", "--teach", str(rows))
    assert done.returncode == 2
    assert "line 2 is refused: there is no category 'nope'" in done.stderr
    assert (last_object(done)["added"], last_object(done)["kept_in_all"]) == (1, 1)
    assert "cannot read" in tinko(tmp_path, "classify", "--teach", str(tmp_path / "none")).stderr
    done = tinko(tmp_path, "classify", "--explain", stdin='{"code": "lost_card"}\n')
    assert last_object(done)["rule"] == "code:lost_card"


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
    assert (last_object(done)["dry_run"], last_object(done)["paused"]) == (True, [])
    told = tinko(tmp_path, "drain", STRIPE_SECRET_KEY="sk_test_" + "x" * 8)
    assert "done" in told.stdout
    assert "nothing" in told.stdout
    assert "called" not in told.stdout, "what is zero is left out"


@pytest.mark.parametrize("command", ["drain", "mail"])
def test_who_drains_or_mails_is_told_of_a_pause(tmp_path: Path, command: str) -> None:
    key = {"STRIPE_SECRET_KEY": "sk_test_" + "x" * 8}
    tinko(tmp_path, "doctor")
    tinko(tmp_path, "pause", "--reason", "the shop is shut", USER="ada")
    (found,) = last_object(tinko(tmp_path, command, "--json", **key))["paused"]  # type: ignore[misc,attr-defined]
    wanted = {"scope": "global", "stopped": "charging and mailing", "by": "cli:ada", "until": None}
    assert wanted | {"reason": "the shop is shut"} == {name: found[name] for name in (*wanted, "reason")}
    told = tinko(tmp_path, command, **key).stderr
    assert (
        "paused: global: charging and mailing stopped by cli:ada until a person resumes it: the shop is shut"
        in told
    )
    tinko(tmp_path, "resume")
    assert "paused" not in tinko(tmp_path, command, **key).stderr


def test_doctor_names_what_is_no_setting_and_no_key(tmp_path: Path) -> None:
    odd = {"TINKO_CHARGNG": "dry_run", "TINKO_WEATHER": "fine", "STRIPE_SECRET_KEY": "pk_test_" + "q" * 12}
    odd |= {"TINKO_RECONCILE_KEY": "whsec_" + "q" * 12, "TINKO_DAGSTER_URL": "postgresql://x/y"}
    done = tinko(tmp_path, "doctor", "--json", **odd)
    assert done.returncode == 1
    found = {each["name"]: each for each in last_object(done)["findings"]}  # type: ignore[index,attr-defined]
    assert found["TINKO_CHARGNG"]["fix"] == "did you mean TINKO_CHARGING?"
    assert found["TINKO_WEATHER"]["ok"] is False
    assert "TINKO_DAGSTER_URL" not in found
    assert "TINKO_STATE" not in found
    assert found["STRIPE_SECRET_KEY"]["text"] == "begins as a publishable key"
    assert found["TINKO_RECONCILE_KEY"]["text"] == "begins as a webhook's secret"
    assert "qqqq" not in done.stdout + done.stderr


def test_no_command_prints_a_password_of_the_ledgers_address(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/x?password=hunter22"
    for command in (("drain",), ("doctor",), ("doctor", "--json"), ("pause",), ("ledger", "backup", "x")):
        done = tinko(tmp_path, *command, TINKO_LEDGER_URL=url, STRIPE_SECRET_KEY="sk_test_" + "x" * 8)
        assert done.returncode != 0
        assert "127.0.0.1:1/x" in done.stdout + done.stderr
        assert "hunter22" not in done.stdout + done.stderr


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


@pytest.mark.parametrize("command", ["plan", "report"])
def test_an_empty_lake_is_said_to_be_empty(tmp_path: Path, command: str) -> None:
    done = tinko(tmp_path, command)
    assert (done.returncode, done.stdout) == (4, "")
    assert "nothing was ingested" in done.stderr
    assert "run `tinko ingest --changes` first" in done.stderr
    assert not (tmp_path / "recovery.duckdb").exists()


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
