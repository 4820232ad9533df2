"""The text model behind the rules: a linear model over characters and words of the shipped phrases and taught rows.

It names a category for a wording no rule knows, or says `unknown`. It decides no move and no retry.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from tinko_pipelines.declines.records import CATEGORIES, TEXT_LENGTH_MAX
from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.files import write_whole
from tinko_pipelines.model.wording import Wording, spelled

THRESHOLD = 0.5
"""Below it the model says `unknown`: of such guesses on gateways it had not seen more are wrong than right."""
TAUGHT_WEIGHT = 5.0
UNKNOWN_WEIGHT = 10.0
"""What says nothing (`the card`) is made of the words of many phrases and has to outweigh them."""
BATCH_TEXTS = 16_384
FOLDS = 5
MODEL_FILE = "text_model.skops"
CARD_FILE = "text_model.json"


@dataclass(frozen=True, slots=True)
class Example:
    """A wording with its category. `gateway` keeps the rows of one gateway together when confidence is calibrated."""

    text: str
    category: str
    gateway: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class TextModel:
    """A fitted model. `temperature` makes its scores probabilities; `counts` and `taught` are for its card."""

    wording: Wording
    classifier: Any
    temperature: float
    counts: dict[str, int] = field(default_factory=dict)
    taught: int = 0
    threshold: float = THRESHOLD

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Category and probability of each text; (`unknown`, probability of the best guess) below the threshold."""
        answers: list[tuple[str, float]] = []
        for start in range(0, len(texts), BATCH_TEXTS):
            answers.extend(
                self._answers([text[:TEXT_LENGTH_MAX] for text in texts[start : start + BATCH_TEXTS]])
            )
        return answers

    def _answers(self, texts: list[str]) -> Iterable[tuple[str, float]]:
        chances = probabilities(self.wording.scores(texts, self.classifier), self.temperature)
        names = [str(name) for name in self.classifier.classes_]
        best, confidence = chances.argmax(axis=1).tolist(), chances.max(axis=1).tolist()
        for place, chance in zip(best, confidence, strict=True):
            yield (names[place] if chance >= self.threshold else "unknown", chance)


def probabilities(scores: Any, temperature: float) -> Any:
    """Scores, a row for each text, as probabilities that sum to one."""
    from scipy.special import softmax

    return softmax(scores / temperature, axis=1)


def read_phrases() -> list[tuple[str, str]]:
    """The shipped (phrase, category) pairs."""
    path = resources.files("tinko_pipelines.declines").joinpath("data", "phrases.csv")
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return [(row["phrase"], row["category"]) for row in rows if row["category"] in CATEGORIES]


def train_text_model(taught: Sequence[Example] = ()) -> TextModel:
    """Fit on the shipped phrases and on what was taught, which wins over a phrase; the same rows give the same model."""
    own = {spelled(example.text) for example in taught}
    phrases = [_phrase(text, category) for text, category in read_phrases() if spelled(text) not in own]
    return fit([*phrases, *taught], taught=len(taught))


def _phrase(text: str, category: str) -> Example:
    return Example(text, category, weight=UNKNOWN_WEIGHT if category == "unknown" else 1.0)


def fit(examples: Sequence[Example], taught: int = 0) -> TextModel:
    """Fit on these examples, two or more of each category; confidence is calibrated on folds that were held out."""
    wording, classifier = _fitted(examples)
    counts = dict(sorted(Counter(example.category for example in examples).items()))
    return TextModel(wording, classifier, _temperature(examples, list(classifier.classes_)), counts, taught)


def _fitted(examples: Sequence[Example]) -> tuple[Wording, Any]:
    from sklearn.svm import LinearSVC

    wording = Wording.fitted([example.text for example in examples])
    classifier = LinearSVC(C=0.1, class_weight="balanced", random_state=0).fit(
        wording.matrix([example.text for example in examples]),
        [example.category for example in examples],
        sample_weight=[example.weight for example in examples],
    )
    return wording, classifier


def _temperature(examples: Sequence[Example], names: list[str]) -> float:
    """What makes the scores of wordings that were held out most probable."""
    import numpy as np
    from scipy.optimize import minimize_scalar
    from sklearn.model_selection import GroupKFold

    groups = [example.gateway or spelled(example.text) for example in examples]
    rows: list[Any] = []
    truth: list[int] = []
    for trained, held_out in GroupKFold(FOLDS, shuffle=True, random_state=0).split(groups, groups=groups):
        wording, classifier = _fitted([examples[row] for row in trained])
        if list(classifier.classes_) != names:
            continue  # A category whose few rows were all held out says nothing of confidence.
        rows.append(wording.scores([examples[row].text for row in held_out], classifier))
        truth.extend(names.index(examples[row].category) for row in held_out)
    if not rows:
        return 1.0
    scores = np.vstack(rows)

    def loss(log_temperature: float) -> float:
        chances = probabilities(scores, float(np.exp(log_temperature)))
        return float(-np.log(chances[np.arange(len(truth)), truth] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 2.0), method="bounded").x))


def save_text_model(model: TextModel, directory: Path) -> dict[str, object]:
    """Write model and card, each swapped in whole; returns the card."""
    import sklearn
    import skops.io

    data = skops.io.dumps({**model.wording.parts, "classifier": model.classifier})
    card: dict[str, object] = {
        "kind": "text_model",
        "sha256": hashlib.sha256(data).hexdigest(),
        "phrases": sum(model.counts.values()) - model.taught,
        "taught": model.taught,
        "rows_by_category": model.counts,
        "temperature": model.temperature,
        "threshold": model.threshold,
        "sklearn_version": sklearn.__version__,
    }
    write_whole(directory / MODEL_FILE, data)
    write_whole(directory / CARD_FILE, json.dumps(card, indent=2).encode())
    return card


def load_text_model(directory: Path) -> TextModel | None:
    """The stored model, None where none was stored; a file that does not match its card is refused."""
    if not (directory / MODEL_FILE).exists() or not (directory / CARD_FILE).exists():
        return None
    data = (directory / MODEL_FILE).read_bytes()
    try:
        card = json.loads((directory / CARD_FILE).read_text(encoding="utf-8"))
        matches = card["sha256"] == hashlib.sha256(data).hexdigest()
        counts, taught = dict(card["rows_by_category"]), int(card["taught"])
        temperature, threshold = float(card["temperature"]), float(card["threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the card of the text model in {directory} is damaged; train it again") from error
    if not matches:
        raise StoreError(f"the text model in {directory} does not match its card; train it again")
    parts = dict(_parts(data))
    classifier = parts.pop("classifier")
    return TextModel(Wording(parts), classifier, temperature, counts, taught, threshold)


@lru_cache(maxsize=2)
def _parts(data: bytes) -> dict[str, Any]:
    """What is in these bytes; reading it costs more than classifying a day's failures."""
    import skops.io

    return dict(skops.io.loads(data, trusted=[]))
