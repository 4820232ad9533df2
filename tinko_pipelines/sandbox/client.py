"""The control API of a running sandbox, from the outside; and its clock as the domain's `Clock`.

Every call has a connection of its own: nothing to close, and threads may share a client.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from tinko_pipelines.errors import GatewayError

LONGEST_SECONDS = 600.0


class SandboxClient:
    """Raises GatewayError in one sentence when the sandbox cannot be reached or refuses."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")

    def now(self) -> datetime:
        """The sandbox's present moment, in UTC."""
        return _moment(self._ask("GET", "clock")["now"])

    def advance_to(self, moment: datetime) -> datetime:
        """Let everything happen until `moment`, and stand there; whole seconds count."""
        return _moment(self._ask("POST", "clock", {"to": int(moment.timestamp())})["now"])

    def book(self) -> dict[str, Any]:
        """The audit of the book: counts by object, `double_charges`, `charged_after_paid`, `debts` and more."""
        return self._ask("GET", "book")

    def mail(
        self, customer_id: str, message_id: str, debt_id: str, sent_at: datetime | None = None
    ) -> dict[str, Any]:
        """Hand a recovery mail to a customer, now; the same message again does nothing more."""
        body = {"customer": customer_id, "message": message_id, "debt": debt_id}
        when = {} if sent_at is None else {"sent_at": int(sent_at.timestamp())}
        return self._ask("POST", "mail", {**body, **when})

    def fixture(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Make a situation to order; kinds and fields are those of `sandbox.fixtures`."""
        return self._ask("POST", "fixtures", {"kind": kind, **fields})

    def act(self, do: str, object_id: str, **fields: Any) -> dict[str, Any]:
        """Let somebody outside Stripe do something, such as `pay` an invoice."""
        return self._ask("POST", "act", {"do": do, "id": object_id, **fields})

    def faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Order trouble, in place of all ordered before; none with an empty list."""
        self._ask("POST", "faults", {"faults": [dict(fault) for fault in faults]})

    def limit(self, requests_per_second: float | None) -> None:
        """Refuse what comes faster with 429; None: nothing."""
        self._ask("POST", "limits", {"requests_per_second": requests_per_second})

    def requests(self) -> dict[str, int]:
        """`requests` to the API since the limit was set, and how many were `refused` as too fast."""
        return {name: int(count) for name, count in self._ask("GET", "limits").items()}

    def mode(
        self, *, stripe_retries: str | None = None, payments: str | None = None, pages: str | None = None
    ) -> None:
        """Switch the account's Smart Retries (`on`, `off`, `mixed`), or what protects from a second charge.

        That is `faithful`, `many_successes` or `no_idempotency`; see `sandbox.handicaps`. With `pages` as `own`,
        addresses of payment pages are the sandbox's, for a browser to follow; as `stripe`, they look like Stripe's.
        """
        given = {"stripe_retries": stripe_retries, "payments": payments, "pages": pages}
        self._ask("POST", "mode", {name: wanted for name, wanted in given.items() if wanted is not None})

    def journal(self) -> list[dict[str, Any]]:
        """Every request whose header named its caller, and every deed, in order; see `sandbox.http.journal`."""
        found: list[dict[str, Any]] = self._ask("GET", "journal")["data"]
        return found

    def charges_of(self, debt_id: str) -> list[dict[str, Any]]:
        """Every charge of an invoice or intent, oldest first."""
        found: list[dict[str, Any]] = self._ask("GET", f"charges_of/{debt_id}")["data"]
        return found

    def _ask(self, method: str, door: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        address = urlsplit(self._base)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=LONGEST_SECONDS)
        text = None if body is None else json.dumps(body)
        try:
            with closing(connection):
                connection.request(method, f"/_sandbox/{door}", text)
                answer = connection.getresponse()
                status, said = answer.status, answer.read()
        except (OSError, HTTPException) as error:
            raise GatewayError(
                f"no sandbox answers at {self._base} ({type(error).__name__}): start it with `tinko sandbox`"
            ) from None
        try:
            found: dict[str, Any] = json.loads(said)
        except ValueError:
            raise GatewayError(f"{self._base} is no sandbox: it answers {status} without JSON") from None
        if status != 200:
            error_said = found.get("error", {}) if isinstance(found, dict) else {}
            raise GatewayError(f"the sandbox refuses {door}: {error_said.get('message', status)}")
        return found


class SandboxClock:
    """The sandbox's time as the domain's clock; asks at every call."""

    def __init__(self, base: str) -> None:
        self._client = SandboxClient(base)

    def now(self) -> datetime:
        """The sandbox's present moment, in UTC."""
        return self._client.now()


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
