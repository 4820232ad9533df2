"""What people see in the terminal beyond plain results: a running count, the table at the demo's end. No decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from tinko_pipelines.money import format_minor

if TYPE_CHECKING:
    from tinko_pipelines.demo import DemoResult
    from tinko_pipelines.lake.backfill import Left

WIDEST = 10_000
NEXT = (
    ("make ui", "its runs, assets, checks and schedules"),
    (".venv/bin/tinko check", "every invariant over ledger and lake"),
    (".venv/bin/tinko query 'FROM recovery_by_method'", "ask the snapshot"),
)


@contextmanager
def reading(console: Console) -> Iterator[Callable[[Left], None]]:
    """A bar of the time that is read, with what is left beside it; gone when the work is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Reading from Stripe", total=1.0)

        def show(left: Left) -> None:
            told = f"{left.rows:,} objects on {left.pages:,} pages, {len(left.ranges)} ranges left"
            progress.update(task, completed=left.covered, description=told)

        yield show


def share(part: float | None) -> str:
    """A rate for people; a dash where there is no denominator."""
    return "–" if part is None else f"{part:.1%}"


def summary_lines(found: Mapping[str, Any]) -> dict[str, str]:
    """The core numbers as lines for people, each rate beside its denominator, amounts by currency."""
    failed = int(found["failed_count"])
    lines = {
        "failed": f"{failed:,} payments",
        "recovered": f"{found['recovered_count']:,} payments, {share(found['recovery_rate_count'])} of {failed:,}",
    }
    for currency, row in found["by_currency"].items():
        lost, back, rate = _amounts(currency, row)
        lines[currency.upper()] = f"{back} of {lost} recovered, {rate}"
    return {**lines, "retries": f"{found['attempts']:,}", "mails": f"{found['messages']:,}"}


def _amounts(currency: str, row: Mapping[str, Any]) -> tuple[str, str, str]:
    lost = format_minor(int(row["failed_amount_minor"]), currency)
    back = format_minor(int(row["recovered_amount_minor"]), currency)
    return lost, back, share(row["recovery_rate_amount"])


def show_demo(result: DemoResult, console: Console) -> None:
    """The core numbers, each rate beside its denominator, and what to try next."""
    found = result.summary
    failed, recovered = int(found["failed_count"]), int(found["recovered_count"])
    head = Table(title=f"Recovery until {result.until:%d %B %Y}", title_justify="left", box=None)
    for name in ("", "failed", "recovered", "rate"):
        head.add_column(name, justify="left" if not name else "right")
    head.add_row(
        "payments", f"{failed:,}", f"{recovered:,}", f"{share(found['recovery_rate_count'])} of {failed:,}"
    )
    for currency, row in found["by_currency"].items():
        lost, back, by_amount = _amounts(currency, row)
        head.add_row(currency.upper(), lost, back, f"{by_amount} of {lost}")
    console.print(head)
    taken, won = failed - result.never_taken_up, result.recovered_taken_up
    console.print(
        f"These rates are over all {failed:,} failed payments. {result.never_taken_up:,} of them were never taken up: they had"
        f" failed more than {result.oldest_days} days before the first look, or were settled by then."
        f" Of the {taken:,} taken up {won:,} were recovered, {share(won / taken if taken else None)}.",
        highlight=False,
    )
    body = Table(title="By category", title_justify="left", box=None)
    for name in ("", "failed", "recovered", "rate"):
        body.add_column(name, justify="left" if not name else "right")
    for row in found["by_category"]:
        rate = row["recovered_count"] / row["failed_count"] if row["failed_count"] else None
        body.add_row(
            str(row["category"]), f"{row['failed_count']:,}", f"{row['recovered_count']:,}",
            f"{share(rate)} of {row['failed_count']:,}",
        )  # fmt: skip
    console.print(body)
    per = f"{result.attempts / recovered:.2f}" if recovered else "–"
    mails = f"{result.messages / recovered:.2f}" if recovered else "–"
    console.print(
        f"{result.attempts:,} retries ({per} per recovery), {result.messages:,} mails ({mails} per recovery)"
    )
    console.print(f"charged twice, by the sandbox's own book: {result.double_charges}")
    console.print(f"report: {result.report_path}   ({result.seconds:.0f} s)", soft_wrap=True)
    console.print("Next:")
    for command, why in NEXT:
        console.print(f"  {command:<58} {why}", soft_wrap=True, highlight=False, markup=False)


def show_rows(columns: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
    """A plain table as wide as its content, so that nothing is cut off."""
    table = Table(*(str(name) for name in columns), box=None)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    Console(width=WIDEST).print(table)
