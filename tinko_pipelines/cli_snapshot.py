"""`tinko snapshot`: the published versions, and going back to one."""

from typing import Annotated

import typer

from tinko_pipelines.console import AsJson, application, show
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
