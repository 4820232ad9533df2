"""Writes the HTML report: one file that opens anywhere, with no network, for a person who has one minute or an hour.

What the page shows is gathered in `view`; its words and style are in `templates/`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinko_pipelines.errors import StoreError
from tinko_pipelines.reports import words
from tinko_pipelines.reports.snapshot import opened
from tinko_pipelines.reports.summary import summary
from tinko_pipelines.reports.view import view
from tinko_pipelines.settings import Settings


def write_report(settings: Settings, as_of: datetime) -> Path:
    """Write the report of the published snapshot, as of business time `as_of`, and return its path.

    The old report stays until the new one is whole. Raises StoreError when there is no snapshot or no room.
    """
    totals = summary(settings)
    built = datetime.fromisoformat(totals["as_of"]) if totals["as_of"] else as_of
    with opened(settings) as connection:
        shown = view(connection, totals)
    shown |= {"merchant": settings.merchant_name, "built": built.astimezone(UTC)}
    text = render("recovery.html.j2", shown)
    path = settings.report_path
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StoreError(
            f"the report cannot be written to {path}: {error.strerror}; make room or check its rights"
        ) from error
    return path


def render(template: str, shown: dict[str, Any]) -> str:
    """A template of this package with what it shows; whatever is shown is text and becomes no markup."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tinko_pipelines.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = words
    return environment.get_template(template).render(shown)
