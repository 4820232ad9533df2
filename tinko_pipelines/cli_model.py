"""`tinko model`: the timing models that were trained, which one is in use, and why a case is retried when it is."""

from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer

from tinko_pipelines.console import AsJson, application, err, needs_ledger, plain, show
from tinko_pipelines.errors import InputError
from tinko_pipelines.terminal import show_rows

model = typer.Typer(
    no_args_is_help=True, help="Train, judge, promote and roll back the model that times retries."
)

Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.")]
By = Annotated[str | None, typer.Option(help="Who decides, if not the user of this machine.")]
AVersion = Annotated[str, typer.Argument(help="A version's id, or its beginning or end.")]
MARK = {True: "ok  ", False: "FAIL"}


@model.command("list")
def list_(as_json: AsJson = False) -> None:
    """List every version with its state, and what was done with them."""
    registry = application().registry
    found = [
        {"version": one.version.id, "state": one.state, **plain(one.version)} for one in registry.versions()
    ]
    history = plain(registry.journal.history())
    if as_json:
        show({"promoted": registry.journal.pointer().promoted, "versions": found, "history": history}, True)
        return
    if not found:
        typer.echo("no model is trained yet; the ladder plans alone")
        return
    columns = ("version", "state", "made_at", "made_by", "reason")
    show_rows(list(columns), [[str(row[name] or "") for name in columns] for row in found])
    for act in history:
        told = f"{act['at']}  {act['act']} {act['version'] or 'no model'} by {act['by']}: {act['reason']}"
        typer.echo(told + (f" ({act['detail']})" if act["detail"] else ""))


@model.command()
def train(
    attempts: Annotated[
        Path | None, typer.Option(help="A Parquet or CSV file of attempts instead of the training set.")
    ] = None,
    outcome: Annotated[
        str, typer.Option(help="The column that says whether an attempt passed.")
    ] = "succeeded",
    reason: Reason = "trained by hand",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Train a candidate and keep it beside the others; it is not in use before it is promoted."""
    app = application()
    with err.status("Gathering what was tried, and training"):
        if attempts is None:
            app.training_set()
        made = app.train_timing(attempts, outcome, by=_who(by), reason=reason)
    if as_json:
        show({"version": made.version, **_judged(made.judgement), "promoted": made.promoted}, True)
        return
    typer.echo(f"{made.version.id} is {'in use' if made.promoted else 'a candidate'}")
    _tell(made.judgement)


@model.command()
def invent(
    file: Annotated[Path, typer.Argument(help="The CSV file to write; it must not exist.")],
    charges: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="About so many first charges.")
    ] = 100_000,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    as_json: AsJson = False,
) -> None:
    """Write attempts made up by the sandbox's issuers, to try training on before there is a history."""
    from tinko_pipelines.sandbox.attempts import invented_attempts

    if file.exists():
        raise InputError(f"{file} exists: name a new file")
    with err.status("Making attempts up"):
        found = invented_attempts(seed, charges)
        try:
            found.to_csv(file, index=False)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror}") from error
    retries = int((found["attempt_number"] > 1).sum())
    show({"file": file, "attempts": len(found), "retries": retries}, as_json)


