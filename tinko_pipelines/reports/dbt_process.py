"""dbt as the process that `dbt_runner` starts: its warnings and errors are lines of JSON, and nothing else is written down.

dbt writes a line of log for each of thousands of events before it asks whether anybody reads it, so its own log is off.
It keeps nearly all it makes until it ends; looking for what it could let go would take an eighth of a build.
"""

import gc
import json
import sys
from typing import Any

_WORTH_TELLING = ("warn", "error")


def _tell(level: str, message: str) -> None:
    sys.stdout.write(json.dumps({"level": level, "msg": message}) + "\n")
    sys.stdout.flush()


def _heard(event: Any) -> None:
    if event.info.level in _WORTH_TELLING:
        _tell(event.info.level, event.info.msg)


def main(arguments: list[str]) -> int:
    """Run dbt with these arguments; 0 when all is well, 1 when a model or test failed, 2 when dbt could not run."""
    from dbt.cli.main import dbtRunner

    done = dbtRunner(callbacks=[_heard]).invoke(
        ["--no-version-check", "--log-level", "none", "--log-level-file", "none", *arguments]
    )
    if done.exception is not None:
        _tell("error", str(done.exception))
        return 2
    return 0 if done.success else 1


if __name__ == "__main__":
    gc.disable()
    sys.exit(main(sys.argv[1:]))
