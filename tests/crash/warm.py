"""What every worker would otherwise work out again: compiled statements, dialects, templates, connections' dialogs.

The parent does one trial's work in its own process; its children inherit what that left behind.
"""

import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from tests.crash import worker
from tests.crash.plan import plan
from tests.crash.stage import raise_stage
from tests.crash.world import Book, Debt, build, enrol_debts
from tinko_pipelines.ledger import store
from tinko_pipelines.ledger.store import Ledger

_warm: dict[str, Engine] = {}
_cold_open = Ledger.open.__func__  # type: ignore[attr-defined]


def _open(kind: type[Ledger], url: str) -> Ledger:
    """Open as ever, then take over what the parent's engine of the kind has compiled."""
    ledger: Ledger = _cold_open(kind, url)
    engine: Any = ledger.engine
    warm: Any = _warm.get(engine.dialect.name)
    if warm is None:
        _warm[engine.dialect.name] = engine
        return ledger
    engine._compiled_cache = warm._compiled_cache
    engine.dialect = engine.pool._dialect = warm.dialect
    return ledger


def inherit() -> None:
    """From now on ledgers share what has been compiled; for this process and its children."""
    store.Ledger.open = classmethod(_open)  # type: ignore[assignment,method-assign]


def work_once(folder: Path, url: str, *, lake: bool) -> None:
    """A small world drained and mailed in this very process; `lake`: through the lake."""
    folder.mkdir()
    quiet = replace(plan(0, 0), fault_kinds=(), happenings=(), lake=lake, threads=1)
    debts: list[Debt] = []
    stage = raise_stage(folder, 1, lambda actions: debts.extend(build(actions, quiet)))
    try:
        place = worker.place_for(folder, stage.base, url, stage.smtp_url, quiet)
        app = worker.application(place, quiet)
        stage.client.mode(stripe_retries="off")
        if lake:
            app.ingest_changes()
            app.plan()
        else:
            enrol_debts(app.ledger, Book(folder).read(), debts, stage.client.now())
        for _ in range(3):
            stage.client.advance_to(stage.client.now() + timedelta(days=4))
            app.drain(owner="warm")
            app.send_mail(owner="warm")
        if lake:
            app.check()
        app.ledger.close()
    finally:
        os.kill(stage.pid, signal.SIGTERM)
        os.waitpid(stage.pid, 0)
