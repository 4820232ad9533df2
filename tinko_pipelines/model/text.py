"""The text model behind the rules: character n-grams and logistic regression over the shipped phrases.

It names a category for a wording no rule knows, or says `unknown`. It decides no move and no retry.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from tinko_pipelines.declines.records import CATEGORIES, TEXT_LENGTH_MAX
from tinko_pipelines.errors import StoreError

THRESHOLD = 0.25
MODEL_FILE = "text_model.skops"
CARD_FILE = "text_model.json"


class TextModel:
    """A fitted pipeline and the data counts for its card."""

    def __init__(self, pipeline: Any, counts: dict[str, int], threshold: float = THRESHOLD) -> None:
        self.pipeline = pipeline
        self.counts = counts
        self.threshold = threshold

    def predict(self, texts: list[str]) -> list[tuple[str, float]]:
        """Category and probability of each text; (`unknown`, probability of the best guess) below the threshold."""
        if not texts:
            return []
        cut = [text[:TEXT_LENGTH_MAX] for text in texts]
        classes = [str(name) for name in self.pipeline.classes_]
        answers: list[tuple[str, float]] = []
        for row in self.pipeline.predict_proba(cut):
            best = int(row.argmax())
            confidence = float(row[best])
            answers.append((classes[best] if confidence >= self.threshold else "unknown", confidence))
        return answers


def read_phrases() -> list[tuple[str, str]]:
    """The shipped (phrase, category) pairs."""
    path = resources.files("tinko_pipelines.declines").joinpath("data", "phrases.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return [(row["phrase"], row["category"]) for row in rows if row["category"] in CATEGORIES]


def train_text_model() -> TextModel:
    """Fit on the shipped phrases; the same phrases give the same model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    phrases = read_phrases()
    steps = [
        (
            "ngrams",
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), lowercase=True, sublinear_tf=True),
        ),
        ("regression", LogisticRegression(C=10.0, class_weight="balanced", max_iter=1_000, random_state=0)),
    ]
    pipeline = Pipeline(steps).fit([text for text, _ in phrases], [category for _, category in phrases])
    return TextModel(pipeline, dict(sorted(Counter(category for _, category in phrases).items())))


def save_text_model(model: TextModel, directory: Path) -> dict[str, object]:
    """Write model and card, each swapped in whole; returns the card."""
    import sklearn
    import skops.io

    data = skops.io.dumps(model.pipeline)
    card: dict[str, object] = {
        "kind": "text_model",
        "sha256": hashlib.sha256(data).hexdigest(),
        "phrases": sum(model.counts.values()),
        "phrases_by_category": model.counts,
        "threshold": model.threshold,
        "sklearn_version": sklearn.__version__,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _swap_in(directory / MODEL_FILE, data)
        _swap_in(directory / CARD_FILE, json.dumps(card, indent=2).encode())
    except OSError as error:
        raise StoreError(f"cannot write the text model to {directory}: {error.strerror}") from error
    return card


def load_text_model(directory: Path) -> TextModel | None:
    """The stored model, None where none was stored; a file that does not match its card is refused."""
    if not (directory / MODEL_FILE).exists() or not (directory / CARD_FILE).exists():
        return None
    data = (directory / MODEL_FILE).read_bytes()
    try:
        card = json.loads((directory / CARD_FILE).read_text(encoding="utf-8"))
        matches = card["sha256"] == hashlib.sha256(data).hexdigest()
        counts, threshold = dict(card["phrases_by_category"]), float(card["threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the card of the text model in {directory} is damaged; train it again") from error
    if not matches:
        raise StoreError(f"the text model in {directory} does not match its card; train it again")
    return TextModel(_estimator(data), counts, threshold)


@lru_cache(maxsize=2)
def _estimator(data: bytes) -> Any:
    """The estimator in these bytes; reading it costs more than classifying a day's failures."""
    import skops.io

    return skops.io.loads(data, trusted=[])


def _swap_in(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_bytes(data)
    draft.replace(path)
