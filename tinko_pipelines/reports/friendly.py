"""Names in plain words for the tables of the snapshot, and views under them with amounts in whole units of money.

A model's own label (`meta.label` in dbt) goes before what is made of its name. Nothing is computed here but that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tinko_pipelines.money import THREE_DECIMAL_CURRENCIES, ZERO_DECIMAL_CURRENCIES

SCHEMA = "friendly"
_KINDS = ("fct_", "dim_", "mart_")
"""How names of models begin where that says what kind they are, and nothing to a reader."""
_WORDS = {"id": "ID", "ids": "IDs", "livemode": "live mode", "utc": "UTC"}
_MINOR = "_minor"
_CURRENCY = "currency"
_WHOLE_NUMBERS = {"TINYINT": 19, "SMALLINT": 19, "INTEGER": 19, "BIGINT": 19, "HUGEINT": 34}
"""Digits that an amount of each type may have before it is divided; what is no whole number is divided as a float."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a friendly view: its name there, the SQL that makes it of the table's row, and its comment."""

    label: str
    sql: str
    comment: str


@dataclass(frozen=True, slots=True)
class View:
    """A friendly view of one table of schema `main`."""

    label: str
    table: str
    comment: str
    columns: tuple[Column, ...]

    def statements(self) -> list[str]:
        """The DDL that makes it, comments included; the schema must exist."""
        name = f"{SCHEMA}.{identifier(self.label)}"
        labels = ", ".join(identifier(column.label) for column in self.columns)
        made = ", ".join(column.sql for column in self.columns)
        return [
            f"CREATE VIEW {name} ({labels}) AS SELECT {made} FROM main.{identifier(self.table)}",
            f"COMMENT ON VIEW {name} IS {literal(self.comment)}",
            *(
                f"COMMENT ON COLUMN {name}.{identifier(column.label)} IS {literal(column.comment)}"
                for column in self.columns
            ),
        ]


def views(nodes: Iterable[Mapping[str, Any]], types: Mapping[str, Mapping[str, str]]) -> list[View]:
    """One view for each model of dbt's manifest; `types` has the SQL type of each column by table, in order."""
    ordered = sorted(nodes, key=lambda node: str(node["name"]))
    labels = _distinct(
        {str(node["name"]): _label(node) or table_words(str(node["name"])) for node in ordered}
    )
    return [_view(node, labels[str(node["name"])], types[str(node["name"])]) for node in ordered]


def table_words(name: str) -> str:
    """`fct_failed_payments` becomes `Failed payments`."""
    kind = next((kind for kind in _KINDS if name.startswith(kind)), "")
    return _words(name.removeprefix(kind))


def column_words(name: str) -> str:
    """`failed_amount_minor` becomes `Failed amount`."""
    return _words(name.removesuffix(_MINOR) or name)


def currency_column(column: str, columns: Iterable[str]) -> str | None:
    """The column that names the currency of an amount: `fee_currency` for fees where there is one, else `currency`.

    None where no column says what an amount is in.
    """
    told = [name for name in columns if name == _CURRENCY or name.endswith(f"_{_CURRENCY}")]
    words = column.split("_")
    own = [name for name in told if name != _CURRENCY and set(name.split("_")[:-1]) <= set(words)]
    if own:
        return max(own, key=len)
    return _CURRENCY if _CURRENCY in told else told[0] if len(told) == 1 else None


def identifier(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def _view(node: Mapping[str, Any], label: str, types: Mapping[str, str]) -> View:
    about = {str(name).lower(): told for name, told in node["columns"].items()}
    labels = _distinct({name: _label(about.get(name.lower(), {})) or column_words(name) for name in types})
    columns = []
    for name, kind in types.items():
        told = about.get(name.lower(), {})
        comment = str(told.get("description") or "")
        currency = _meta(told).get(_CURRENCY) or currency_column(name, types)
        if name.endswith(_MINOR) and currency:
            said = comment.replace(", in minor units", "")
            comment = f"{said} Here in whole units of {currency}, with three decimals.".strip()
            columns.append(Column(labels[name], _major(name, kind, str(currency)), comment))
        else:
            columns.append(Column(labels[name], identifier(name), comment))
    return View(label, str(node["name"]), str(node["description"]), tuple(columns))


def _major(column: str, kind: str, currency: str) -> str:
    """The amount divided by what its currency's unit has of minor units; null where the currency is not known."""
    code, amount = f"lower({identifier(currency)})", identifier(column)
    factor = (
        f"(CASE WHEN {code} IN ({_codes(ZERO_DECIMAL_CURRENCIES)}) THEN 1"
        f" WHEN {code} IN ({_codes(THREE_DECIMAL_CURRENCIES)}) THEN 0.001"
        f" WHEN {code} IS NOT NULL THEN 0.01 END)::DECIMAL(4,3)"
    )
    digits = _WHOLE_NUMBERS.get(kind)
    return f"{amount}::DECIMAL({digits},0) * {factor}" if digits else f"{amount}::DOUBLE * {factor}"


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(literal(code) for code in sorted(codes))


def _words(name: str) -> str:
    text = " ".join(_WORDS.get(word, word) for word in name.split("_") if word) or name
    return text[:1].upper() + text[1:]


def _label(told: Mapping[str, Any]) -> str:
    return str(_meta(told).get("label") or "").strip()


def _meta(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What dbt keeps beside a model or column; it has moved below `config`."""
    return {**(told.get("meta") or {}), **((told.get("config") or {}).get("meta") or {})}


def _distinct(labels: Mapping[str, str]) -> dict[str, str]:
    """DuckDB tells no two names apart by case: who comes second is followed by the name it was made of."""
    found: dict[str, str] = {}
    taken = set[str]()
    for name, label in labels.items():
        own = label if label.lower() not in taken else f"{label} ({name})"
        taken.add(own.lower())
        found[name] = own
    return found
