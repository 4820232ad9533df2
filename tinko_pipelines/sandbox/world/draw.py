"""Chance without a generator: numbers hashed out of names, so that no order of calls can change them."""

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

MINUTE = 60
HOUR = 3_600
DAY = 86_400


def uniform(seed: int, *parts: object) -> float:
    """A number in [0, 1) that belongs to these names and to nothing else."""
    text = "\x1f".join([str(seed), *(str(part) for part in parts)])
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def pick(choices: Sequence[tuple[T, float]], number: float) -> T:
    """The choice on which `number` in [0, 1) falls, each as wide as its weight."""
    left = number * sum(weight for _, weight in choices)
    for choice, weight in choices:
        left -= weight
        if left < 0:
            return choice
    return choices[-1][0]


def waiting(number: float, mean_seconds: float, least: int, most: int) -> int:
    """An exponential waiting time in whole seconds, held between `least` and `most`."""
    return int(min(max(-math.log(1.0 - number) * mean_seconds, least), most))


def name(seed: int, *parts: object) -> str:
    """Fourteen hexadecimal digits that belong to these names."""
    return f"{int(uniform(seed, 'name', *parts) * 2**56):014x}"
