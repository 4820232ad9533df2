"""Every place of a state folder, and of a ledger, as text to look through; what is compressed is unpacked first."""

import json
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from tinko_pipelines.lake.raw import ENDING
from tinko_pipelines.ledger.schema import metadata
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.outreach.bodies import opened


def texts(state: Path, ledger: Ledger) -> Iterator[tuple[str, bytes]]:
    """Name and content of each place."""
    for path in sorted(one for one in state.rglob("*") if one.is_file()):
        content = path.read_bytes()
        yield str(path.relative_to(state)), content + unpacked(str(path), content)
    salt = (state / "mail.salt").read_bytes()
    with ledger.read() as connection:
        for table in metadata.sorted_tables:
            rows = [dict(row) for row in connection.execute(select(table)).mappings()]
            kept = [row for row in rows if row.get("content")]
            bodies = [opened(row["content"], row["message_id"], salt) for row in kept]
            assert None not in bodies, "what is sealed would not be looked through"
            mails = b"\n".join(unpacked("body.eml", body) for body in bodies if body)
            yield f"ledger table {table.name}", json.dumps(rows, default=str).encode() + mails


def unpacked(name: str, content: bytes) -> bytes:
    """What is in a file besides its plain bytes."""
    path = Path(name)
    if name.endswith(ENDING):
        with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
            found: bytes = stream.read()
        return found
    if path.suffix == ".parquet":
        return json.dumps(pq.read_table(pa.BufferReader(content)).to_pylist(), default=str).encode()
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = "SELECT schema_name, table_name FROM duckdb_tables()"
            names = connection.execute(tables).fetchall()
            rows = [connection.execute(f'FROM "{schema}"."{name}"').fetchall() for schema, name in names]
        return json.dumps(rows, default=str).encode()
    if path.suffix == ".eml":
        mail = message_from_bytes(content, policy=default)
        parts = [str(part.get_content()) for part in mail.walk() if part.get_content_maintype() == "text"]
        return "\n".join([*map(str, mail.values()), *parts]).encode()
    return b""


def where(state: Path, ledger: Ledger, needles: set[str]) -> dict[str, list[str]]:
    """Where each of these texts is found."""
    found: dict[str, list[str]] = {}
    for name, content in texts(state, ledger):
        hits = [one for one in needles if one.encode() in content]
        if hits:
            found[name] = sorted(hits)
    return found
