"""Which retries a model is judged on: those of customers it never learns from, later than all it learned from.

A customer is held back by his name alone, so it is the same customers for every model, and any two can be compared.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tinko_pipelines.model.timing.schema import codes_of, known_names, micros

HELD_SHARE = 0.3
LEARNED_SHARE = 0.75
"""Share of the retries, the earliest, after which those begin that are judged."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from and rows to judge on, as booleans, and the moment between them in microseconds."""

    learned: np.ndarray
    judged: np.ndarray
    cut_at: int


def split(retries: pa.Table) -> Split:
    """Learn from the earlier retries of most customers, judge on the later ones of the others."""
    at = micros(retries["attempted_at"])
    cut_at = int(np.quantile(at, LEARNED_SHARE, method="lower")) if len(at) else 0
    held, later = held_back(retries), at >= cut_at
    return Split(~held & ~later, held & later, cut_at)


def held_back(attempts: pa.Table) -> np.ndarray:
    """Whether each attempt is of a customer that no model learns from."""
    names = _whose(attempts).combine_chunks().dictionary_encode()
    held = [zlib.crc32(name.encode()) % 1000 < HELD_SHARE * 1000 for name in names.dictionary.to_pylist()]
    return np.asarray(np.array(held, bool)[names.indices.to_numpy()])


def customers(attempts: pa.Table) -> np.ndarray:
    """A number for each customer; who is not known stands for himself by his debt."""
    return codes_of(pa.table([_whose(attempts)], names=["whose"]))


def _whose(attempts: pa.Table) -> pa.ChunkedArray:
    debts = pc.binary_join_element_wise("debt", attempts["debt_id"], "/")
    whose = pc.coalesce(known_names(attempts["customer_id"]), debts)
    return pc.binary_join_element_wise(attempts["account_id"], whose, "/")
