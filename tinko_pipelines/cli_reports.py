"""`tinko report` and `tinko docs`: what is made for people to read."""

from typing import Annotated, Any

import typer

from tinko_pipelines.console import AsJson, application, err, show
from tinko_pipelines.terminal import summary_lines


def report(
    mail: Annotated[bool, typer.Option("--mail", help="And mail it to who has not had this week's.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build and test the marts, publish the snapshot, write the HTML report."""
    app = application()
    with err.status("Building marts, snapshot and report"):
        path = app.report()
        found = app.summary()
    core = ("failed_count", "recovered_count", "recovery_rate_count", "by_currency", "attempts", "messages")
    paths: dict[str, Any] = {"snapshot": app.settings.snapshot_path, "report_path": path}
    if mail:
        paths["mailed"] = app.mail_report().counts()
    if as_json:
        show({**{name: found[name] for name in core}, **paths}, as_json)
    else:
        show({**summary_lines(found), **paths}, as_json)


def docs(
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8081,
    serve: Annotated[bool, typer.Option(help="Serve it until Ctrl-C, or only write it.")] = True,
    as_json: AsJson = False,
) -> None:
    """Serve dbt's documentation of the marts on loopback until Ctrl-C."""
    from tinko_pipelines.reports.dbt_docs import server

    app = application()
    with err.status("Writing the documentation"):
        path = app.write_docs()
    if not serve:
        show({"docs_path": path}, as_json)
        return
    with server(path, port) as door:
        url = f"http://127.0.0.1:{door.server_address[1]}"
        show({"url": url, "docs_path": path}, as_json)
        try:
            door.serve_forever()
        except KeyboardInterrupt:
            return
