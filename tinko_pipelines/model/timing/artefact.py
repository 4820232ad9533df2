"""A model as bytes: skops, never pickle, and the same bytes for the same model."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from tinko_pipelines.errors import StoreError


def dumps(held: Mapping[str, Any]) -> bytes:
    """A dictionary of estimators, arrays, names and numbers as an artefact."""
    import skops.io

    return _canonical(skops.io.dumps(dict(held)))


def loads(data: bytes, trusted: Sequence[str]) -> dict[str, Any]:
    """What `dumps` was given. StoreError for bytes that are no artefact, or that hold a type not `trusted`."""
    import skops.io

    try:
        held = skops.io.loads(data, trusted=list(trusted))
    except Exception as error:  # Whatever a foreign file makes of its reader, it is no model of ours.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(f"the recovery model cannot be read: {first}; train it again") from error
    if not isinstance(held, dict):
        raise StoreError("the artefact holds no recovery model; train it again")
    return held


def _canonical(data: bytes) -> bytes:
    """The same artefact without the addresses in memory and the hour that skops writes into it."""
    numbers: dict[int, int] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files.pop("schema.json"))
    names: dict[str, str] = {}
    _renumber(schema, numbers, names)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        ordered = sorted((names[name], content) for name, content in files.items())
        for name, content in [*ordered, ("schema.json", json.dumps(schema).encode())]:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _renumber(node: Any, numbers: dict[int, int], names: dict[str, str]) -> None:
    if isinstance(node, dict):
        if isinstance(node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if isinstance(node.get("file"), str):
            kind = node["file"].rpartition(".")[2]
            node["file"] = names.setdefault(node["file"], f"{len(names) + 1:06}.{kind}")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _renumber(child, numbers, names)
