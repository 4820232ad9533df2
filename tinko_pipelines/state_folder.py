"""What lies where below the folder of all state. Names only; nothing is read or made here."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class StateFolder(BaseSettings):
    """The one setting that says where, and everything that follows from it."""

    model_config = SettingsConfigDict(env_prefix="TINKO_", frozen=True, extra="ignore", populate_by_name=True)

    state: Path = Field(Path(".tinko"), description="Folder of all state.")

    @field_validator("state")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def lake_dir(self) -> Path:
        """Root of the lake, raw pages and typed Parquet; of one on an object store, what is still to be sent there, and a copy."""
        return self.state / "lake"

    @property
    def export_dir(self) -> Path:
        """Where the ledger is exported to, for dbt."""
        return self.state / "export"

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file dbt builds; one writer, never opened by analysts."""
        return self.state / "warehouse.duckdb"

    @property
    def snapshot_path(self) -> Path:
        """The read-only DuckDB file analysts open, swapped atomically."""
        return self.state / "recovery.duckdb"

    @property
    def snapshots_dir(self) -> Path:
        """The published snapshots of which that file is the newest."""
        return self.state / "snapshots"

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.state / "reports" / "recovery.html"

    @property
    def outbox_dir(self) -> Path:
        """Where the file transport writes mails."""
        return self.state / "outbox"

    @property
    def mail_salt(self) -> Path:
        """The secret by which addresses are hashed and mails sealed; its owner's alone."""
        return self.state / "mail.salt"

    @property
    def model_dir(self) -> Path:
        """Trained models with their cards."""
        return self.state / "models"

    @property
    def timing_dir(self) -> Path:
        """The registry of timing models: every version, which one is in use, and the history."""
        return self.model_dir / "timing"

    @property
    def ledger_mark(self) -> Path:
        """What this installation last saw of its ledger, to notice when an older one or another stands there."""
        return self.state / "ledger-seen.json"

    @property
    def sandbox_dir(self) -> Path:
        """The bundled sandbox's own book."""
        return self.state / "sandbox"

    @property
    def sandbox_note(self) -> Path:
        """Where the moment is noted at which the bundled sandbox of this state folder stands."""
        return self.state / "sandbox.json"
