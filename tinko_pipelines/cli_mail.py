"""Commands about mails beside sending them: what one said, what came back, and who is written to no more."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tinko_pipelines.cli_desk import Most, Yes, _app, _one_of, _table, mail
from tinko_pipelines.console import AsJson, show
from tinko_pipelines.errors import InputError

__all__ = ["mail"]

Address = Annotated[str, typer.Argument(help="An e-mail address; only its keyed hash is kept.")]


@mail.command("show")
def show_mail(
    message: Annotated[str, typer.Argument(help="The mail's id or its beginning, see `tinko mail list`.")],
    html: Annotated[bool, typer.Option("--html", help="Its HTML instead of its text.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a mail said, as it went out or is to go out again, and what became of it."""
    from tinko_pipelines.outreach.addresses import read_or_make_salt
    from tinko_pipelines.outreach.bodies import shown

    app = _app()
    found = shown(app.ledger, message, read_or_make_salt(app.settings.mail_salt))
    if as_json:
        show(found, as_json)
        return
    if html:
        typer.echo(found["html"])
        return
    row = {name: value for name, value in found["message"].items() if value is not None}
    show({**row, **found["headers"]}, as_json)
    typer.echo(found["text"] or "what it says is not kept: it was not claimed yet, or its person was erased")


@mail.command()
def bounces(
    file: Annotated[
        str, typer.Argument(help="A report as a mail server pipes it; `-` reads standard input.")
    ],
    as_json: AsJson = False,
) -> None:
    """Read a delivery report (RFC 3464) or complaint (RFC 5965); who cannot be reached is written to no more."""
    from tinko_pipelines.outreach.addresses import read_or_make_salt
    from tinko_pipelines.outreach.bounces import MOST_BYTES, apply, read_report

    app = _app()
    try:
        content = sys.stdin.buffer.read(MOST_BYTES) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    report = read_report(content, read_or_make_salt(app.settings.mail_salt))
    if report is None:
        show({"kind": None, "message_id": None, "suppressed": 0, "new": False}, as_json)
        return
    show(apply(app.ledger, report, app.clock.now()), as_json)


@mail.command()
def suppress(
    address: Address,
    reason: Annotated[str, typer.Option(help="hard_bounce, complaint, unsubscribed or by_hand.")] = "by_hand",
    as_json: AsJson = False,
) -> None:
    """Write to this address no more, from no account."""
    from tinko_pipelines.outreach import suppression

    app = _app()
    known = _one_of(reason, suppression.REASONS)
    new = suppression.suppress(app.ledger, _hashed(app.settings.state, address), known, app.clock.now())
    show({"suppressed": True, "new": new}, as_json)


@mail.command()
def unsuppress(address: Address, yes: Yes = False, as_json: AsJson = False) -> None:
    """Let mails go to this address again."""
    from tinko_pipelines.outreach import suppression

    app = _app()
    hashed = _hashed(app.settings.state, address)
    reason = suppression.allow(app.ledger, hashed) if yes else suppression.reason_of(app.ledger, hashed)
    if reason is None:
        raise InputError("this address is not suppressed: see `tinko mail suppressed`")
    show({"was": reason, "done": yes}, as_json)


@mail.command()
def suppressed(limit: Most = 100, as_json: AsJson = False) -> None:
    """List the addresses nothing is sent to, by their keyed hashes, with the reason and since when."""
    from tinko_pipelines.outreach.suppression import listed

    _table("suppressed", ("address_hmac", "reason", "at"), listed(_app().ledger, limit), as_json)


@mail.command()
def copy(
    to: Annotated[
        str, typer.Option(help="An SMTP server on this machine, MailDev say.")
    ] = "smtp+plain://127.0.0.1:1025",
    wait_seconds: Annotated[
        float, typer.Option("--wait", min=0, max=300, help="For the server to answer.")
    ] = 0,
    limit: Most = 200,
    as_json: AsJson = False,
) -> None:
    """Show the newest mails of the outbox folder to a mail viewer on this machine; nothing reaches a customer."""
    from tinko_pipelines.outreach.copying import copy_mails

    show({"copied": copy_mails(_app().settings.outbox_dir, to, wait_seconds, limit)}, as_json)


def _hashed(state: Path, address: str) -> str:
    from tinko_pipelines.outreach.addresses import hash_address, read_or_make_salt

    if address.count("@") != 1 or not address.isascii():
        raise InputError(f"{address!r} is no e-mail address")
    return hash_address(address, read_or_make_salt(state / "mail.salt"))
