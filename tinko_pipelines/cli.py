"""The `tinko` command line: each command is a thin call of the use case the assets call too.

With `--json` the last line printed is one JSON object. A mistake of the user's is one sentence on standard
error and an exit code that is not 0; a traceback means a bug of ours.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tinko_pipelines import (
    cli_classify,
    cli_desk,
    cli_inbox,
    cli_lake,
    cli_ledger,
    cli_mail,
    cli_metrics,
    cli_model,
    cli_privacy,
    cli_reports,
    cli_web,
)
from tinko_pipelines.console import AsJson, application, err, needs_ledger, out, show, show_work, told
from tinko_pipelines.errors import ChecksFailedError, TinkoError
from tinko_pipelines.settings import load_settings
from tinko_pipelines.terminal import show_demo, show_rows

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Recover failed card payments.",
    pretty_exceptions_enable=False,
)
cli.add_typer(cli_ledger.ledger, name="ledger")
cli.add_typer(cli_desk.case, name="case")
cli.add_typer(cli_mail.mail, name="mail")
cli.add_typer(cli_inbox.inbox, name="inbox")
cli.add_typer(cli_model.model, name="model")
cli.add_typer(cli_privacy.privacy, name="privacy")
for command in (
    cli_classify.classify,
    cli_lake.ingest,
    cli_ledger.reconcile,
    cli_ledger.anomalies,
    cli_ledger.pause,
    cli_ledger.resume,
    cli_metrics.metric,
    cli_reports.report,
    cli_reports.docs,
    cli_web.serve,
):
    cli.command()(command)


@cli.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 3000) -> None:
    """Open the Dagster UI on loopback; after a demo its sandbox is started beside it."""
    from tinko_pipelines.ui import serve

    raise typer.Exit(serve(load_settings(), port, root=_root(), say=err.print))


@cli.command()
def demo(
    charges: Annotated[
        int, typer.Option(min=100, max=100_000, help="First charges in 118 days, about.")
    ] = 5_000,
    days: Annotated[int, typer.Option(min=0, max=60, help="Days of recovery to live through.")] = 28,
    seed: Annotated[int, typer.Option(min=0, help="Which world.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Run the whole job on the bundled sandbox: ingest, classify, plan, retry, mail, report."""
    from tinko_pipelines.demo import run_demo

    settings = load_settings()
    _say_what_goes_on(settings.sandbox_dir, charges=charges, seed=seed)
    result = run_demo(settings, charges=charges, days=days, seed=seed, console=err)
    if as_json:
        show(result.as_json(), as_json)
        return
    show_demo(result, out)


@cli.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535)] = 12111,
    charges: Annotated[int, typer.Option(min=0, max=100_000)] = 5_000,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    as_json: AsJson = False,
) -> None:
    """Serve the bundled stand-in for Stripe on loopback until Ctrl-C."""
    from tinko_pipelines.sandbox.process import SandboxProcess

    settings = load_settings()
    _say_what_goes_on(settings.sandbox_dir, charges=charges, seed=seed)
    process = SandboxProcess(settings.sandbox_dir, port=port, seed=seed, charges=charges, history_days=90)
    base = process.start()
    try:
        if as_json:
            show({"base": base, "pid": process.pid}, as_json)
        else:
            typer.echo(f"ready {base}\nIn another terminal:")
            typer.echo(f"  export TINKO_STRIPE_API_BASE={base} TINKO_CLOCK=sandbox")
        sys.stdout.flush()
        process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        process.stop()


@cli.command()
def plan(as_json: AsJson = False) -> None:
    """Find the failed payments in the lake, classify them, open and replan cases; charges nothing."""
    with err.status("Finding, classifying and planning"):
        found = application().plan()
    for notice in found.notices:
        err.print(f"planned by the ladder alone: {notice}", markup=False, highlight=False, soft_wrap=True)
    show(found.counts(), as_json)


@cli.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT on the published snapshot.")],
    max_rows: Annotated[int, typer.Option(min=1, max=1_000_000)] = 1_000,
    as_json: AsJson = False,
) -> None:
    """Ask the published snapshot."""
    found = application().query(sql, max_rows)
    if found.truncated:
        err.print(f"only the first {len(found.rows)} rows: ask for more with --max-rows", highlight=False)
    if as_json:
        show({"columns": found.columns, "rows": found.rows, "truncated": found.truncated}, as_json)
        return
    show_rows(found.columns, found.rows)


@cli.command()
def doctor(as_json: AsJson = False) -> None:
    """Check key, mode, rights, database and mail server, and say what is missing."""
    from tinko_pipelines.doctor import diagnose

    app = application()
    with err.status("Looking at key, rights, ledger and mail"):
        findings = diagnose(
            app.settings,
            gateways=lambda: [one.gateway for one in app.accounts],
            now=app.clock.now,
            environment=os.environ,
        )
    failed = sum(finding.ok is False for finding in findings)
    if as_json:
        show({"ok": failed == 0, "findings": findings}, as_json)
    else:
        for finding in findings:
            mark = {True: "ok  ", False: "FAIL", None: "note"}[finding.ok]
            typer.echo(
                f"{mark}  {finding.name}: {finding.text}" + (f"\n      {finding.fix}" if finding.fix else "")
            )
    raise typer.Exit(1 if failed else 0)


@cli.command()
def drain(as_json: AsJson = False) -> None:
    """Do every retry that is due, and settle what is unsettled."""
    from tinko_pipelines.retry.boundary import killer_from

    app = application()
    with err.status("Retrying what is due"):
        result = app.drain(owner=f"cli:{os.getpid()}", boundary=killer_from(os.environ.get("TINKO_KILL_AT")))
    show_work(app, result.counts(), dry_run=not app.settings.charges_for_real, as_json=as_json)


@cli.command()
def check(as_json: AsJson = False) -> None:
    """Run every invariant over ledger and lake; exit code 6 when one is broken."""
    app = application()
    needs_ledger(app)
    with err.status("Checking every invariant"):
        results = app.check()
    broken = [result for result in results if result.rows]
    if as_json:
        show({"ok": not broken, "invariants": len(results), "broken": broken}, as_json)
    else:
        for result in results:
            typer.echo(
                f"{'ok  ' if not result.rows else 'FAIL'}  {result.title}"
                + (f": {result.rows} rows" if result.rows else "")
            )
    if broken:
        raise ChecksFailedError(
            f"{len(broken)} of {len(results)} invariants are broken: {', '.join(r.name for r in broken)}"
        )


def _say_what_goes_on(folder: Path, **asked: int) -> None:
    """Say plainly that a sandbox which is there already goes on as it began, whatever is asked for now."""
    from tinko_pipelines.sandbox.life import lived_with

    began = lived_with(folder)
    other = {name: number for name, number in asked.items() if began.get(name, number) != number}
    if other:
        kept = " ".join(f"--{name} {began[name]}" for name in other)
        ignored = " ".join(f"--{name} {number}" for name, number in other.items())
        err.print(
            f"The sandbox in {folder} goes on as it began, with {kept}; {ignored} is ignored."
            " For another world set TINKO_STATE to another folder.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _root() -> Path:
    """The folder whose `workspace.yaml` and rooms are run: the checkout, or where the packages lie."""
    return Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the command line; errors written for people become one sentence and an exit code."""
    try:
        cli()
    except TinkoError as error:
        err.print(f"tinko: {told(error)}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
