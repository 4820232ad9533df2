"""What must be there before dbt starts, checked so that a missing step is named and not a missing file."""

from tinko_pipelines.errors import StoreError
from tinko_pipelines.lake.place import current_folder
from tinko_pipelines.settings import Settings

LAKE_TABLES = (
    "charges", "payment_intents", "invoices", "invoice_payments", "refunds", "disputes", "events", "customers",
    "subscriptions", "prices", "balance_transactions",
)  # fmt: skip
DERIVED_TABLES = ("failed_payments", "verdicts")
LEDGER_TABLES = ("recovery_case", "attempt", "message")
STAMPED_TABLES = ("recovery_case", "attempt", "message", "recovery_link", "network_attempt", "cap_refusal")
"""Of the ledger's tables those that are read by what changed."""
_UNSAFE = set("*?[]{}'\"$\\")


def require_sources(settings: Settings) -> None:
    """Raise StoreError with the command to run when a table the models read is missing."""
    unsafe = sorted(_UNSAFE & set(str(settings.state)))
    if unsafe:
        raise StoreError(
            f"the state folder {settings.state} has {' '.join(unsafe)} in its name, which file patterns cannot"
            " hold; set TINKO_STATE to another folder"
        )
    lake = current_folder(settings)
    for name in LAKE_TABLES:
        folder = lake / "tables" / name
        if next(folder.rglob("*.parquet"), None) is None:
            raise StoreError(f"the lake has no {name} in {folder}; run `tinko ingest` first")
    for name in DERIVED_TABLES:
        path = lake / "derived" / f"{name}.parquet"
        if not path.is_file():
            raise StoreError(
                f"{path} is missing: the payments are not classified yet; run `tinko ingest` and then"
                " `tinko plan`, which classifies them"
            )
    for name in LEDGER_TABLES:
        path = settings.export_dir / f"{name}.parquet"
        if not path.is_file():
            raise StoreError(f"{path} is missing; run `tinko report`, which exports the ledger first")
