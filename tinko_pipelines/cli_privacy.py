"""`tinko privacy`: what is kept of a person, for who asks, and forgetting it. Nothing is erased without `--yes`."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from tinko_pipelines.console import AsJson, application, err, needs_ledger, plain, show
from tinko_pipelines.errors import InputError, StoreError

privacy = typer.Typer(no_args_is_help=True, help="Export what is kept of a customer, or erase it.")

Customer = Annotated[str, typer.Argument(help="The customer's id at Stripe, such as cus_….")]
Whose = Annotated[str | None, typer.Option(help="Whose customer; the main account's if unset.")]


@privacy.command()
def export(
    customer: Customer,
    file: Annotated[
        Path | None, typer.Option(help="A new file, for its owner alone; printed if not given.")
    ] = None,
    account: Whose = None,
) -> None:
    """Everything that is kept of a customer, as one JSON document."""
    app = application()
    needs_ledger(app)
    with err.status("Gathering"):
        found = plain(app.export_person(customer, account))
    text = json.dumps(found, ensure_ascii=False, indent=2)
    if file is None:
        typer.echo(text)
        return
    try:
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as out:
            out.write(text)
    except FileExistsError:
        raise InputError(f"{file} exists: name a new file, an export overwrites nothing") from None
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}; name another place") from error
    typer.echo(f"written to {file}: keep it safe, it holds a person's data")


@privacy.command()
def erase(
    customer: Customer,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; otherwise it is only told what would change.")
    ] = False,
    account: Whose = None,
    as_json: AsJson = False,
) -> None:
    """Take a customer out of lake, pages, ledger, marts and outbox, for good; the money stays, without a person."""
    app = application()
    needs_ledger(app)
    with err.status("Erasing" if yes else "Looking"):
        found = app.erase_person(customer, account, apply=yes)
    if as_json:
        show(found, as_json)
        return
    places = {f"lake: {name}": count for name, count in found.lake.items()}
    places |= {f"ledger: {name}": count for name, count in found.ledger.items()}
    places |= {"mails": found.mails} if found.mails else {}
    show({**places, "cases closed": len(found.closes)}, as_json)
    for sentence in found.against:
        typer.echo(sentence)
    typer.echo("done" if found.done else "nothing is changed: say --yes to do it")
