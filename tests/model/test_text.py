from __future__ import annotations

import csv
import os
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from tinko_pipelines.declines.classify import classify
from tinko_pipelines.declines.records import CATEGORIES, Decline
from tinko_pipelines.errors import StoreError
from tinko_pipelines.model.text import (
    MODEL_FILE,
    TextModel,
    load_text_model,
    read_phrases,
    save_text_model,
    train_text_model,
)


@pytest.fixture(scope="module")
def model() -> TextModel:
    return train_text_model()


def test_phrases_cover_every_category_once_each() -> None:
    phrases = read_phrases()
    assert len(phrases) >= 350
    assert len({text.lower() for text, _ in phrases}) == len(phrases)
    counts = Counter(category for _, category in phrases)
    assert set(counts) == set(CATEGORIES)
    assert min(counts.values()) >= 15


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("There is not enough money on your account", "insufficient_funds"),
        ("Your card has expired.", "card_expired"),
        ("Karte ist abgelaufen", "card_expired"),
        ("Duplicate transaction detected", "duplicate"),
    ],
)
def test_plain_wordings_are_read(model: TextModel, text: str, category: str) -> None:
    verdict = classify(Decline(message=text), date(2026, 11, 1), model)
    assert (verdict.category, verdict.source) == (category, "model")
    assert 0.25 <= verdict.confidence <= 1


@pytest.mark.parametrize("text", ["", "qzxqzx", "@@@@", "7" * 10_000, "\u4f60\u597d"])
def test_what_it_cannot_read_is_unknown(model: TextModel, text: str) -> None:
    assert model.predict([text])[0][0] == "unknown"


def test_saved_and_loaded_it_answers_the_same(model: TextModel, tmp_path: Path) -> None:
    assert load_text_model(tmp_path) is None
    card = save_text_model(model, tmp_path)
    again = load_text_model(tmp_path)
    assert again is not None
    assert again.predict(["no money"]) == model.predict(["no money"])
    assert card["phrases"] == len(read_phrases())
    (tmp_path / MODEL_FILE).write_bytes(b"other")
    with pytest.raises(StoreError, match="does not match its card"):
        load_text_model(tmp_path)


def test_macro_f1_on_messages_of_other_gateways(model: TextModel) -> None:
    path = os.environ.get("TINKO_GATEWAY_MESSAGES")
    if not path:
        pytest.skip("TINKO_GATEWAY_MESSAGES names no file of labelled messages")
    from sklearn.metrics import f1_score

    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in CATEGORIES]
    found = [category for category, _ in model.predict([row["message"] for row in rows])]
    score = f1_score([row["category"] for row in rows], found, average="macro", zero_division=0)
    print(f"macro-F1 {score:.3f} on {len(rows)} messages")
    assert score > 0.2
