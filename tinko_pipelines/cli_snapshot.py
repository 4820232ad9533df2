"""`tinko snapshot`: the published versions, and going back to one; `tinko export`: what is in the newest, as files."""

from pathlib import Path
from typing import Annotated

import typer

from tinko_pipelines.console import AsJson, application, err, show
from tinko_pipelines.errors import InputError
from tinko_pipelines.terminal import show_rows

snapshot = typer.Typer(no_args_is_help=True, help="The published snapshots: list them, go back to one.")


@snapshot.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every version that is kept, the newest first; `*` marks the one that is read."""
    found = application().snapshots()
    if as_json:
        show({"snapshots": found}, as_json)
        return
    show_rows(
        ["", "version", "as of", "MB", "file"],
        [
            [
                "*" if one.is_newest else "",
                one.name,
                f"{one.as_of:%Y-%m-%d %H:%M:%S} UTC",
                f"{one.size_bytes / 1e6:.1f}",
                str(one.path),
            ]
            for one in found
        ],
    )


@snapshot.command()
def restore(
    version: Annotated[str, typer.Argument(help="Its name, as `tinko snapshot list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Let analysts read an older version again, until the next one is published; no reader is disturbed."""
    path = application().restore_snapshot(version)
    show({"restored": version, "snapshot": path}, as_json)


def export(
    name: Annotated[str | None, typer.Argument(help="A table or view of the snapshot, in any case.")] = None,
    format: Annotated[
        str | None, typer.Option(help="csv, parquet or xlsx; by the ending of --out, else csv.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file; named after the table if unset.")] = None,
    where: Annotated[str, typer.Option(help="Only rows that meet this condition, as SQL.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every table, each to a file in --dir.")] = False,
    folder: Annotated[Path | None, typer.Option("--dir", help="The folder for --all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a table or view of the snapshot as CSV, Parquet or Excel; a file that is there is replaced as a whole."""
    if every and (name or out or where):
        raise InputError("--all goes by itself: it takes --dir and --format")
    if every != (folder is not None) or not (every or name):
        raise InputError("name a table or view, or say --all --dir FOLDER")
    app = application()
    with err.status("Writing"):
        if folder is not None:
            found = app.export_tables(folder, format)
        else:
            found = [app.export_table(str(name), format, out, where)]
    if as_json:
        show({"files": found}, as_json)
        return
    show_rows(
        ["file", "rows", "MB"], [[str(one.path), one.rows, f"{one.size_bytes / 1e6:.1f}"] for one in found]
    )
