"""dbt as the process that `dbt_child` starts: told its arguments as a line of JSON, it answers with a line of JSON for each model or test as it is done, and for each warning and error.

dbt writes a line of log for each of thousands of events before it asks whether anybody reads it, so its own log is off.
It keeps nearly all it makes until it ends; looking for what it could let go would take an eighth of a build.
"""

import gc
import json
import os
import sys
import traceback
from contextlib import suppress
from typing import Any

_WORTH_TELLING = ("warn", "error")


def _tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _heard(event: Any) -> None:
    # dbt stands still for ever when this fails in one of its threads, as it does where whoever listened is gone.
    try:
        _tell_of(event)
    except BaseException:
        with suppress(OSError):
            traceback.print_exc()
        os._exit(2)


def _tell_of(event: Any) -> None:
    if event.info.name == "NodeFinished":
        node, result = event.data.node_info.unique_id, event.data.run_result
        _tell(node=node, status=result.status, seconds=result.execution_time, message=result.message)
    elif event.info.level in _WORTH_TELLING:
        _tell(level=event.info.level, msg=event.info.msg)


def main() -> int:
    """Run dbt with the arguments that come; 0 when all is well, 1 when a model or test failed, 2 when dbt could not run."""
    # Loaded before it is known what is asked, since that takes the longest.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    asked = sys.stdin.readline()
    if not asked:
        return 0
    done = dbtRunner(callbacks=[_heard]).invoke(
        ["--no-version-check", "--log-level", "none", "--log-level-file", "none", *json.loads(asked)]
    )
    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
    if done.exception is not None:
        _tell(level="error", msg=str(done.exception))
        return 2
    return 0 if done.success else 1


if __name__ == "__main__":
    gc.disable()
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = 2
    # The warehouse is closed; to let go of the rest piece by piece would take as long as to load it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