@model.command()
def evaluate(
    version: Annotated[str | None, typer.Argument(help="A version; the newest by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how well a version predicts what it was not trained on, and what the gates say of it."""
    found = application().evaluate_model(version)
    measured = found["evaluation"]
    if as_json:
        show({"version": found["version"].id, "evaluation": measured, **_judged(found["judgement"])}, True)
        return
    metrics, since = measured["metrics"], measured["holdout"]["since"]
    core = {name: _interval(metrics["model"][name]) for name in ("log_loss", "brier", "auc")}
    base = {"base_rate_log_loss": _interval(metrics["base_rate"]["log_loss"])}
    about = {
        "attempts": measured["attempts"],
        "success_rate": round(measured["success_rate"], 4),
        "since": since,
    }
    show({"version": found["version"].id, **core, **base, **about}, False)
    columns = ["category", "attempts", "predicted", "came in"]
    rows = [
        [one["name"], str(one["attempts"]), f"{one['predicted']:.3f}", f"{one['observed']:.3f}"]
        for one in measured["by_category"]
    ]
    show_rows(columns, rows)
    _tell(found["judgement"])


@model.command()
def compare(first: AVersion, second: AVersion, as_json: AsJson = False) -> None:
    """Compare two versions on the same attempts: by how much the second predicts better, and how sure that is."""
    found = application().compare_models(first, second)
    if as_json:
        show(found, True)
        return
    intervals = ("first_log_loss", "second_log_loss", "first_auc", "second_auc", "gain")
    show({name: _interval(value) if name in intervals and value else value for name, value in found.items()}, False)  # fmt: skip


@model.command()
def promote(
    version: AVersion,
    reason: Reason,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Though a gate is shut; that is kept too.")
    ] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Put a version to use from the next plan on, if it passes the gates; exit code 7 if not."""
    act, judgement = application().promote(version, reason=reason, by=_who(by), anyway=anyway)
    if as_json:
        show({"act": act, **_judged(judgement)}, True)
        return
    typer.echo(f"{act.version} plans from now on")
    _tell(judgement)


@model.command()
def rollback(reason: Reason, by: By = None, as_json: AsJson = False) -> None:
    """Go back to the model in use before, or to the ladder alone, from the next plan on."""
    act = application().rollback_model(reason=reason, by=_who(by))
    if as_json:
        show({"act": act}, True)
        return
    typer.echo(f"{act.version or 'the ladder alone'} plans from now on; {act.detail}")


@model.command()
def explain(
    case: Annotated[str, typer.Argument(help="The case's id or its beginning, or its invoice or intent.")],
    as_json: AsJson = False,
) -> None:
    """Say why a case is retried when it is, by which model, and what it sees in the next 168 hours."""
    app = application()
    needs_ledger(app)
    found = app.explain_case(case)
    if as_json:
        show(found, True)
        return
    told = {name: found[name] for name in ("case", "state", "due_at", "policy_version")}
    show({name: value for name, value in told.items() if value is not None}, False)
    for line in found["plan"]:
        typer.echo(line)
    seen = found["outlook"]
    if seen is None:
        typer.echo(
            "no model saw it: the ladder planned alone, or the case is no longer among the failed payments"
        )
        return
    typer.echo(f"best of the next 168 hours by {found['seen_by']}, on average {seen['mean_chance']:.3f}:")
    show_rows(["hour", "chance"], [[f"{hour['at']:%Y-%m-%d %H:%M} UTC", f"{hour['chance']:.3f}"]
                                   for hour in seen["best_hours"]])  # fmt: skip
    names = ["property", "value", "usual", "adds"]
    show_rows(names, [[str(one[name]) for name in names] for one in seen["contributions"]])


@model.command()
def drift(as_json: AsJson = False) -> None:
    """Hold the last four weeks against those the model in use was trained in."""
    found = application().watch_drift()
    if as_json:
        show({"ok": all(one.ok for one in found), "findings": found}, True)
        return
    for one in found:
        typer.echo(
            f"{MARK[one.ok]}  {one.name}: {one.told}" + (f"\n      {one.advice}" if one.advice else "")
        )


def _who(by: str | None) -> str:
    return f"cli:{by or getuser()}"


def _judged(judgement: Any) -> dict[str, Any]:
    return {"passed": judgement.passed, "against": judgement.against, "gates": judgement.gates}


def _tell(judgement: Any) -> None:
    for gate in judgement.gates:
        typer.echo(f"{MARK[gate.passed]}  {gate.name}: {gate.told}")


def _interval(found: dict[str, float]) -> str:
    return f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"
