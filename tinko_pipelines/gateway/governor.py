"""Our own ceiling on requests, below Stripe's; it knows nothing of what is requested."""

import threading
import time


class Governor:
    """A token bucket for one process, shared by its threads; holds at most one second's worth of tokens."""

    def __init__(self, requests_per_second: float) -> None:
        if requests_per_second <= 0:
            raise ValueError("requests_per_second must be above 0")
        self._rate = requests_per_second
        self._burst = max(1.0, requests_per_second)
        self._tokens = self._burst
        self._filled_at = time.monotonic()
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Wait for the next token; each waiter queues behind the earlier ones."""
        with self._lock:
            present = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (present - self._filled_at) * self._rate)
            self._filled_at = present
            self._tokens -= 1
            wait_seconds = max(0.0, -self._tokens / self._rate)
        if wait_seconds:
            time.sleep(wait_seconds)
