"""Signing secrets as settings: one or two for each account, and shown nowhere."""

import pytest

from tests.web.serving import KEY, OTHER_SECRET, SECRET
from tinko_pipelines.console import told
from tinko_pipelines.errors import SettingsError
from tinko_pipelines.settings import load_settings

MORE = {"more_accounts": "eu=acct_eu,us=acct_us"}


def test_each_account_has_its_own() -> None:
    given = load_settings(
        webhook_secret=f" {SECRET} ,{OTHER_SECRET},",
        more_webhook_secrets=f"eu={SECRET}, eu = {OTHER_SECRET}",
        **MORE,
    )
    assert given.webhook_secrets == {"default": (SECRET, OTHER_SECRET), "eu": (SECRET, OTHER_SECRET)}
    assert load_settings().webhook_secrets == {}
    for shown in (repr(given), given.model_dump_json(), str(given)):
        assert SECRET not in shown
        assert OTHER_SECRET not in shown


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"webhook_secret": "q" * 20}, "TINKO_WEBHOOK_SECRET: .* begins with whsec_"),
        ({"webhook_secret": "whsec_"}, "TINKO_WEBHOOK_SECRET: .* begins with whsec_"),
        ({"webhook_secret": "whsec_a,whsec_b,whsec_qqqq"}, "TINKO_WEBHOOK_SECRET: default has more than 2"),
        ({"more_webhook_secrets": "whsec_qqqq"}, "TINKO_MORE_WEBHOOK_SECRETS: .* write name=whsec_"),
        ({"more_webhook_secrets": "de=whsec_qqqq"}, "TINKO_MORE_WEBHOOK_SECRETS: .* names no account"),
        ({"more_webhook_secrets": "eu=qqqq"}, "TINKO_MORE_WEBHOOK_SECRETS: .* for eu is no signing secret"),
        ({"more_webhook_secrets": "default=whsec_qqqq"}, "TINKO_MORE_WEBHOOK_SECRETS: .* names no account"),
    ],
)
def test_what_cannot_be_one_is_named_and_not_shown(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as found:
        load_settings(**MORE, **given)
    assert "qqqq" not in str(found.value)


def test_no_error_that_is_told_holds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKO_WEBHOOK_SECRET", f"{SECRET},{OTHER_SECRET}")
    monkeypatch.setenv("TINKO_MORE_WEBHOOK_SECRETS", "eu=whsec_hunter22+/=")
    monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
    said = told(ValueError(f"{SECRET} and {OTHER_SECRET} and whsec_hunter22+/= and {KEY}"))
    assert said == "*** and *** and *** and ***"
