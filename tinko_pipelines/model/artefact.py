"""What a stored model may be: a skops file of known types, unchanged since it was written. Nothing else is opened."""

from __future__ import annotations

import hashlib
import io
import zipfile

from tinko_pipelines.errors import StoreError
from tinko_pipelines.model.timing.recovery import TRUSTED

ALLOWED_TYPES = frozenset(TRUSTED)
"""What a file may hold beside the types that skops trusts by itself."""
LARGEST_BYTES = 512 * 1024 * 1024
UNPACKED_BYTES = 2 * 1024 * 1024 * 1024


def sha256_of(data: bytes) -> str:
    """The fingerprint that a card and the registry name an artefact by."""
    return hashlib.sha256(data).hexdigest()


def refuse_unless_sound(data: bytes, name: str, sha256: str) -> None:
    """Raise StoreError, in a sentence for a person, unless `data` may be opened: by its kind, its hash, its types."""
    _refuse_unless_skops(data, name)
    if sha256_of(data) != sha256:
        raise StoreError(
            f"{name} is not what was stored (its hash differs): it was changed or damaged; train it again"
        )
    _refuse_unknown_types(data, name)


def _refuse_unless_skops(data: bytes, name: str) -> None:
    if len(data) > LARGEST_BYTES:
        raise StoreError(f"{name} has {len(data):,} bytes; more than {LARGEST_BYTES:,} are not opened")
    if not data.startswith(b"PK\x03\x04"):
        kind = "a pickle" if data[:1] == b"\x80" else "something else"
        raise StoreError(
            f"{name} is no skops file but {kind}, and is not opened; store it by `tinko model train`"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            members = packed.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise StoreError(f"{name} is damaged: {error}; train it again") from error
    if "schema.json" not in {one.filename for one in members}:
        raise StoreError(f"{name} is a zip file but no skops file, and is not opened")
    if sum(one.file_size for one in members) > UNPACKED_BYTES:
        raise StoreError(f"{name} unpacks to more than {UNPACKED_BYTES:,} bytes and is not opened")


def _refuse_unknown_types(data: bytes, name: str) -> None:
    import skops.io

    try:
        unknown = set(skops.io.get_untrusted_types(data=data)) - ALLOWED_TYPES
    except Exception as error:
        raise StoreError(f"{name} cannot be read as a skops file: {error}; train it again") from error
    if unknown:
        raise StoreError(
            f"{name} holds types that are not on the list of what a model may hold, and is not opened: "
            + ", ".join(sorted(unknown))
        )
