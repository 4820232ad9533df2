"""`tinko inbox`: webhook events that wait, and putting those of a file beside them."""

import sys
from contextlib import nullcontext
from typing import Annotated, Any, BinaryIO

import typer

from tinko_pipelines.console import AsJson, application, err, needs_ledger, show
from tinko_pipelines.errors import InputError

inbox = typer.Typer(help="Webhook events that wait, and replaying those of a file.")


@inbox.callback(invoke_without_command=True)
def waiting(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what waits in the webhook inbox, and since when."""
    if context.invoked_subcommand is None:
        show_(as_json)


@inbox.command("show")
def show_(as_json: AsJson = False) -> None:
    """Show how many events wait to be brought into the lake or to mark cases, and the oldest."""
    app = application()
    needs_ledger(app)
    show(app.inbox(), as_json)


@inbox.command()
def replay(
    file: Annotated[
        str, typer.Argument(help="JSON lines, a JSON list or a page of Stripe's list; - for stdin.")
    ],
    account: Annotated[
        str | None, typer.Option(help="Whose events they are that name no account; the main one's if unset.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the events of a file into the inbox; what is malformed, of the other mode or known already stays out."""
    app = application()
    with err.status("Taking events in"), _opened(file) as stream:
        found = app.replay_events(stream, account)
    for reason in found.reasons:
        err.print(f"refused: {reason}", markup=False, highlight=False, soft_wrap=True)
    if found.refused > len(found.reasons):
        err.print(f"refused: {found.refused - len(found.reasons)} more", highlight=False)
    show({"taken": found.taken, "known": found.known, "refused": found.refused}, as_json)
    if found.refused:
        raise typer.Exit(InputError.exit_code)


def _opened(file: str) -> Any:
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        stream: BinaryIO = open(file, "rb")  # noqa: PTH123, SIM115
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    return stream
