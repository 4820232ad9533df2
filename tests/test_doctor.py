"""The doctor names each missing right, counts who retries what, and shows no secret."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.object_store import SECRETS, LocalS3
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


def test_links_need_the_right_to_make_pages(tmp_path: Path) -> None:
    assert "read checkout/sessions" not in look(tmp_path, Account(refused="checkout/sessions"))
    settings = load_settings(state=tmp_path, stripe_secret_key=KEY, public_url="https://pay.example.com")
    findings = diagnose(settings, gateways=lambda: [Account(refused="checkout/sessions")])
    (found,) = [one for one in findings if one.name == "read checkout/sessions"]
    assert found.ok is False
    assert "write checkout sessions" in (found.fix or "")


def test_a_lake_on_an_object_store_is_looked_at(s3: LocalS3, tmp_path: Path) -> None:
    def lake(url: str) -> Finding:
        options = json.dumps(s3.options())
        settings = load_settings(state=tmp_path, stripe_secret_key=KEY, lake_url=url, lake_options=options)
        findings = diagnose(settings, gateways=lambda: [Account()])
        assert not any(secret in repr(findings) for secret in SECRETS)
        return next(finding for finding in findings if finding.name == "lake")

    url = s3.bucket("looked-at")
    assert lake(url) == Finding("lake", True, f"{url} answers; it is empty")
    assert lake("s3://nowhere/lake").ok is False
    s3.cut = True
    try:
        assert re.search("Could not connect|was closed", lake(url).text)
    finally:
        s3.cut = False
    assert not any(finding.name == "lake" for finding in look(tmp_path, Account()).values())


def test_an_account_whose_webhooks_nobody_takes_is_named(tmp_path: Path) -> None:
    secret = "whsec_" + "q" * 12
    found = look(tmp_path, Account())["webhooks"]
    assert found.ok is None
    assert "no signing secret for default" in found.text
    assert "tinko serve" in (found.fix or "")
    given = {"stripe_secret_key": KEY, "webhook_secret": secret, "more_accounts": "eu=acct_1"}
    findings = diagnose(load_settings(state=tmp_path, **given), gateways=lambda: [Account()])
    assert [each.text.partition(":")[0] for each in findings if each.name == "webhooks"] == [
        "no signing secret for eu"
    ]
    assert secret not in repr(findings)


def test_a_refused_key(tmp_path: Path) -> None:
    assert look(tmp_path, Account(status=401))["stripe"].ok is False


def test_letters_are_looked_at(tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    own.write_text("{")
    found = {one.name: one for one in diagnose(load_settings(state=tmp_path), gateways=list)}
    assert (found["sequences"].ok, found["sequences"].text) == (True, "5, version mails-1")
    assert "தமிழ் (ta)" in found["languages"].text
    assert "English" not in found["languages"].text
    assert "its API does not show" in found["stripe's own mails"].text
    assert "Subscriptions and emails" in (found["stripe's own mails"].fix or "")
    broken = {one.name: one for one in diagnose(load_settings(state=tmp_path, sequences=own), gateways=list)}
    assert broken["sequences"].ok is False
    assert str(own) in broken["sequences"].text
    assert "TINKO_SEQUENCES" in (broken["sequences"].fix or "")
    assert broken.keys() == found.keys()
