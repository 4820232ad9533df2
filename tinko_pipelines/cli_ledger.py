"""Commands about the ledger as a whole: does it agree with Stripe, and what is in dispute."""

import os
from typing import Annotated

import typer

from tinko_pipelines.console import AsJson, application, err, needs_ledger, show
from tinko_pipelines.errors import ChecksFailedError, InputError


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
