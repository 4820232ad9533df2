"""Named points inside a drain, at which a test may end the process as a power cut would."""

import os
import signal
import threading
from collections.abc import Callable

from tinko_pipelines.errors import InputError

BOUNDARIES = (
    "before_prepare",
    "after_prepare",
    "before_preflight",
    "after_preflight",
    "before_begin_call",
    "after_begin_call",
    "before_http",
    "after_http",
    "before_settle",
    "after_settle",
    "janitor_before_get",
    "janitor_after_get",
)

PAGE_BOUNDARIES = (
    "page_before_begin",
    "page_after_begin",
    "page_after_create",
    "page_after_cancel",
    "page_after_cancel_seen",
    "page_after_settle",
)
"""Those inside the making of a page on which a customer pays."""
PAGE_END_BOUNDARIES = (
    "page_before_look",
    "page_after_look",
    "page_after_expire",
    "page_before_successor",
    "page_after_successor",
)
"""Those inside the looking after one."""


def killer_from(text: str | None) -> Callable[[str], None] | None:
    """A hook that SIGKILLs this process at the k-th passing of `name`, from 'name:k'; None without text."""
    if not text:
        return None
    name, _, count = text.partition(":")
    known = (*BOUNDARIES, *PAGE_BOUNDARIES, *PAGE_END_BOUNDARIES)
    if name not in known or not (count or "1").isdigit():
        raise InputError(f"TINKO_KILL_AT={text}: write <boundary>:<count>, one of {', '.join(known)}")
    left = [int(count or "1")]
    lock = threading.Lock()

    def hook(passed: str) -> None:
        if passed != name:
            return
        with lock:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook
