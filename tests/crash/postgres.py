"""A PostgreSQL of the campaign's own: stopped as by a power cut, started again, and full of clones of one template."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import psycopg

from tests.crash.offspring import serves
from tests.postgres import _programs
from tinko_pipelines.ledger.store import Ledger

TEMPLATE = "template_ledger"


class Cluster:
    """Runs until its folder's keeper stops it; with `durable` it syncs as in production, so that it may be killed."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        programs = _programs()
        if programs is None:
            raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
        self._data = folder
        self._data.mkdir()
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._data, "postgres")
            self._prefix = ["runuser", "-u", "postgres", "--"]
        self._control = [str(programs / "pg_ctl"), "-D", str(self._data), "-w"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        fast = "" if durable else " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        self._options = (
            f"-p {self._port} -h 127.0.0.1 -k {self._data} -c max_connections=100 -c shared_buffers=32MB"
            f" -c autovacuum=off -c max_wal_size=128MB -c dynamic_shared_memory_type=mmap{fast}"
        )
        init = [
            str(programs / "initdb"),
            "-D",
            str(self._data),
            "-U",
            "tinko",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
        ]
        self._run(init)
        self.start()
        self.url = f"postgresql://tinko@127.0.0.1:{self._port}"
        self.create(TEMPLATE, template=None)
        ledger = Ledger.open(f"{self.url}/{TEMPLATE}")
        ledger.migrate()
        ledger.close()

    def _run(self, command: list[str]) -> None:
        subprocess.run(
            [*self._prefix, *command],
            check=True,
            cwd="/tmp",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        self._run([*self._control, "-l", str(self._data / "log"), "-o", self._options, "start"])

    def kill(self) -> None:
        """Stop at once, without a word to anybody."""
        self._run([*self._control, "-m", "immediate", "stop"])

    @property
    def running(self) -> bool:
        """Whether it takes orders; one that died leaves its file behind."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return False
        return serves(pid, self._data)

    def create(self, name: str, template: str | None = TEMPLATE) -> str:
        """A database; its URL."""
        if not self.running:
            self.start()
        of = f' TEMPLATE "{template}"' if template else ""
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"{of}')
        return f"{self.url}/{name}"

    def drop(self, name: str) -> None:
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
