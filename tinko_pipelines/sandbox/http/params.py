"""What an endpoint accepts: names and kinds of parameters, and Stripe's refusals of everything else."""

from collections.abc import Mapping
from typing import Any

from tinko_pipelines.sandbox.errors import bad_parameter

Spec = Mapping[str, Any]
"""By name: a word below, a Spec for an object, or a list of one Spec for a list of objects."""

RANGE: Spec = {"gt": "int", "gte": "int", "lt": "int", "lte": "int"}
EXPAND: Spec = {"expand": "list"}
PAGE: Spec = {"limit": "int", "starting_after": "str", "ending_before": "str", **EXPAND}
LISTED: Spec = {"created": "range", **PAGE}
LARGEST = 99_999_999


def read(spec: Spec, given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The parameters in their types; raises for unknown names and wrong kinds."""
    result: dict[str, Any] = {}
    for name, value in given.items():
        path = f"{prefix}[{name}]" if prefix else name
        if name not in spec:
            message = f"Received unknown parameter: {path}"
            raise bad_parameter(message, path, "parameter_unknown")
        result[name] = _typed(spec[name], value, path)
    return result


def need(params: Mapping[str, Any], *names: str) -> None:
    """Refuse when one is missing."""
    for name in names:
        if params.get(name) in (None, ""):
            raise bad_parameter(f"Missing required param: {name}.", name, "parameter_missing")


def _typed(kind: Any, value: Any, path: str) -> Any:
    if isinstance(kind, Mapping):
        if not isinstance(value, dict):
            raise bad_parameter(f"Invalid object: {path}", path)
        return read(kind, value, path)
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise bad_parameter(f"Invalid array: {path}", path)
        return [_typed(kind[0], item, f"{path}[{index}]") for index, item in enumerate(value)]
    if kind == "range":
        return read(RANGE, value, path) if isinstance(value, dict) else _whole(value, path)
    if kind == "map":
        if value != "" and not isinstance(value, dict | list):
            raise bad_parameter(f"Invalid object: {path}", path)
        entries = enumerate(value) if isinstance(value, list) else value.items() if value else ()
        return {str(name): str(text) for name, text in entries}
    if kind == "list":
        found = [value] if isinstance(value, str) and value else value
        if found == "":
            return []
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise bad_parameter(f"Invalid array: {path}", path)
        return found
    return _scalar(kind, value, path)


def _scalar(kind: str, value: Any, path: str) -> Any:
    if not isinstance(value, str):
        raise bad_parameter(f"Invalid string: {path}", path)
    if kind == "str":
        return value
    if kind == "int":
        return _whole(value, path)
    if kind == "bool" or (kind == "off_session" and value in ("true", "false")):
        if value not in ("true", "false"):
            raise bad_parameter(f"Invalid boolean: {value}", path)
        return value == "true"
    if kind == "off_session":
        if value not in ("one_off", "recurring"):
            raise bad_parameter(f"Invalid {path}: must be true, false, one_off or recurring", path)
        return True
    choices = kind.split("|")
    if value not in choices:
        message = f"Invalid {path}: must be one of {', '.join(choices[:-1])}, or {choices[-1]}"
        raise bad_parameter(message, path)
    return value


def _whole(value: Any, path: str) -> int:
    text = value if isinstance(value, str) else ""
    if not text.removeprefix("-").isdecimal() or len(text) > 15:
        raise bad_parameter(f"Invalid integer: {text}", path, "parameter_invalid_integer")
    return int(text)


def merge_metadata(before: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Metadata after an update: empty values delete their key, an empty map deletes all."""
    if not given:
        return {}
    merged = {**before, **given}
    if len(merged) > 50:
        raise bad_parameter("Metadata can have up to 50 keys.", "metadata")
    for name, value in given.items():
        if len(name) > 40 or len(value) > 500:
            message = f"Metadata keys may have 40 characters and values 500; {name[:40]} has more"
            raise bad_parameter(message, f"metadata[{name[:40]}]")
    return {name: value for name, value in merged.items() if value != ""}
