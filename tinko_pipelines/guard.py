"""What is refused before Stripe is spoken to: an unsafe key, and a state folder or lake that holds what came from elsewhere."""

from tinko_pipelines.errors import SettingsError
from tinko_pipelines.lake.place import Place
from tinko_pipelines.settings import Settings

ORIGINS = {"stand-in": "a stand-in for Stripe on this machine", "stripe": "Stripe"}


def guard(settings: Settings) -> None:
    """Raise SettingsError for either; a new state folder is marked with where what it holds will come from."""
    settings.guard()
    source = "stand-in" if settings.is_loopback else "stripe"
    marker = settings.state / "source"
    if not marker.exists():
        settings.state.mkdir(parents=True, exist_ok=True)
        marker.write_text(source)
    found = marker.read_text().strip()
    if found != source:
        origin = ORIGINS.get(found, ORIGINS["stripe"])
        raise SettingsError(
            f"{settings.state} holds what came from {origin}: set TINKO_STATE to another folder"
        )


def guard_lake(settings: Settings, place: Place) -> None:
    """The same for a lake that lies elsewhere than the state folder, which several of them may name."""
    source = "stand-in" if settings.is_loopback or settings.rests_on_sandbox else "stripe"
    found = place.read("source")
    if found is None:
        place.write([("source", source.encode())])
    elif found.decode().strip() != source:
        origin = ORIGINS.get(found.decode().strip(), ORIGINS["stripe"])
        raise SettingsError(
            f"the lake at {place.where} holds what came from {origin}: set TINKO_LAKE_URL to another place"
        )
