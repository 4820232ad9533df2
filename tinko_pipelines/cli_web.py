"""`tinko serve`: the door for Stripe's webhooks and the pages of customers, on loopback behind a proxy that speaks TLS."""

from typing import Annotated

import typer

from tinko_pipelines.console import application


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen; TINKO_WEB_HOST if unset.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="On which port, 0 for any; TINKO_WEB_PORT if unset.")
    ] = None,
) -> None:
    """Serve webhooks, health and metrics until SIGTERM or Ctrl-C; one line of JSON for each request."""
    from tinko_pipelines.web.server import serve as answer

    app = application()
    settings = app.settings
    answer(app, host or settings.web_host, settings.web_port if port is None else port)
