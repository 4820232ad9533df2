"""One DuckDB for all that this process asks of lakes: to begin one takes longer than most questions to it.

It holds nothing itself. What somebody makes in his session (temporary views and tables, variables) is his alone and
goes with it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_lock = threading.Lock()
_kept: list[duckdb.DuckDBPyConnection] = []
_of_parents: list[duckdb.DuckDBPyConnection] = []
"""Those of the processes this one was forked from: their threads are not here, so they cannot even be closed."""


@contextmanager
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A session in UTC, for one thread. After an error the next one is of a new DuckDB, in case this one is broken."""
    import duckdb

    opened = _opened()
    try:
        opened.execute("SET TimeZone = 'UTC'")
        opened.execute("SET python_enable_replacements = false")
        yield opened
    except duckdb.Error:
        _let_go()
        raise
    finally:
        opened.close()


def _opened() -> duckdb.DuckDBPyConnection:
    import duckdb

    with _lock:
        if not _kept:
            # Files of the lake are replaced under their names; none may be remembered as it was.
            _kept.append(duckdb.connect(":memory:", config={"enable_external_file_cache": "false"}))
        return _kept[0].cursor()


def _let_go() -> None:
    """It ends with the last session that is open in it."""
    with _lock:
        _kept.clear()


def _begin_anew() -> None:
    global _lock  # noqa: PLW0603 - a thread that is not in this process may have held it
    _lock = threading.Lock()
    _of_parents.extend(_kept)
    _kept.clear()


os.register_at_fork(after_in_child=_begin_anew)
atexit.register(_let_go)
