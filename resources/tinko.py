"""The one resource of the assets: an `App` built from the environment, or handed in by a test."""

from dagster import ConfigurableResource
from pydantic import PrivateAttr

from tinko_pipelines.app import App
from tinko_pipelines.settings import load_settings


class TinkoResource(ConfigurableResource):  # type: ignore[type-arg]
    """Builds the domain's `App` once per process; `state` overrides the state folder."""

    state: str = ""
    _app: App | None = PrivateAttr(default=None)

    def app(self) -> App:
        """The use cases, over the stores and the Stripe address the environment names."""
        if self._app is None:
            overrides = {"state": self.state} if self.state else {}
            self._app = App(load_settings(**overrides))
        return self._app
