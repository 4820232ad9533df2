"""What all commands share: the application of the environment, and printing a result for a person or as JSON."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from tinko_pipelines.app import App
from tinko_pipelines.errors import InputError
from tinko_pipelines.redact import redacted
from tinko_pipelines.settings import load_settings

out = Console()
err = Console(stderr=True)

_KEY = re.compile(r"[A-Za-z]+_(?:live|test)_\w+|whsec_[^\s,]+")
_SEVERAL = ("TINKO_MORE_ACCOUNTS", "TINKO_WEBHOOK_SECRET", "TINKO_MORE_WEBHOOK_SECRETS")
"""What names several keys or secrets at once."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def application() -> App:
    """The use cases, for the environment of this process."""
    return App(load_settings())


def plain(value: Any) -> Any:
    """`value` as JSON types: dataclasses to objects, times to ISO text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(item) for key, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def show(value: Any, as_json: bool) -> None:
    """Print a result for a person, or as one line of JSON."""
    found = plain(value)
    if as_json or not isinstance(found, dict):
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    table = Table(Column(), Column(overflow="fold"), show_header=False, box=None)
    for key, item in found.items():
        table.add_row(
            key, json.dumps(item, ensure_ascii=False) if isinstance(item, dict | list) else str(item)
        )
    out.print(table)


def show_work(app: App, counts: Mapping[str, int], *, dry_run: bool, as_json: bool) -> None:
    """Print what a drain or a mail run did, and what is paused; for a person only the numbers that are not zero."""
    pauses = app.pauses()
    if as_json:
        show({"dry_run": dry_run, **counts, "paused": pauses}, as_json)
        return
    for pause in pauses:
        err.print(f"paused: {pause}", markup=False, highlight=False, soft_wrap=True)
    done: dict[str, Any] = {name: count for name, count in counts.items() if count}
    show({"dry_run": dry_run, **(done or {"done": "nothing"})}, as_json)


def needs_ledger(app: App) -> None:
    """A command about a ledger that is not there is a command in the wrong folder."""
    path = app.settings.state / "ledger.db"
    if app.settings.ledger_url is None and not path.exists():
        raise InputError(f"there is no ledger at {path}: change to the project's folder, or set TINKO_STATE")


def told(error: Exception) -> str:
    """The text of an error, without any secret that the environment holds."""
    addresses = (os.environ.get(f"TINKO_{name}_URL") for name in ("LEDGER", "SMTP", "DAGSTER"))
    named = (os.environ.get(name) for name in ("STRIPE_SECRET_KEY", "TINKO_RECONCILE_KEY"))
    keys = (*named, *(found for name in _SEVERAL for found in _KEY.findall(os.environ.get(name, ""))))
    return redacted(str(error), *addresses, secrets=keys)
