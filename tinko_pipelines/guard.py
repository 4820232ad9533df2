"""What is refused before Stripe is spoken to: an unsafe key, and a state folder that holds what came from elsewhere."""

from tinko_pipelines.errors import SettingsError
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
