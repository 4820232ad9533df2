"""`tinko ingest`: what Stripe shows, brought into the lake."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from tinko_pipelines.app import App
from tinko_pipelines.console import AsJson, application, err, show
from tinko_pipelines.errors import InputError
from tinko_pipelines.terminal import reading


def ingest(
    objects: Annotated[str | None, typer.Option(help="Names separated by commas; all by default.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Created at or after this moment (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Created before this moment (UTC).")] = None,
    changes: Annotated[bool, typer.Option(help="Only what has changed since the last such look.")] = False,
    again: Annotated[
        bool,
        typer.Option(
            help="Hold days against fresh lists and repair them: 1, 7, 35 and 120 days ago, or those given."
        ),
    ] = False,
    reparse: Annotated[
        bool, typer.Option(help="Parse the kept pages once more; asks nothing of Stripe.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read objects from Stripe into the lake; print the rows written."""
    app = application()
    if changes and (objects or since or until or again):
        raise InputError("--changes goes by itself: it knows what to read")
    if reparse and (changes or objects or since or until or again):
        raise InputError("--reparse goes by itself: it reads the pages that are kept")
    if again:
        _read_again(app, objects, since, until, as_json=as_json)
        return
    with reading(err) as progress:
        if reparse:
            results = app.reparse()
        elif changes:
            results = app.ingest_changes(progress=progress)
        else:
            names = [name.strip() for name in objects.split(",") if name.strip()] if objects else None
            results = app.ingest(names, since=_utc(since), until=_utc(until), progress=progress)
    for name, result in results.items():
        for notice in result.notices:
            err.print(f"{name}: {notice}", markup=False, highlight=False)
    rows = {name: result.written for name, result in results.items()}
    if as_json:
        totals = {name: {**result.counts(), "written": result.written} for name, result in results.items()}
        show({"written": sum(rows.values()), "objects": totals}, as_json)
    else:
        show({**rows, "written": sum(rows.values())}, as_json)


def _read_again(
    app: App, objects: str | None, since: datetime | None, until: datetime | None, *, as_json: bool
) -> None:
    if objects or (since is None) != (until is None):
        raise InputError("--again takes whole days of all objects: give both --since and --until, or neither")
    days = None
    if since is not None and until is not None:
        days = [(since + timedelta(days=n)).date() for n in range((until - since).days)]
    with reading(err) as progress:
        found = app.read_again(days, progress=progress)
    for one in found.differences:
        sums = "".join(f", {name} {old} -> {new}" for name, (old, new) in one.sums.items())
        number = f"{one.before_count} -> {one.after_count}"
        err.print(f"{one.day} {one.object_name}: {number}{sums}", markup=False, highlight=False)
    counts = {
        "read": found.read,
        "missing": found.missing,
        "changed": found.changed,
        "deleted": found.deleted,
    }
    show(found.told() if as_json else counts, as_json)


def _utc(moment: datetime | None) -> datetime | None:
    """A moment from the command line; without an offset it is UTC."""
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
