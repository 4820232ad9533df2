"""No password is shown, whichever part of an address it stands in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinko_pipelines.errors import MailError, SettingsError, StoreError
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.smtp import SmtpTransport
from tinko_pipelines.redact import redacted, shown
from tinko_pipelines.settings import load_settings

SECRET = "hunter22"
ADDRESSES = [
    f"postgresql://me:{SECRET}@127.0.0.1:1/x",
    f"postgresql://me@127.0.0.1:1/x?password={SECRET}",
    f"postgresql://127.0.0.1:1/x?user=me&password={SECRET}&connect_timeout=1",
    f"postgresql://me@127.0.0.1:1/x?sslpassword={SECRET}",
    f"postgresql://me:{SECRET}%40@127.0.0.1:1/x?PASSWORD={SECRET}",
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_a_ledger_that_cannot_be_reached_keeps_its_password(url: str) -> None:
    assert SECRET not in shown(url)
    assert "127.0.0.1:1/x" in shown(url)
    ledger = Ledger.open(url)
    with pytest.raises(StoreError, match=r"the ledger at .*127\.0\.0\.1:1/x") as found:
        ledger.migrate()
    assert SECRET not in str(found.value)
    ledger.close()


@pytest.mark.parametrize("url", ADDRESSES)
def test_settings_do_not_show_it(url: str) -> None:
    settings = load_settings(ledger_url=url)
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    assert settings.ledger == url


@pytest.mark.parametrize(
    "url",
    [
        f"smtp+plain://me:{SECRET}@127.0.0.1:1",
        f"smtp+plain://127.0.0.1:1?password={SECRET}",
        f"smtp+plain://me:12#{SECRET}@127.0.0.1:1",
        f"smtp+plain://me:12/{SECRET}@127.0.0.1:1",
        f"smtp+plain://me:12?{SECRET}@127.0.0.1:1",
        f"smtp+plain://me:{SECRET}#4@127.0.0.1:1",
    ],
)
def test_a_mail_server_that_cannot_be_used_keeps_it(url: str) -> None:
    with pytest.raises((MailError, SettingsError)) as found:
        SmtpTransport(url).ping()
    assert SECRET not in str(found.value)
    assert "me:12" not in str(found.value)


@given(st.text("abc%:@/?=# 123", min_size=4, max_size=20))
def test_what_stands_in_a_text_is_hidden(secret: str) -> None:
    said = f"connection failed: {secret} is not welcome"
    assert secret not in redacted(said, secrets=[secret])
    assert secret not in redacted(said, f"postgresql://me:{secret}@host/x")


def test_what_is_no_secret_stays(tmp_path: Path) -> None:
    for harmless in (f"sqlite:///{tmp_path}/ledger.db", "postgresql://me@host/x?sslmode=require"):
        assert shown(harmless) == harmless
    assert redacted("the key is refused", None, secrets=[None, "", "key"]) == "the key is refused"
