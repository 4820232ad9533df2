"""The doctor names each missing right, counts who retries what, and shows no secret."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinko_pipelines.doctor import Finding, diagnose
from tinko_pipelines.gateway.records import Answer
from tinko_pipelines.settings import load_settings

KEY = "sk_test_" + "y" * 8


class Account:
    account_id, livemode, api_version = "default", False, "2026-10-28.endive"

    def __init__(self, refused: str = "", status: int | None = None) -> None:
        self.refused, self.status = refused, status

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        if self.status is not None:
            return Answer(self.status, body={})
        if self.refused and path.endswith(self.refused):
            return Answer(403, body={})
        first = "starting_after" not in (params or {})
        rows = [{"id": "in_1", "next_payment_attempt": 1 if first else None}, {"id": "in_2"}]
        return Answer(200, body={"data": rows, "has_more": first})

    def post(self, path: str, params: Mapping[str, Any], idempotency_key: str, api_version: str) -> Answer:
        raise AssertionError("a doctor changes nothing")


def look(tmp_path: Path, account: Account) -> dict[str, Finding]:
    settings = load_settings(state=tmp_path, stripe_secret_key=KEY)
    findings = diagnose(settings, gateways=lambda: [account])
    assert KEY not in repr(findings)
    return {finding.name: finding for finding in findings}


def test_a_healthy_account(tmp_path: Path) -> None:
    found = look(tmp_path, Account())
    assert not [each for each in found.values() if each.ok is False]
    assert "1 of 4 open invoices" in found["stripe's own retries"].text
    assert "takeover" in (found["stripe's own retries"].fix or "")
    assert found["charging"].text == "dry run"


def test_a_missing_right_is_named(tmp_path: Path) -> None:
    found = look(tmp_path, Account(refused="disputes"))
    assert found["read disputes"].ok is False
    assert "disputes" in (found["read disputes"].fix or "")


def test_a_refused_key(tmp_path: Path) -> None:
    assert look(tmp_path, Account(status=401))["stripe"].ok is False
