"""Settings: what is refused for safety, and that errors name the variable."""

from pathlib import Path

import pytest

from tinko_pipelines.errors import SettingsError
from tinko_pipelines.settings import SANDBOX_KEY, STRIPE_API_BASE, Settings, load_settings

LOCAL = "http://127.0.0.1:12111"
LIVE = "sk_" + "live_" + "0" * 8


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "STRIPE_SECRET_KEY",
        "TINKO_STRIPE_API_BASE",
        "TINKO_CHARGING",
        "TINKO_STATE",
        "TINKO_CLOCK",
    ):
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_harmless() -> None:
    settings = load_settings()
    assert settings.stripe_api_base == STRIPE_API_BASE
    assert settings.state == Path(".tinko").absolute()
    with pytest.raises(SettingsError, match="STRIPE_SECRET_KEY"):
        _ = settings.key


def test_a_live_key_needs_leave() -> None:
    with pytest.raises(SettingsError, match="TINKO_ALLOW_LIVE"):
        load_settings(stripe_secret_key=LIVE).guard()
    load_settings(stripe_secret_key=LIVE, allow_live=True).guard()


@pytest.mark.parametrize(
    ("given", "ceilings"),
    [
        ({"stripe_secret_key": LIVE}, (100.0, 25.0)),
        ({"stripe_secret_key": "rk_test_1"}, (25.0, 25.0)),
        ({"stripe_secret_key": LIVE, "stripe_requests_per_second": 60.0}, (60.0, 60.0)),
        ({"stripe_secret_key": LIVE, "stripe_requests_per_resource": 10.0}, (100.0, 10.0)),
    ],
)
def test_the_ceilings_go_by_the_key(given: dict[str, object], ceilings: tuple[float, float]) -> None:
    assert load_settings(**given).request_ceilings == ceilings


@pytest.mark.parametrize(
    "url", ["/srv/lake", "file:///srv/lake", "s3://", "sftp://host/lake", "simplecache::s3://b"]
)
def test_a_lake_lies_in_the_state_folder_or_on_an_object_store(url: str) -> None:
    with pytest.raises(SettingsError, match=r"TINKO_LAKE_URL: .* set TINKO_STATE"):
        load_settings(lake_url=url)


def test_the_lakes_options_are_an_object_and_secret() -> None:
    given = load_settings(lake_url=" s3://bucket/lake/ ", lake_options='{"secret": "not-to-be-seen"}')
    assert given.lake_url == "s3://bucket/lake"
    assert given.lake_storage_options == {"secret": "not-to-be-seen"}
    assert "not-to-be-seen" not in repr(given)
    assert (load_settings(lake_url="").lake_url, load_settings(lake_options="").lake_storage_options) == (
        None,
        {},
    )
    for wrong in ("[1]", '{"secret": "not-to-be-seen"', "7"):
        with pytest.raises(SettingsError, match=r"TINKO_LAKE_OPTIONS: .* JSON object") as said:
            load_settings(lake_options=wrong)
        assert "not-to-be-seen" not in str(said.value)


@pytest.mark.parametrize("key", ["sk_org_live_1", "sk_prod_1", "pk_live_1", "anything"])
def test_a_key_that_is_no_test_key_is_never_taken_for_one(key: str) -> None:
    settings = load_settings(stripe_secret_key=key)
    assert settings.livemode
    with pytest.raises(SettingsError, match="TINKO_ALLOW_LIVE") as found:
        settings.guard()
    assert key not in str(found.value)


def test_a_live_key_never_goes_to_a_stand_in() -> None:
    with pytest.raises(SettingsError, match="never sent"):
        load_settings(stripe_secret_key=LIVE, allow_live=True, stripe_api_base=LOCAL).guard()


def test_charging_is_a_dry_run_outside_the_sandbox() -> None:
    test_key = load_settings(stripe_secret_key="sk_test_" + "x" * 8)
    assert not test_key.charges_for_real
    assert not test_key.mails_for_real
    sandbox = load_settings(stripe_api_base=LOCAL)
    assert sandbox.key == SANDBOX_KEY
    assert sandbox.charges_for_real
    assert sandbox.mails_for_real
    assert not load_settings(stripe_api_base=LOCAL, charging="dry_run").charges_for_real


def test_the_sandbox_clock_needs_a_sandbox() -> None:
    with pytest.raises(SettingsError, match="TINKO_CLOCK"):
        load_settings(clock="sandbox").guard()


def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKO_CHARGING", "maybe")
    with pytest.raises(SettingsError, match="TINKO_CHARGING"):
        load_settings()


def test_the_key_is_not_shown() -> None:
    assert "sk_test_hidden" not in repr(load_settings(stripe_secret_key="sk_test_hidden"))


def test_every_setting_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variable = "STRIPE_SECRET_KEY" if alias else f"TINKO_{name.upper()}"
        assert f"`{variable}`" in readme, f"{variable} is not in the README"
