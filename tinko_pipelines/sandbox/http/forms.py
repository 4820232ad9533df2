"""Stripe's form encoding: `created[gte]=1`, `expand[0]=x`, `items[0][price]=y` to nested values and back to names.

Only shape is read here; `params` knows what each endpoint accepts.
"""

import re
from typing import Any
from urllib.parse import parse_qsl

from tinko_pipelines.sandbox.errors import bad_parameter

MOST_FIELDS = 1_000
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")


def parse(text: str) -> dict[str, Any]:
    """Nested dictionaries and lists of strings."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise bad_parameter(f"at most {MOST_FIELDS} parameters are read", "") from None
    root: dict[str, Any] = {}
    for name, value in pairs:
        found = _NAME.fullmatch(name)
        if found is None:
            raise bad_parameter(f"Invalid parameter name: {name}", name)
        _place(root, [found[1], *_PART.findall(found[2])], value, name)
    return {name: _lists(value) for name, value in root.items()}


def _place(root: dict[str, Any], path: list[str], value: str, name: str) -> None:
    """Lists are dictionaries by position for now, since positions may come in any order."""
    inner = root
    for part in path[:-1]:
        key = part or str(len(inner))
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise bad_parameter(f"Invalid {name}: it is given as a value and as an object", name)
    last = path[-1] or str(len(inner))
    if isinstance(inner.get(last), dict):
        raise bad_parameter(f"Invalid {name}: it is given as a value and as an object", name)
    inner[last] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inside = {name: _lists(item) for name, item in value.items()}
    if inside and all(name.isdigit() for name in inside):
        return [inside[name] for name in sorted(inside, key=int)]
    return inside
