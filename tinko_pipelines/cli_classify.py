"""`tinko classify`: verdicts on declines from standard input, and wordings taught for the next training."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tinko_pipelines.console import application, err, show
from tinko_pipelines.errors import InputError


def classify(
    teach: Annotated[
        Path | None,
        typer.Option(help="Instead, keep these wordings for the next training: JSON lines, see below."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the rule and what the customer may be told.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Accepted for symmetry: the output always is JSON lines.")
    ] = True,
) -> None:
    """Read declines as JSON lines on standard input, write a verdict as a JSON line for each.

    Fields, all optional: code (or decline_code), message, network, network_decline_code, advice_code,
    network_advice_code, outcome_type, outcome_reason, failure_code, payment_method_type.

    A line to teach has text or code, category, and may have gateway. Exit code 2 when a line was refused.
    """
    del as_json
    if teach is not None:
        raise typer.Exit(_teach(teach))
    for line in application().classify_lines(sys.stdin, explain=explain):
        typer.echo(line)


def _teach(path: Path) -> int:
    try:
        with path.open(encoding="utf-8") as lines:
            taught = application().teach(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    for refused in taught.refused:
        err.print(f"line {refused.line} is refused: {refused.reason}", markup=False, soft_wrap=True)
    show(taught, as_json=True)
    return InputError.exit_code if taught.refused else 0
