"""How often one address may ask for what is not there, kept in memory and bounded; and all addresses together."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

PER_MINUTE = 20
PER_MINUTE_OF_ALL = 300
MOST_ADDRESSES = 10_000


class Guesses:
    """Counts vain requests. Whoever has made none is never kept waiting for those of others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._of_all = (float(PER_MINUTE_OF_ALL), clock())

    def refused(self, address: str) -> bool:
        """Whether this address, or everybody who guesses, has guessed too often lately."""
        with self._lock:
            if address not in self._left:
                return False
            own = self._filled(self._left[address], PER_MINUTE)
            return own < 1 or self._filled(self._of_all, PER_MINUTE_OF_ALL) < 1

    def note(self, address: str) -> None:
        """One more vain request."""
        with self._lock:
            now = self._clock()
            known = self._left.pop(address, (float(PER_MINUTE), now))
            self._left[address] = (max(0.0, self._filled(known, PER_MINUTE) - 1), now)
            self._of_all = (max(0.0, self._filled(self._of_all, PER_MINUTE_OF_ALL) - 1), now)
            while len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)

    def _filled(self, held: tuple[float, float], most: float) -> float:
        left, at = held
        return min(most, left + (self._clock() - at) * most / 60)
