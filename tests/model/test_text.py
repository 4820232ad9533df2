from __future__ import annotations

import csv
import os
from collections import Counter
from datetime import date
from importlib import resources
from pathlib import Path

import pytest

from benchmarks.model import texts
from tinko_pipelines.declines.classify import classify
from tinko_pipelines.declines.records import CATEGORIES, Decline
from tinko_pipelines.errors import StoreError
from tinko_pipelines.model.text import (
    MODEL_FILE,
    THRESHOLD,
    TextModel,
    load_text_model,
    read_phrases,
    save_text_model,
    train_text_model,
)
from tinko_pipelines.model.wording import spelled


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
    assert THRESHOLD <= verdict.confidence <= 1


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


def test_gateways_it_never_saw_are_read(model: TextModel) -> None:
    """What three gateways say of refusals, none of which was looked at when the phrases were written."""
    with Path(__file__).with_name("other_gateways.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    known = {spelled(text) for text, _ in read_phrases()}
    rows = [row for row in rows if spelled(row["text"]) not in known]
    found = model.predict([row["text"] for row in rows])
    read = [(row["category"], category) for row, (category, _) in zip(rows, found, strict=True)]
    assert len(read) > 40
    assert sum(truth == guess for truth, guess in read) / len(read) >= 0.75
    wrong = [guess for truth, guess in read if guess not in (truth, "unknown")]
    assert len(wrong) / len(read) <= 0.2


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("Das Konto ist nicht gedeckt", "insufficient_funds"),
        ("solde du compte insuffisant", "insufficient_funds"),
        ("la cuenta no tiene fondos suficientes", "insufficient_funds"),
        ("il saldo del conto è insufficiente", "insufficient_funds"),
        ("o saldo da conta é insuficiente", "insufficient_funds"),
        ("het saldo is te laag", "insufficient_funds"),
        ("Carte expirée", "card_expired"),
        ("CARTE EXPIREE", "card_expired"),
    ],
)
def test_the_languages_of_the_phrases_are_read_with_and_without_accents(
    model: TextModel, text: str, category: str
) -> None:
    assert model.predict([text])[0][0] == category


def test_each_category_has_phrases_in_each_language() -> None:
    path = resources.files("tinko_pipelines.declines").joinpath("data", "phrases.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    pairs = {(row["category"], row["language"]) for row in rows}
    assert pairs == {(name, language) for name in CATEGORIES for language in "en de es fr it nl pt".split()}


@pytest.mark.parametrize(
    "spelling", ["someNewInsufficientFunds", "SOME_NEW_INSUFFICIENT_FUNDS", "E17:InsufficientFunds"]
)
def test_words_inside_a_code_are_read(model: TextModel, spelling: str) -> None:
    verdict = classify(Decline(code=spelling), date(2026, 11, 1), model)
    assert (verdict.category, verdict.source) == ("insufficient_funds", "model")


def test_numbers_in_a_wording_change_nothing(model: TextModel) -> None:
    assert model.predict(["card expired 4711"]) == model.predict(["card expired"])
    assert not any(word.isdigit() for word in model.wording.parts["words"].vocabulary_)


def test_word_by_word_gives_what_scikit_learn_gives_for_whole_texts(model: TextModel) -> None:
    from scipy.sparse import hstack

    wordings = [text for text, _ in read_phrases()] + [
        "",
        "a",
        "a b",
        "x " * 30,
        "\u4f60\u597d Z\u00fcrich \u0130 \u00df",
    ]
    parts, plain = model.wording.parts, [spelled(text) for text in wordings]
    halves = [
        parts["char_weights"].transform(parts["chars"].transform(plain)),
        parts["word_weights"].transform(parts["words"].transform(plain)),
    ]
    assert abs(hstack(halves) - model.wording.matrix(wordings)).max() < 1e-12
    told = model.classifier.decision_function(model.wording.matrix(wordings))
    assert abs(told - model.wording.scores(wordings, model.classifier)).max() < 1e-9


def test_batches_answer_as_single_texts_do(model: TextModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wordings = [text for text, _ in read_phrases()][:50]
    monkeypatch.setattr("tinko_pipelines.model.text.BATCH_TEXTS", 7)
    for text, (category, chance) in zip(wordings, model.predict(wordings), strict=True):
        alone = model.predict([text])[0]
        assert (alone[0], round(alone[1], 9)) == (category, round(chance, 9))
    assert model.predict([]) == []


def test_confidence_is_a_probability_and_unsure_guesses_are_unknown(model: TextModel) -> None:
    wordings = [
        "bank of the north",
        "my cards",
        "please see above",
        "no",
        "insufficient funds",
        "expired card",
    ]
    for category, chance in model.predict(wordings):
        assert 1 / len(CATEGORIES) <= chance <= 1
        assert (category == "unknown") or chance >= THRESHOLD
    assert {category for category, _ in model.predict(wordings[:4])} == {"unknown"}


def test_the_same_phrases_give_the_same_model(model: TextModel) -> None:
    again = train_text_model()
    assert again.temperature == model.temperature
    assert again.predict(["odd wording of a bank"]) == model.predict(["odd wording of a bank"])


def test_the_method_on_gateways_held_out() -> None:
    if not os.environ.get("TINKO_GATEWAY_MESSAGES"):
        pytest.skip("TINKO_GATEWAY_MESSAGES names no file of labelled messages")
    rows = texts.read_rows(Path(os.environ["TINKO_GATEWAY_MESSAGES"]))
    ours = texts.by_gateway(rows, texts.ours)
    plain = texts.by_gateway(rows, texts.baseline)
    assert len(ours.rows) > 300
    assert ours.macro_f1() >= 0.70
    assert ours.macro_f1() > plain.macro_f1() + 0.02
    assert texts.shipped(rows, train_text_model()).macro_f1() >= 0.70
