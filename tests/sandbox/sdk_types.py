"""The SDK's type annotations as a judge: does a JSON value, or a parameter's kind, agree with them?"""

import ast
import importlib
import inspect
import sys
import types
import typing
from decimal import Decimal
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import stripe
import stripe.params

SCALARS = {str: str, int: int, bool: bool, float: (int, float), Decimal: str}


@cache
def hints(cls: type) -> dict[str, Any]:
    """Annotations by name, with what the SDK imports for type checkers only."""
    found = typing.get_type_hints(cls, globalns=_namespace(cls.__module__))
    return {name: hint for name, hint in found.items() if get_origin(hint) is not typing.ClassVar}


@cache
def _namespace(module_name: str) -> dict[str, Any]:
    module = sys.modules[module_name]
    common = {"StripeObject": stripe.StripeObject, "StripeContext": stripe.StripeContext}
    names: dict[str, Any] = {**vars(typing), **common, **vars(module)}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stripe"):
            source = importlib.import_module(str(node.module))
            for alias in node.names:
                if hasattr(source, alias.name):
                    names.setdefault(alias.asname or alias.name, getattr(source, alias.name))
    return names


def named(path: str, root: Any = stripe) -> type:
    """A class such as `checkout.Session`, from the SDK or from its parameters."""
    for part in path.split("."):
        if not hasattr(root, part):
            root = importlib.import_module(f"{root.__name__}.{part}")
        else:
            root = getattr(root, part)
    return root


def params_class(path: str) -> type:
    return named(path, stripe.params)


def faults(value: Any, hint: Any, where: str) -> list[str]:
    """Everything in `value` that the annotation does not allow; enumerations are taken strictly."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(value, args, where)
    if hint is Any:
        return []
    if hint is type(None):
        return [] if value is None else [f"{where}: {value!r} is not null"]
    if origin is Literal:
        return [] if value in args else [f"{where}: {value!r} is none of {args[:12]}"]
    if hint in SCALARS:
        good = isinstance(value, SCALARS[hint]) and (hint is bool or not isinstance(value, bool))
        return [] if good else [f"{where}: {value!r} is no {hint.__name__}"]
    if origin is list or origin is list:
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        return [fault for i, one in enumerate(value) for fault in faults(one, args[0], f"{where}[{i}]")]
    return _object(value, hint, origin, args, where)


def _union(value: Any, args: tuple[Any, ...], where: str) -> list[str]:
    literals = [arg for arg in args if get_origin(arg) is Literal]
    if literals and isinstance(value, str):
        args = tuple(literals)
    found = [faults(value, arg, where) for arg in args]
    return min(found, key=len) if all(found) else []


def _object(value: Any, hint: Any, origin: Any, args: tuple[Any, ...], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no {hint}"]
    base = origin or hint
    if base.__name__ == "UntypedStripeObject":
        return [fault for name, one in value.items() for fault in faults(one, args[0], f"{where}.{name}")]
    if base.__name__ == "ListObject":
        if set(value) != {"object", "data", "has_more", "url"} or value["object"] != "list":
            return [f"{where}: {sorted(value)} is no list object"]
        return [f for i, one in enumerate(value["data"]) for f in faults(one, args[0], f"{where}[{i}]")]
    allowed = hints(base)
    unknown = [f"{where}.{name} is unknown to the SDK" for name in value if name not in allowed]
    missing = [
        f"{where}.{name} is missing"
        for name, one in allowed.items()
        if name not in value and not name.startswith("_") and not _optional(one)
    ]
    inner = [
        f
        for name, one in value.items()
        if name in allowed
        for f in faults(one, allowed[name], f"{where}.{name}")
    ]
    return [*unknown, *missing, *inner]


def _optional(hint: Any) -> bool:
    return hint is Any or type(None) in get_args(hint)


def param_faults(spec: typing.Mapping[str, Any], cls: type, where: str) -> list[str]:
    """Every parameter of a spec that the SDK does not have, or has of another kind."""
    known = hints(cls)
    found = []
    for name, kind in spec.items():
        if name not in known:
            found.append(f"{where}.{name} is unknown to the SDK")
        else:
            found += _kind_faults(kind, _members(known[name]), f"{where}.{name}")
    return found


def _is_typed_dict(hint: Any) -> bool:
    """Also those of typing_extensions, which the SDK uses."""
    return hasattr(hint, "__required_keys__")


def _members(hint: Any) -> list[Any]:
    origin = get_origin(hint)
    if origin is typing.NotRequired or origin is typing.Required:
        return _members(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return [member for arg in get_args(hint) for member in _members(arg)]
    return [hint]


def _kind_faults(kind: Any, members: list[Any], where: str) -> list[str]:
    if isinstance(kind, list):
        inner = [_members(get_args(one)[0])[0] for one in members if get_origin(one) is list]
        return param_faults(kind[0], inner[0], where) if inner else [f"{where} is no list of objects"]
    if isinstance(kind, typing.Mapping):
        inner = [one for one in members if _is_typed_dict(one)]
        return param_faults(kind, inner[0], where) if inner else [f"{where} is no object"]
    if "|" in kind:
        values = {value for one in members if get_origin(one) is Literal for value in get_args(one)}
        wrong = set(kind.split("|")) - values
        return [f"{where}: {sorted(wrong)} are no values of it"] if wrong else []
    good = {
        "str": lambda: str in members,
        "int": lambda: int in members,
        "bool": lambda: bool in members,
        "off_session": lambda: bool in members,
        "list": lambda: any(get_origin(one) is list for one in members),
        "map": lambda: any(get_origin(one) is dict for one in members),
        "range": lambda: int in members and any(_is_typed_dict(one) for one in members),
    }[kind]()
    return [] if good else [f"{where} is no {kind} but {members}"]
