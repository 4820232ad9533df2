"""`tinko metric`: the numbers by their names."""

import json
from typing import Annotated

import typer

from tinko_pipelines.console import AsJson, application, err, show
from tinko_pipelines.terminal import show_rows


def metric(
    names: Annotated[list[str] | None, typer.Argument(help="Metrics; none lists them all.")] = None,
    by: Annotated[str, typer.Option(help="Columns to break them down by, with commas between.")] = "",
    where: Annotated[str, typer.Option(help="A condition on the rows, as SQL.")] = "",
    sql: Annotated[bool, typer.Option("--sql", help="Show the query and do not ask it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the published snapshot for metrics, each as it is defined in one place."""
    app = application()
    if not names:
        found = app.query(
            "SELECT metric, label, unit, made_of, description FROM metrics ORDER BY made_of, metric", 1_000
        )
    else:
        text = app.metrics_sql(names, [column.strip() for column in by.split(",") if column.strip()], where)
        if sql:
            typer.echo(json.dumps({"sql": text}) if as_json else text)
            return
        found = app.query(text, 100_000)
    if found.truncated:
        err.print(f"only the first {len(found.rows)} rows", highlight=False)
    if as_json:
        show({"columns": found.columns, "rows": found.rows, "truncated": found.truncated}, as_json)
        return
    show_rows(found.columns, found.rows)
