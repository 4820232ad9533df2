"""From the training set to a promoted candidate, step by step: `make notebook`."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="The model that times retries")


@app.cell
def _():
    import argparse
    from pathlib import Path

    import altair as alt
    import marimo as mo
    import numpy as np
    import pandas as pd

    from tinko_pipelines.console import application
    from tinko_pipelines.errors import TinkoError

    return Path, TinkoError, alt, application, argparse, mo, np, pd


@app.cell
def _(mo):
    mo.md("""
    # The model that times retries

    Rules decide whether a card may be tried again at all. This model says when a retry is likely to pass:
    P(an attempt at time t succeeds | what was known before t). From here you can look at what it learns from, try a
    model of your own beside it, train a candidate, see what the gates say, and put it to use.

    What you do here the command line can do too (`tinko model`); both go by the same use cases. Nothing below charges
    anybody, and nothing but *Promote* changes a plan. `docs/model.md` explains columns, features, judging and gates.
    """)


@app.cell
def _(Path, application, argparse, mo):
    _parser = argparse.ArgumentParser(description="From a training set to a promoted candidate.")
    _parser.add_argument("--attempts", type=Path, help="a Parquet or CSV file instead of the lake's attempts")
    _parser.add_argument(
        "--outcome", default="succeeded", help="its column that says whether an attempt passed"
    )
    _parser.add_argument("--train", action="store_true", help="train without the button being pressed")
    _parser.add_argument(
        "--promote", default="", metavar="REASON", help="and promote what was trained, if the gates let it"
    )
    given = _parser.parse_args()
    tinko = application()
    mo.md(f"State folder `{tinko.settings.state}`, by the clock of `{tinko.clock.now():%Y-%m-%d %H:%M}` UTC.")
    return given, tinko


@app.cell
def _(mo):
    mo.md("""
    ## 1. The training set

    One row is one attempt that reached a network, by whomever: the account's own history, Stripe's retries, ours. All
    of a row but its outcome was known before the attempt. It is gathered anew from lake and ledger, or read from a file.
    """)


@app.cell
def _(TinkoError, given, mo, tinko):
    try:
        if given.attempts:
            attempts = tinko.workshop.read(given.attempts, given.outcome)
        else:
            attempts = tinko.training_set()
    except TinkoError as _error:
        mo.stop(True, mo.callout(mo.md(f"No attempts to learn from: {_error}"), kind="danger"))
    frame = attempts.to_pandas()
    mo.ui.table(frame, page_size=5, selection=None)
    return attempts, frame


@app.cell
def _(attempts, mo):
    from tinko_pipelines.model.timing.schema import completed, retries

    table = completed(attempts)
    retried = retries(table)
    mo.md(
        f"{table.num_rows:,} attempts, of which **{retried.num_rows:,} are retries**: they follow a failure of the same"
        " debt, and are what is to be predicted. First attempts only tell what came before."
    )
    return retried, table


@app.cell
def _(alt, mo, pd, retried):
    def _rates(by, title):
        grouped = retried_frame.groupby(by, dropna=False)["succeeded"].agg(["mean", "size"]).reset_index()
        grouped[by] = grouped[by].astype(str)
        tooltip = [by, alt.Tooltip("mean:Q", format=".1%"), alt.Tooltip("size:Q", title="retries")]
        return (
            alt.Chart(grouped, title=title, width=250, height=160)
            .mark_bar()
            .encode(
                alt.X(f"{by}:N", sort=None, title=None),
                alt.Y("mean:Q", title="passed", axis=alt.Axis(format="%")),
                alt.Opacity("size:Q", legend=None),
                tooltip=tooltip,
            )
        )

    retried_frame = retried.to_pandas()
    retried_frame["hour"] = pd.to_datetime(retried_frame["attempted_at"]).dt.hour
    mo.hstack(
        [
            _rates("hour", "By hour, UTC"),
            _rates("category", "By the refusal before"),
            _rates("attempt_number", "By attempt"),
        ],
        wrap=True,
    )
    return (retried_frame,)


@app.cell
def _(mo):
    mo.md("""
    ## 2. Features, and a model of your own

    Features come from a view of the table that ends before the attempt. The split is by customer *and* time: three
    customers in ten are never learned from, and the last quarter of the time is what they are judged on. What you
    compare on it, you may compare with a candidate. Below, logistic regression stands for your idea.
    """)


@app.cell
def _(mo, np, pd, retried, table):
    from tinko_pipelines.model.timing.features import FEATURES, learn_names, matrix
    from tinko_pipelines.model.timing.history import History
    from tinko_pipelines.model.timing.split import split

    parts = split(retried)
    values = matrix(retried, History(table), learn_names(retried.filter(parts.learned)))
    outcome = retried["succeeded"].to_numpy(zero_copy_only=False).astype(bool)
    features = pd.DataFrame(values, columns=[one.name for one in FEATURES])
    mo.vstack(
        [
            mo.ui.table(features, page_size=5, selection=None),
            mo.md(
                f"{int(np.sum(parts.learned)):,} retries to learn from, {int(np.sum(parts.judged)):,} to judge by"
                f" ({outcome[parts.judged].mean() if parts.judged.any() else 0:.1%} of them passed)."
            ),
        ]
    )
    return features, outcome, parts


@app.cell
def _(features, mo, np, outcome, parts):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _both = min((len(set(outcome[_part])) for _part in (parts.learned, parts.judged)), default=0) == 2
    mo.stop(
        not _both,
        mo.callout(mo.md("Too few retries of either outcome for a model of your own."), kind="warn"),
    )
    _usable = features.loc[:, features[parts.learned].notna().any()]
    _filled = _usable.fillna(_usable[parts.learned].median())
    own_model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    own_model.fit(_filled[parts.learned], outcome[parts.learned])
    own_chances = own_model.predict_proba(_filled[parts.judged])[:, 1]
    _base = np.full(int(np.sum(parts.judged)), outcome[parts.learned].mean())
    own_scores = {
        "AUC": roc_auc_score(outcome[parts.judged], own_chances),
        "log loss": log_loss(outcome[parts.judged], own_chances),
        "base rate's log loss": log_loss(outcome[parts.judged], _base),
    }
    mo.hstack([mo.stat(f"{_value:.4f}", label=f"yours: {_name}") for _name, _value in own_scores.items()])
    return (own_scores,)


@app.cell
def _(mo):
    mo.md("""
    ## 3. Train a candidate

    Trains the model that ships with Tinko, checks for leaks, measures it on the attempts that were kept back, and keeps
    it in the registry as a candidate. It plans nothing before it is promoted.
    """)


@app.cell
def _(mo):
    train_button = mo.ui.run_button(label="Train a candidate")
    train_button
    return (train_button,)


@app.cell
def _(TinkoError, given, mo, tinko, train_button):
    from getpass import getuser

    mo.stop(not (train_button.value or given.train), mo.md("*Press the button above.*"))
    try:
        made = tinko.train_timing(
            given.attempts, given.outcome, by=f"notebook:{getuser()}", reason="trained in the notebook"
        )
    except TinkoError as _error:
        mo.stop(True, mo.callout(mo.md(f"Not trained: {_error}"), kind="danger"))
    candidate = made.version
    card = tinko.registry.card(candidate)
    mo.callout(mo.md(f"Candidate **{candidate.id}** is kept."), kind="success")
    return candidate, card, getuser, made


@app.cell
def _(alt, card, mo, own_scores, pd):
    _found = card["evaluation"]
    _rows = [
        {"metric": _name, "candidate": _one["value"], "from": _one["low"], "to": _one["high"],
         "base rate": _found["metrics"]["base_rate"].get(_name, {}).get("value"),
         "yours": own_scores.get({"auc": "AUC", "log_loss": "log loss"}.get(_name))}
        for _name, _one in _found["metrics"]["model"].items()
    ]  # fmt: skip
    _bins = pd.DataFrame(_found["by_decile"])
    _line = alt.Chart(
        _bins, width=280, height=220, title="Predicted and observed, by tenth of the scores"
    ).encode(alt.X("predicted:Q", axis=alt.Axis(format="%")))
    _calibration = (
        _line.mark_rule().encode(alt.Y("low:Q", axis=alt.Axis(format="%"), title="observed"), y2="high:Q")
        + _line.mark_point(filled=True, size=60).encode(y="observed:Q")
        + _line.mark_line(strokeDash=[4, 4], color="gray").encode(y="predicted:Q")
    )
    _importance = (
        alt.Chart(pd.DataFrame(card["features"]).head(12), width=280, height=220, title="What it goes by")
        .mark_bar()
        .encode(
            alt.X("importance:Q", title="log loss lost without it"),
            alt.Y("name:N", sort=None, title=None),
            tooltip=["sentence", "importance"],
        )
    )
    mo.vstack(
        [
            mo.ui.table(pd.DataFrame(_rows).round(4), selection=None),
            mo.hstack([_calibration, _importance], wrap=True),
        ]
    )


@app.cell
def _(made, mo):
    mo.vstack(
        [
            mo.md(f"## 4. The gates\n\nHeld against {made.judgement.against}, on the same attempts."),
            *(
                mo.callout(
                    mo.md(f"**{_gate.name}**: {_gate.told}"), kind="success" if _gate.passed else "danger"
                )
                for _gate in made.judgement.gates
            ),
        ]
    )


@app.cell
def _(mo):
    mo.md("""
    ## 5. Promote it

    From the next plan on it times retries; open cases are planned anew, and each plan names the version. A closed gate
    refuses, and says why. Your reason is kept in the history.
    """)


@app.cell
def _(mo):
    promote_form = mo.ui.text(label="Reason", full_width=True).form(submit_button_label="Promote")
    promote_form
    return (promote_form,)


@app.cell
def _(TinkoError, candidate, getuser, given, mo, promote_form, tinko):
    _reason = promote_form.value or given.promote
    mo.stop(not _reason, mo.md("*Not promoted: no reason is given.*"))
    try:
        tinko.promote(candidate.id, reason=_reason, by=f"notebook:{getuser()}")
        _told = mo.callout(mo.md(f"**{candidate.id}** plans from now on."), kind="success")
    except TinkoError as _error:
        _told = mo.callout(mo.md(f"Refused: {_error}"), kind="danger")
    promoted = tinko.model_in_use()
    mo.vstack(
        [
            _told,
            mo.md(
                f"In use: **{promoted or 'the ladder alone'}**. `tinko plan` plans by it, `tinko model explain CASE` says"
                " why a case is retried when it is, and `tinko model rollback --reason …` takes it back."
            ),
        ]
    )
    return (promoted,)


if __name__ == "__main__":
    app.run()
