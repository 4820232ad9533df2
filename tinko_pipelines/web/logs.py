"""What the web says of itself: one JSON object a line on standard output.

Bodies, queries, paths, headers and the texts of foreign errors never come here: tokens, addresses and secrets lie in them.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

FRAMES_MOST = 12
_log = logging.getLogger("tinko.web")


class JsonLines(logging.Formatter):
    """A record as one line; of an exception its kind and where it was raised, since its text may quote what was asked."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        # Below its first line others quote what an exception says.
        event = record.getMessage().strip().partition("\n")[0]
        line: dict[str, Any] = {"at": moment, "level": record.levelname.lower(), "event": event}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"error": record.exc_info[0].__name__, "raised": _places(record.exc_info[2])}
        # Outside of ASCII there are more ends of lines, and words that a terminal obeys.
        return json.dumps(line, default=str, separators=(",", ":")).replace("\x7f", "\\u007f")


def _places(trace: TracebackType | None) -> list[str]:
    """Where an exception came from, the innermost place last."""
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return found[-FRAMES_MOST:]


def start() -> None:
    """Send what we and the HTTP server say to standard output, in this form alone."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    for name in ("tinko.web", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "tinko.web" else logging.WARNING)


def say(event: str, **fields: Any) -> None:
    """One line."""
    _log.info(event, extra={"fields": fields})


def say_failed(event: str, error: BaseException, **fields: Any) -> None:
    """One line about what went wrong, without the text of the error."""
    _log.error(event, exc_info=error, extra={"fields": fields})
