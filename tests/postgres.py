"""A real PostgreSQL for tests, started from the system's programs and stopped again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    located = shutil.which("initdb")
    return Path(located).resolve().parent if located else None


@contextmanager
def postgres_server(settings: str = "-c fsync=off -c shared_buffers=32MB") -> Iterator[str]:
    """The URL of a fresh cluster's `postgres` database, without a driver; the cluster ends with the block."""
    programs = _programs()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    root = Path(tempfile.mkdtemp(prefix="tinko-pg-", dir="/tmp"))
    root.chmod(0o755)
    data = root / "data"
    data.mkdir()
    prefix: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(data, "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/tmp"}
    control = [*prefix, str(programs / "pg_ctl"), "-D", str(data)]
    options = f"-p {port} -h 127.0.0.1 -k {data} -c max_connections=60 {settings}"
    try:
        subprocess.run(
            [
                *prefix,
                str(programs / "initdb"),
                "-D",
                str(data),
                "-U",
                "tinko",
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
            ],
            check=True,
            **quiet,
        )
        subprocess.run([*control, "-w", "-l", str(data / "log"), "-o", options, "start"], check=True, **quiet)
        try:
            yield f"postgresql://tinko@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "-w", "stop"], check=True, **quiet)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def database(server_url: str, name: str, like: str = "template1") -> Iterator[str]:
    """The URL of a new database in that cluster: empty, or a copy of another that nobody is using."""
    import psycopg

    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
    yield server_url.rsplit("/", 1)[0] + f"/{name}"
