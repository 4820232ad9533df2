"""The numbers Prometheus may read: of requests, of webhooks, and of what waits in the ledger. None tells of a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from tinko_pipelines.errors import TinkoError

if TYPE_CHECKING:
    from tinko_pipelines.app import App

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)
"""Bounds of the times that are told apart."""


class Figures:
    """Counts what happens in this process; what the ledger holds is read when it is asked for."""

    def __init__(self, app: App) -> None:
        # Else each counter comes with a second one that tells since when it counts.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tinko_web_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "tinko_web_request_seconds",
            "Until an answer was sent.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.webhooks = Counter(
            "tinko_webhooks", "Webhooks by what came of them.", ("account", "outcome"), registry=self.registry
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_LedgerFigures(app))

    def text(self) -> bytes:
        """All of them in Prometheus' format; asks the ledger, so not for an event loop."""
        return generate_latest(self.registry)


class _LedgerFigures(Collector):
    def __init__(self, app: App) -> None:
        self._app = app

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing, so that registering asks nothing of the ledger."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What waits now; only that the ledger could not be read, if so."""
        try:
            found = list(self._read())
        except (TinkoError, SQLAlchemyError):
            found = []
        yield GaugeMetricFamily("tinko_ledger_up", "Whether the ledger could be read.", float(bool(found)))
        yield from found

    def _read(self) -> Iterable[GaugeMetricFamily]:
        app = self._app
        now, backlog, due = app.clock.now(), app.inbox_backlog(), app.due()
        oldest = backlog.oldest_received_at
        age_seconds = max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
        for name, what, number in (
            ("tinko_inbox_unlanded", "Webhook events that are not in the lake yet.", backlog.unlanded),
            ("tinko_inbox_unmarked", "Webhook events that marked no case yet.", backlog.unmarked),
            ("tinko_inbox_oldest_seconds", "Age of the oldest of these.", age_seconds),
            ("tinko_due_retries", "Retries that are due.", due.retries),
            ("tinko_due_unsettled", "Attempts whose outcome is to be looked for.", due.janitor),
            ("tinko_due_looks", "Cases and events to be looked at.", due.inbox),
            ("tinko_due_mails", "Mails that are due.", due.messages),
            ("tinko_held", "Whether a restored ledger holds everything back.", app.restored()),
        ):
            yield GaugeMetricFamily(name, what, float(number))
        paused = GaugeMetricFamily("tinko_paused", "What is stopped, and where.", labels=("scope", "what"))
        for pause in app.pauses():
            for what in ("charging", "mailing"):
                paused.add_metric((pause.scope, what), float(what in pause.stopped))
        yield paused
