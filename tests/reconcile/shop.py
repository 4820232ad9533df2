"""A merchant whose ledger can be made to lie, and the hands of everybody else at Stripe."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from tinko_pipelines.app import App
from tinko_pipelines.ledger import anomalies
from tinko_pipelines.ledger.schema import recovery_case
from tinko_pipelines.sandbox.client import SandboxClient
from tinko_pipelines.settings import load_settings

READ_ONLY = "rk_test_tinko_readonly"
HALF_AN_HOUR = timedelta(minutes=30)


class Shop:
    def __init__(self, base: str, state: Path, **settings: Any) -> None:
        self.stripe = SandboxClient(base)
        fixed = {"clock": "sandbox", "stripe_requests_per_second": 1000, "drain_lease_seconds": 1.0}
        chosen = fixed | {"reconcile_key": READ_ONLY} | settings
        self.app = App(load_settings(state=state, stripe_api_base=base, **chosen))

    def owe(self, kind: str, *, passes: bool = True, email: str = "a@example.com") -> str:
        later = int(self.stripe.now().timestamp()) + 43_200
        codes = [[0, "insufficient_funds"], *([[later, None]] if passes else [])]
        made = self.stripe.fixture(kind, codes=codes, email=email)
        self.app.ingest_changes()
        self.app.plan()
        return str(made["invoice"] if kind == "failed_invoice" else made["payment_intent"])

    def retry(self) -> None:
        last = max(row["due_at"] for row in self.rows(recovery_case) if row["state"] == "open")
        self.stripe.advance_to(last + timedelta(minutes=1))
        self.app.drain(owner="test")

    def later(self, delta: timedelta = HALF_AN_HOUR) -> datetime:
        return self.stripe.advance_to(self.stripe.now() + delta)

    def rows(self, table: Any) -> list[dict[str, Any]]:
        with self.app.ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def kinds(self) -> list[str]:
        return sorted(row["kind"] for row in anomalies.still_open(self.app.ledger))

    def lie(self, statement: str) -> None:
        """Change the ledger as no code of ours could: past its triggers."""
        with self.app.ledger.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL session_replication_role = replica"))
                connection.execute(text(statement))
                return
            found = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            ).all()
            for name, _ in found:
                connection.execute(text(f"DROP TRIGGER {name}"))
            connection.execute(text(statement))
            for _, made in found:
                connection.exec_driver_sql(made)
