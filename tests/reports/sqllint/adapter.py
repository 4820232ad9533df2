"""What the SQL linter takes for dbt's `adapter`: names quoted as DuckDB quotes them, and any expression for each macro."""

from collections.abc import Callable


def quote(name: str) -> str:
    """The name in double quotes."""
    return f'"{name}"'


def dispatch(name: str, _package: str = "") -> Callable[..., str]:
    """Which dialect says what is none of the linter's business: it sees a call with the same arguments."""
    if name == "numbers":
        return lambda first, _last, column: f"select {first} as {column}"
    return lambda *arguments: f"coalesce({', '.join(map(str, arguments))})"
