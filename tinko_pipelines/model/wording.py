"""From gateways' wordings to numbers: character n-grams of each word, and words with their neighbours.

It knows no categories. Each distinct word of a batch is cut up once, which makes it ten times as fast as
scikit-learn's own way over whole texts, with the same result.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])")
SIZES = (2, 3, 4, 5)
UNCUT = r"\S+"
WORDS = re.compile(r"[^\W_]+")


def spelled(text: str) -> str:
    """The words of a text or a code in lower case, without accents: `cardExpired` and `CARD_EXPIRED` read alike.

    Bare numbers are left out: they are mostly ids, and what a number means differs from gateway to gateway.
    """
    return " ".join(_words_of(text))


def _words_of(text: str) -> list[str]:
    if not text.islower():
        text = CAMEL.sub(" ", text)
    if not text.isascii():
        text = "".join(
            mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark)
        )
    return [word for word in WORDS.findall(text.lower()) if not word.isdigit()]


class Wording:
    """Fitted vocabularies; `parts` is what is stored of it."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts = parts

    @classmethod
    def fitted(cls, texts: Sequence[str]) -> Wording:
        """Learn the vocabulary of these texts."""
        from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

        parts = {
            "chars": CountVectorizer(analyzer="char_wb", ngram_range=(SIZES[0], SIZES[-1])),
            "words": CountVectorizer(ngram_range=(1, 2), token_pattern=UNCUT),
            "char_weights": TfidfTransformer(sublinear_tf=True),
            "word_weights": TfidfTransformer(sublinear_tf=True),
        }
        plain = [spelled(text) for text in texts]
        parts["char_weights"].fit(parts["chars"].fit_transform(plain))
        parts["word_weights"].fit(parts["words"].fit_transform(plain))
        return cls(parts)

    def matrix(self, texts: Sequence[str]) -> Any:
        """A sparse matrix with a row for each text: characters, then words."""
        from scipy.sparse import hstack

        return hstack(self._halves(texts), format="csr")

    def scores(self, texts: Sequence[str], classifier: Any) -> Any:
        """What a linear classifier fitted on `matrix` says of each text: a row for each, a column for each class."""
        chars, words = self._halves(texts)
        weights, width = classifier.coef_.T, chars.shape[1]
        return chars @ weights[:width] + words @ weights[width:] + classifier.intercept_

    def _halves(self, texts: Sequence[str]) -> tuple[Any, Any]:
        tokens = [_words_of(text) for text in texts]
        chars = self.parts["char_weights"].transform(self._chars(tokens), copy=False)
        return chars, self.parts["word_weights"].transform(self._words(tokens), copy=False)

    def _chars(self, tokens: list[list[str]]) -> Any:
        """How often each n-gram of characters stands in each text: texts by words times words by n-grams."""
        place: dict[str, int] = {}
        columns, ends = [], [0]
        for words in tokens:
            columns.extend([place.setdefault(word, len(place)) for word in words])
            ends.append(len(columns))
        known = self.parts["chars"].vocabulary_
        return _counts(columns, ends, len(place)) @ _counted([_pieces(word) for word in place], known)

    def _words(self, tokens: list[list[str]]) -> Any:
        """How often each known word and pair of neighbours stands in each text."""
        known = self.parts["words"].vocabulary_
        return _counted([[*words, *map(" ".join, pairwise(words))] for words in tokens], known)


def _pieces(word: str) -> list[str]:
    """The n-grams of a word with a blank on either side."""
    whole = f" {word} "
    return [whole[at : at + size] for size in SIZES for at in range(len(whole) - size + 1)]


def _counted(terms: list[list[str]], known: dict[str, int]) -> Any:
    """How often each known term stands in each row."""
    columns: list[int] = []
    ends = [0]
    for row in terms:
        columns.extend([known[term] for term in row if term in known])
        ends.append(len(columns))
    return _counts(columns, ends, len(known))


def _counts(columns: list[int], ends: list[int], width: int) -> Any:
    from numpy import ones
    from scipy.sparse import csr_matrix

    counts = csr_matrix((ones(len(columns)), columns, ends), shape=(len(ends) - 1, width))
    counts.sum_duplicates()
    return counts
