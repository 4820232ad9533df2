"""How well wordings of gateways never seen are read: the shipped model, and the method by gateways held out.

`TINKO_GATEWAY_MESSAGES` names a CSV file with the columns gateway, code, message, category and label_from. Only rows
whose label does not come from the text itself (`label_from` is not `rule`) are scored, and of these only those whose
wording was not among the training rows.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tinko_pipelines.declines.classify import classify_many, wording
from tinko_pipelines.declines.records import Decline
from tinko_pipelines.model.text import Example, TextModel, fit, read_phrases, train_text_model
from tinko_pipelines.model.wording import spelled

FOLDS = 10
DRAWS = 1_000
ON = date(2026, 11, 1)
Predict = Callable[[list[str]], list[tuple[str, float]]]
COARSE = {
    "mandate_revoked": "not_permitted",
    "duplicate": "processing_error",
    "risk_blocked": "suspected_fraud",
}
"""The file knows fourteen categories; ours that it has no word for are counted as what it calls them."""


@dataclass(frozen=True)
class Row:
    gateway: str
    code: str
    message: str
    category: str
    label_from: str

    @property
    def text(self) -> str:
        return wording(self.code, self.message)


@dataclass(frozen=True)
class Guesses:
    """Of each scored row the true category, the guess, its confidence and where its label came from."""

    rows: Sequence[Row]
    guesses: Sequence[str]
    confidence: Sequence[float]

    def macro_f1(self, picked: Any = None) -> float:
        truth = np.array([row.category for row in self.rows])
        guess = np.array([COARSE.get(name, name) for name in self.guesses])
        if picked is not None:
            truth, guess = truth[picked], guess[picked]
        scores = []
        for name in np.unique(truth):
            hits = int(((truth == name) & (guess == name)).sum())
            scores.append(2 * hits / (int((truth == name).sum()) + int((guess == name).sum())))
        return float(np.mean(scores))


def read_rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(*(row[name] for name in Row.__dataclass_fields__)) for row in csv.DictReader(file)]


def phrases() -> list[Example]:
    """The shipped phrases in the file's categories."""
    pairs = [(text, COARSE.get(category, category)) for text, category in read_phrases()]
    return [Example(text, category) for text, category in pairs if category != "unknown"]


def folds(rows: Sequence[Row]) -> list[set[str]]:
    """The gateways in so many groups with about as many scored rows each."""
    size = dict.fromkeys(sorted({row.gateway for row in rows}), 0)
    for row in rows:
        size[row.gateway] += row.label_from != "rule"
    groups: list[set[str]] = [set() for _ in range(FOLDS)]
    for name in sorted(size, key=lambda name: (-size[name], name)):
        min(groups, key=lambda group: sum(size[other] for other in group)).add(name)
    return groups


def by_gateway(
    rows: Sequence[Row], train: Callable[[list[Example]], Predict], beside: Sequence[Example] = ()
) -> Guesses:
    """Each gateway's scored rows as read by a model that was trained on the other gateways and what is `beside`."""
    scored, answers = [], []
    for group in folds(rows):
        seen_rows = [Example(row.text, row.category, row.gateway) for row in rows if row.gateway not in group]
        examples = [*beside, *seen_rows]
        known = {spelled(example.text) for example in examples}
        known |= {spelled(row.message) for row in rows if row.gateway not in group}
        fresh = [row for row in scorable(rows, known) if row.gateway in group]
        if fresh:
            scored.extend(fresh)
            answers.extend(train(examples)([row.text for row in fresh]))
    return Guesses(scored, [name for name, _ in answers], [chance for _, chance in answers])


def scorable(rows: Sequence[Row], known: set[str]) -> list[Row]:
    return [
        row
        for row in rows
        if row.label_from != "rule" and spelled(row.message) not in known and spelled(row.text) not in known
    ]


def shipped(rows: Sequence[Row], model: TextModel) -> Guesses:
    """The shipped model on the rows whose wording is not one of its phrases."""
    known = {spelled(text) for text, _ in read_phrases()}
    fresh = scorable(rows, known)
    answers = model.predict([row.text for row in fresh])
    return Guesses(fresh, [name for name, _ in answers], [chance for _, chance in answers])


def with_rules(guesses: Guesses, ask: Any) -> Guesses:
    """The same rows read by the whole system: rules first, then that model's answers."""
    declines = [Decline(code=row.code, message=row.message, gateway=row.gateway) for row in guesses.rows]
    verdicts = classify_many(declines, ON, ask)
    return Guesses(
        guesses.rows, [verdict.category for verdict in verdicts], [verdict.confidence for verdict in verdicts]
    )


