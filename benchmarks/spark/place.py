"""Where Spark lives: an environment below `build/` made from pinned versions, and a cluster of two executors on loopback."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "build" / "spark"
PINNED = Path(__file__).with_name("constraints.txt")
EXECUTORS = 2
MASTER = f"local-cluster[{EXECUTORS},1,768]"
"""Two workers, each a process of its own with one executor of one core and 768 MB: what they share goes over sockets."""
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Work:
    """What the executors did in one session: tasks and CPU-seconds of each, as Spark itself wrote them down."""

    tasks: Mapping[str, int]
    cpu_seconds: Mapping[str, float]

    def told(self) -> str:
        """In a line."""
        each = (
            f"{name}: {count:,} tasks, {self.cpu_seconds[name]:.1f} CPU-s"
            for name, count in self.tasks.items()
        )
        return f"{len(self.tasks)} executors ({'; '.join(each)})"


def program(name: str) -> str:
    """A program of Spark's environment, which is made when it is not there, and brought to what is pinned."""
    if shutil.which("java") is None:
        raise SystemExit("Spark needs Java 17 or later, and there is no `java` on the path")
    uv = str(Path(sys.executable).with_name("uv"))
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(ENVIRONMENT)], check=True)
    subprocess.run([uv, "pip", "sync", "--quiet", "--python", str(python), str(PINNED)], check=True)
    return str(ENVIRONMENT / "bin" / name)


def variables(home: Path) -> dict[str, str]:
    """The environment of a program of Spark: nothing listens beyond this machine, all files lie below `home`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "SPARK_", "TINKO_"))
    }
    python = str(ENVIRONMENT / "bin" / "python")
    return kept | {
        "SPARK_LOCAL_IP": LOOPBACK, "SPARK_LOCAL_HOSTNAME": LOOPBACK, "SPARK_LOCAL_DIRS": str(home / "scratch"),
        "SPARK_WORKER_DIR": str(home / "workers"), "SPARK_CONF_DIR": str(configured(home)), "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python, "TINKO_SPARK_HOME": str(home), "TINKO_SPARK_MASTER": MASTER,
        "TZ": "UTC",
    }  # fmt: skip


def configured(home: Path) -> Path:
    """A folder of Spark's own settings: memory that fits the workers, and a log of what each executor did."""
    folder, events = home / "conf", home / "events"
    for one in (folder, events):
        one.mkdir(parents=True, exist_ok=True)
    settings = {
        "spark.driver.memory": "1g",
        "spark.executor.memory": "768m",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": events.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}",
    }
    lines = "".join(f"{name} {value}\n" for name, value in settings.items())
    (folder / "spark-defaults.conf").write_text(lines)
    return folder


def work_of(home: Path) -> Work:
    """What the executors of the last session did; the log is taken away, so that the next one's is alone."""
    tasks, cpu = Counter[str](), Counter[str]()
    for log in (home / "events").iterdir():
        with log.open() as lines:
            for line in lines:
                if not line.startswith('{"Event":"SparkListenerTaskEnd"'):
                    continue
                event = json.loads(line)
                executor = f"executor {event['Task Info']['Executor ID']}"
                tasks[executor] += 1
                cpu[executor] += (event.get("Task Metrics") or {}).get("Executor CPU Time", 0)
        log.unlink()
    return Work(dict(sorted(tasks.items())), {name: nanos / 1e9 for name, nanos in cpu.items()})
