"""Commands by which people look at single cases and mails, and act on them. Nothing is done without `--yes`."""

import os
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinko_pipelines.console import AsJson, application, err, needs_ledger, plain, show, show_work
from tinko_pipelines.errors import InputError, TinkoError
from tinko_pipelines.settings import load_settings
from tinko_pipelines.terminal import show_rows

if TYPE_CHECKING:
    from tinko_pipelines.app import App
    from tinko_pipelines.retry.desk import Act, Desk

case = typer.Typer(no_args_is_help=True, help="Look at cases and decide about those that wait for a person.")
mail = typer.Typer(
    invoke_without_command=True, help="Send every recovery mail that is due; settle those in doubt."
)

Case = Annotated[
    str, typer.Argument(help="The case's id or its beginning, or the id of its invoice or intent.")
]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the act.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; otherwise it is only told what would change.")]
By = Annotated[str | None, typer.Option(help="Who decides, if not the user of this machine.")]
Most = Annotated[int, typer.Option(min=1, max=10_000)]
CASE_COLUMNS = (
    "id",
    "state",
    "debt_id",
    "amount_minor",
    "currency",
    "due_at",
    "updated_at",
    "account_id",
    "state_reason",
)
MAIL_COLUMNS = ("id", "state", "case_id", "step", "kind", "due_at", "claimed_at", "account_id", "detail")


@case.command("list")
def list_(
    state: Annotated[str, typer.Option(help="A state of cases, or `all`.")] = "needs_human",
    limit: Most = 100,
    as_json: AsJson = False,
) -> None:
    """List the cases that wait for a person, or those in another state."""
    from tinko_pipelines.ledger.schema import CASE_STATES
    from tinko_pipelines.retry.files import list_cases

    app, wanted = _app(), _one_of(state, (*CASE_STATES, "all"))
    found = list_cases(app.ledger, None if wanted == "all" else wanted, limit)
    _table("cases", CASE_COLUMNS, found, as_json)


@case.command("show")
def show_(reference: Case, as_json: AsJson = False) -> None:
    """Show a case, its attempts, links, pages, mails, events and anomalies, and what Stripe shows of it now."""
    from tinko_pipelines.retry.files import stripe_shows, whole_case

    app = _app()
    found: dict[str, Any] = whole_case(app.ledger, reference)
    found["case"] = found["case"][0]
    try:
        gateway = app.account(found["case"]["account_id"]).gateway
        found["stripe"] = stripe_shows(gateway, found["case"], found["pages"])
    except TinkoError as error:
        found["stripe"] = {"standing": "unread", "reason": str(error), "charges": [], "pages": []}
    if as_json:
        show(found, as_json)
        return
    show({name: value for name, value in found["case"].items() if value is not None}, as_json)
    for name in ("attempts", "links", "pages", "messages", "events", "anomalies"):
        typer.echo(f"{name}: {len(found[name])}")
        _lines(found[name])
    typer.echo(f"Stripe: {found['stripe']['reason']}")
    _lines([*found["stripe"]["charges"], *found["stripe"]["pages"]])


@case.command()
def resolve(
    reference: Case,
    state: Annotated[str, typer.Option("--as", help="recovered, paid_elsewhere, cancelled or exhausted.")],
    reason: Reason,
    attempt: Annotated[
        str | None,
        typer.Option(
            help="What became of an attempt Stripe cannot tell of: succeeded, declined or abandoned."
        ),
    ] = None,
    yes: Yes = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """End a case, after its open attempt is settled by what Stripe shows; what contradicts Stripe is refused."""
    from tinko_pipelines.retry.desk import OUTCOMES

    said = None if attempt is None else _one_of(attempt, OUTCOMES)
    _tell(_desk(yes, by).resolve(reference, state, reason, said), as_json)


@case.command()
def retry(reference: Case, reason: Reason, yes: Yes = False, by: By = None, as_json: AsJson = False) -> None:
    """Hand a case back to the next drain; every cap and every look before the call still holds."""
    _tell(_desk(yes, by).retry(reference, reason), as_json)


@case.command()
def stop(reference: Case, reason: Reason, yes: Yes = False, by: By = None, as_json: AsJson = False) -> None:
    """Give a debt up: no more retries or mails."""
    _tell(_desk(yes, by).stop(reference, reason), as_json)


@mail.callback()
def send(context: typer.Context, as_json: AsJson = False) -> None:
    """Send every recovery mail that is due; settle those in doubt."""
    if context.invoked_subcommand is not None:
        return
    app = application()
    with err.status("Sending what is due"):
        result = app.send_mail(owner=f"cli:{os.getpid()}")
    show_work(app, result.counts(), dry_run=not app.settings.mails_for_real, as_json=as_json)


@mail.command()
def preview(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write into; `mail-preview` below the state folder if unset."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write pages that show every mail in every language, light and dark, wide and narrow; uses no network."""
    from tinko_pipelines.outreach import preview as gallery
    from tinko_pipelines.outreach import sequences

    settings = load_settings()
    folder = out if out is not None else settings.state / "mail-preview"
    made = gallery.build(folder, settings, sequences.load(settings.sequences))
    show(
        {
            "index": made.index,
            "mails": made.mails,
            "machine_drafted": list(made.machine_drafted),
            "missing": {code: list(names) for code, names in made.missing.items()},
        },
        as_json,
    )


@mail.command("list")
def list_mails_(
    state: Annotated[str, typer.Option(help="A state of mails, or `all`.")] = "in_doubt",
    limit: Most = 100,
    as_json: AsJson = False,
) -> None:
    """List the mails of which nobody knows whether they went out, or those in another state."""
    from tinko_pipelines.ledger.schema import MESSAGE_STATES
    from tinko_pipelines.retry.files import list_mails

    app, wanted = _app(), _one_of(state, (*MESSAGE_STATES, "all"))
    found = list_mails(app.ledger, None if wanted == "all" else wanted, limit)
    _table("mails", MAIL_COLUMNS, found, as_json)


@mail.command("resolve")
def resolve_mail(
    message: Annotated[str, typer.Argument(help="The mail's id, see `tinko mail list`.")],
    state: Annotated[str, typer.Option("--as", help="sent or not_sent.")],
    reason: Reason,
    yes: Yes = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a mail in doubt went out; it is not sent again either way, the next one of the plan goes on."""
    went_out = _one_of(state, ("sent", "not_sent")) == "sent"
    _tell(_desk(yes, by).resolve_mail(message, went_out, reason), as_json)


def _app() -> "App":
    app = application()
    needs_ledger(app)
    return app


def _desk(yes: bool, by: str | None) -> "Desk":
    from tinko_pipelines.retry.desk import Desk

    app = _app()
    return Desk(
        app.ledger, lambda name: app.account(name).gateway, app.clock.now(), by or getuser(), apply=yes
    )


def _one_of(given: str, known: tuple[str, ...]) -> str:
    if given not in known:
        raise InputError(f"{given!r} is none of {', '.join(known)}")
    return given


def _tell(act: "Act", as_json: bool) -> None:
    if as_json:
        show(act, as_json)
        return
    for change in act.changes:
        typer.echo(change)
    typer.echo("done" if act.done else "nothing is changed: say --yes to do it")


def _table(name: str, columns: tuple[str, ...], found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show({name: found}, as_json)
        return
    show_rows(columns, [[plain(row[column]) for column in columns] for row in found])


def _lines(found: list[dict[str, Any]]) -> None:
    for row in found:
        known = {name: plain(value) for name, value in row.items() if value is not None and name != "params"}
        typer.echo("  " + "  ".join(f"{name}={value}" for name, value in known.items()))
