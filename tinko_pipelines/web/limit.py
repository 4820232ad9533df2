"""How often the buttons of one link may be pressed, kept in memory and bounded.

Who guesses tokens is not counted: 256 bits are not guessed, and many a customer shares his address with others.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

PER_MINUTE = 20
MOST_LINKS = 10_000


class Presses:
    """A bucket of presses for each link, filled again within a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allowed(self, link: str) -> bool:
        """Count one more press; whether it may be answered."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(link, (float(PER_MINUTE), now))
            left = min(PER_MINUTE, left + (now - at) * PER_MINUTE / 60)
            self._left[link] = (left - 1 if left >= 1 else left, now)
            while len(self._left) > MOST_LINKS:
                self._left.popitem(last=False)
            return left >= 1
