"""The one resource of the assets: an `App` built from the environment."""

from functools import lru_cache

from dagster import ConfigurableResource

from tinko_pipelines.app import App
from tinko_pipelines.settings import Settings, load_settings


@lru_cache(maxsize=8)
def _app(settings: Settings) -> App:
    """One `App` for equal settings, so that the steps of a process share stores and connections."""
    return App(settings)


class TinkoResource(ConfigurableResource):  # type: ignore[type-arg]
    """Builds the domain's `App` from the environment; `state` overrides the state folder."""

    state: str = ""

    def app(self) -> App:
        """The use cases, over the stores and the Stripe address the environment names."""
        overrides = {"state": self.state} if self.state else {}
        return _app(load_settings(**overrides))
