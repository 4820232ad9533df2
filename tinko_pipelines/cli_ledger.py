"""Commands about the ledger as a whole: does it agree with Stripe, what is in dispute, may it charge at all."""

import os
from pathlib import Path
from typing import Annotated

import typer

from tinko_pipelines.console import AsJson, application, err, needs_ledger, show
from tinko_pipelines.errors import ChecksFailedError, InputError
from tinko_pipelines.redact import shown

ledger = typer.Typer(no_args_is_help=True, help="Back up and restore the ledger.")

MAILS = (
    "Nothing outside a ledger knows what it has mailed. What it may have sent since is dropped, not sent again; a debt"
    " that is taken up anew gets only those of its mails that had not fallen due by now."
)


@ledger.command()
def backup(
    path: Annotated[Path, typer.Argument(help="A new file; it overwrites nothing.")], as_json: AsJson = False
) -> None:
    """Copy the ledger, as of one moment and while it is in use."""
    app = application()
    needs_ledger(app)
    with err.status("Copying the ledger"):
        size = app.backup_ledger(path)
    show({"path": path, "bytes": size}, as_json)


@ledger.command()
def restore(
    path: Annotated[Path, typer.Argument(help="A file written by `tinko ledger backup`.")],
    replace: Annotated[bool, typer.Option(help="Put it in place of a ledger that holds cases.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place of the ledger; nothing is charged or mailed until it is reconciled and resumed."""
    app = application()
    with err.status("Restoring the ledger"):
        dropped = app.restore_ledger(path, replace=replace)
    show({"restored": path, **_held(dropped), "next": "tinko reconcile, then tinko resume"}, as_json)


@ledger.command()
def lost(as_json: AsJson = False) -> None:
    """Say that the ledger before this one is lost; nothing is charged or mailed until all is reconciled and resumed."""
    app = application()
    with err.status("Holding everything"):
        dropped = app.follow_lost_ledger()
    following = "tinko ingest --changes, tinko plan, tinko reconcile, then tinko resume"
    show({**_held(dropped), "next": following}, as_json)


def _held(dropped: int) -> dict[str, object]:
    return {"paused": True, "mails_dropped": dropped, "mails": MAILS}


def reconcile(
    whole: Annotated[bool, typer.Option(help="The last 35 days, not only what is new.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hold the ledger against Stripe; exit code 6 when they disagree about money, and charging stops."""
    app = application()
    needs_ledger(app)
    with err.status("Reading Stripe and comparing"):
        found = app.reconcile(whole=whole or None)
    if as_json:
        show({"agreed": found.agreed, **found.counts(), "findings": found.findings}, as_json)
    else:
        for finding in found.findings:
            typer.echo(f"{'FAIL' if finding.money else 'note'}  {finding.kind}: {finding.detail}")
        show({"from": found.read_from, "until": found.read_until, **found.counts()}, as_json)
    if app.restored():
        err.print(
            "the ledger was restored and is still held: `tinko ingest --changes` and `tinko plan` if it has no cases yet,"
            " then `tinko reconcile` until it agrees"
        )
    if not found.agreed:
        raise ChecksFailedError(
            f"ledger and Stripe disagree about money in {found.disagreements} matters, so charging is stopped:"
            " see `tinko anomalies`"
        )


def anomalies(
    settle: Annotated[
        int | None, typer.Option(help="The number of one that a person has dealt with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what must not be and yet was seen; settle what a person has dealt with."""
    from tinko_pipelines.ledger import anomalies as book

    app = application()
    needs_ledger(app)
    if settle is not None:
        by = f"cli:{os.environ.get('USER', 'unknown')}"
        with app.ledger.write() as connection:
            if not book.settle(connection, settle, app.clock.now(), by):
                raise InputError(f"no open anomaly has the number {settle}: see `tinko anomalies`")
    found = book.still_open(app.ledger)
    if as_json:
        show({"open": found}, as_json)
        return
    for row in found:
        typer.echo(f"{row['id']}  {row['kind']} ({row['account_id']}): {row['detail'] or row['subject']}")
        if row["proposal"]:
            typer.echo(f"   proposal: {row['proposal']}")
    typer.echo(f"{len(found)} open")


def _switch(enabled: bool, account: str | None, reason: str, as_json: bool, anyway: bool = False) -> None:
    from tinko_pipelines.ledger.control import accounts
    from tinko_pipelines.ledger.control import pause as pause_all

    app = application()
    needs_ledger(app)
    known = {*app.settings.account_names, *accounts(app.ledger)}
    if account is not None and account not in known:
        raise InputError(f"there is no account {account!r}; known are {', '.join(sorted(known))}")
    scope = account or "global"
    by = f"cli:{os.environ.get('USER', 'unknown')}"
    if enabled:
        app.resume(account, reason=reason, by=by, anyway=anyway)
    else:
        pause_all(app.ledger, scope=scope, reason=reason, by=by, at=app.clock.now())
    switched = {"charging_enabled": enabled, "mailing_enabled": enabled}
    left = [pause.scope for pause in app.pauses() if pause.scope != scope]
    still = {"still_paused": left} if left else {}
    ledger = shown(app.settings.ledger)
    show({"scope": scope, **switched, "reason": reason, **still, "ledger": ledger}, as_json)


def pause(reason: str = "paused by hand", account: str | None = None, as_json: AsJson = False) -> None:
    """Stop all charging and mailing at once, for all accounts or one."""
    _switch(False, account, reason, as_json)


def resume(
    reason: str = "resumed by hand",
    account: str | None = None,
    anyway: Annotated[bool, typer.Option(help="Even while ledger and Stripe disagree.")] = False,
    as_json: AsJson = False,
) -> None:
    """Allow charging and mailing again."""
    _switch(True, account, reason, as_json, anyway)