class Answered:
    """Answers that were given before, by text."""

    def __init__(self, guesses: Guesses) -> None:
        pairs = zip(guesses.guesses, guesses.confidence, strict=True)
        self.answers = {
            " ".join(row.text.split()): pair for row, pair in zip(guesses.rows, pairs, strict=True)
        }

    def predict(self, texts: list[str]) -> list[tuple[str, float]]:
        return [self.answers[text] for text in texts]


def ours(examples: list[Example]) -> Predict:
    model = fit(examples)
    return TextModel(model.wording, model.classifier, model.temperature, threshold=0.0).predict


def baseline(examples: list[Example]) -> Predict:
    """TF-IDF of words and pairs with logistic regression, on the same rows and the same text."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [example.text.replace("_", " ") for example in examples]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10.0, class_weight="balanced", max_iter=2_000),
    )
    model.fit(texts, [example.category for example in examples])

    def predict(asked: list[str]) -> list[tuple[str, float]]:
        chances = model.predict_proba([text.replace("_", " ") for text in asked])
        return [(str(model.classes_[row.argmax()]), float(row.max())) for row in chances]

    return predict


def interval(
    statistic: Callable[[Any], float], rows: Sequence[Row], *, gateways: bool
) -> tuple[float, float]:
    """The middle 95 % of a statistic when rows, or whole gateways, are drawn anew."""
    random = np.random.default_rng(0)
    names = sorted({row.gateway for row in rows})
    members = [np.flatnonzero([row.gateway == name for row in rows]) for name in names]
    drawn = []
    for _ in range(DRAWS):
        if gateways:
            picked = np.concatenate(
                [members[place] for place in random.integers(len(names), size=len(names))]
            )
        else:
            picked = random.integers(len(rows), size=len(rows))
        drawn.append(statistic(picked))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def told(name: str, guesses: Guesses, other: Guesses | None = None) -> list[str]:
    """Macro-F1 with its intervals, and the paired gain over another reader of the same rows."""

    def gain(picked: Any) -> float:
        return guesses.macro_f1(picked) - (other.macro_f1(picked) if other else 0.0)

    by_row = interval(gain if other else guesses.macro_f1, guesses.rows, gateways=False)
    by_group = interval(gain if other else guesses.macro_f1, guesses.rows, gateways=True)
    value = gain(None) if other else guesses.macro_f1()
    what = "gain in macro-F1" if other else "macro-F1"
    line = f"{name}: {what} {value:.3f} (rows drawn anew {by_row[0]:.3f} to {by_row[1]:.3f}, "
    return [f"{line}gateways {by_group[0]:.3f} to {by_group[1]:.3f}), {len(guesses.rows)} rows"]


def trusted(name: str, guesses: Guesses) -> list[str]:
    """How the confidence holds: right answers among those above a threshold, and the gap between said and true."""
    right = np.array(
        [
            row.category == COARSE.get(guess, guess)
            for row, guess in zip(guesses.rows, guesses.guesses, strict=True)
        ]
    )
    said = np.array(guesses.confidence)
    bins = np.minimum((said * 10).astype(int), 9)
    gaps = [
        abs(said[bins == place].mean() - right[bins == place].mean()) * (bins == place).mean()
        for place in set(bins)
    ]
    lines = [f"{name}: said {said.mean():.2f}, right {right.mean():.2f}, calibration error {sum(gaps):.3f}"]
    for threshold in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        kept = said >= threshold
        lines.append(
            f"{name}, from {threshold:.1f}: answers {kept.mean():.0%}, of these right {right[kept].mean():.0%}"
        )
    return lines


def lines() -> list[str]:
    """The study as lines; one line that says why where there is no file."""
    path = os.environ.get("TINKO_GATEWAY_MESSAGES")
    if not path:
        return ["texts: not measured, TINKO_GATEWAY_MESSAGES names no file of labelled messages"]
    rows = read_rows(Path(path))
    trained = train_text_model()
    open_ended = TextModel(trained.wording, trained.classifier, trained.temperature, threshold=0.0)
    alone, plain = by_gateway(rows, ours), by_gateway(rows, baseline)
    both, plain_both = by_gateway(rows, ours, phrases()), by_gateway(rows, baseline, phrases())
    ship = shipped(rows, open_ended)
    found = []
    for name, guesses, other in (
        ("method, trained on other gateways", alone, plain),
        ("method, trained on other gateways and the phrases", both, plain_both),
    ):
        found += told(f"TF-IDF and logistic regression, {name.removeprefix('method, ')}", other)
        found += told(name, guesses) + told(f"{name}, over TF-IDF and logistic regression", guesses, other)
        found += told(f"{name}, behind the rules", with_rules(guesses, Answered(guesses)))
        found += trusted(name, guesses)
    found += told("shipped model", ship) + told(
        "shipped model, behind the rules", with_rules(ship, Answered(ship))
    )
    return found + trusted("shipped model", ship)
