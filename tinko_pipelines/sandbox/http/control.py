"""The control API below `/_sandbox`: the clock, the world's deeds on request, the audit. Not part of Stripe."""

from collections.abc import Callable
from typing import Any

import orjson

from tinko_pipelines.sandbox import aftermath, cards, checkout, fixtures, handicaps, people, smart_retries
from tinko_pipelines.sandbox.actions import debt_object
from tinko_pipelines.sandbox.audit import audit, charges_of
from tinko_pipelines.sandbox.errors import StripeRefusalError, bad_parameter
from tinko_pipelines.sandbox.http import pages
from tinko_pipelines.sandbox.http.faults import Faults
from tinko_pipelines.sandbox.http.journal import Journal
from tinko_pipelines.sandbox.http.service import JSON_TYPE, Reply, Request, refusal
from tinko_pipelines.sandbox.life import Sandbox
from tinko_pipelines.sandbox.ports import CardTruth

FURTHEST_SECONDS = 20 * 366 * 86_400


class Control:
    """Answers one control request; whatever it changes is committed before the answer."""

    def __init__(self, sandbox: Sandbox, faults: Faults, journal: Journal) -> None:
        self.sandbox, self.faults = sandbox, faults
        self._doors: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "clock"): lambda given: self._time(),
            ("POST", "clock"): self._advance,
            ("GET", "book"): lambda given: audit(sandbox.book),
            ("POST", "mail"): self._mail,
            ("POST", "fixtures"): self._fixture,
            ("POST", "act"): self._act,
            ("GET", "faults"): lambda given: {"faults": [_plain(one) for one in faults.all]},
            ("POST", "faults"): self._faults,
            ("POST", "limits"): self._limits,
            ("GET", "limits"): lambda given: {"requests": faults.seen, "refused": faults.refused},
            ("POST", "mode"): self._mode,
            ("GET", "journal"): lambda given: {"data": list(journal.entries)},
        }

    def answer(self, request: Request) -> Reply:
        """Do what is asked, in JSON."""
        door = request.path.removeprefix("/_sandbox/").strip("/")
        store = self.sandbox.book.store
        try:
            answer = self._open(request, door)
            store.commit()
        except StripeRefusalError as error:
            if store.changed:
                store.reload()
            reply = refusal(error, "req_control")
            return Reply(reply.status, reply.body, dict(JSON_TYPE))
        except Exception:
            store.reload()
            raise
        return Reply(200, orjson.dumps(answer), dict(JSON_TYPE))

    def _open(self, request: Request, door: str) -> Any:
        name, _, rest = door.partition("/")
        if request.method == "GET" and name == "charges_of" and rest:
            return {"data": charges_of(self.sandbox.book, rest)}
        found = self._doors.get((request.method, door))
        if found is None:
            known = sorted({name for _, name in self._doors} | {"charges_of/<debt>"})
            raise StripeRefusalError(404, f"no {request.method} {request.path}; there is {', '.join(known)}")
        try:
            given = orjson.loads(request.body) if request.body else {}
        except orjson.JSONDecodeError:
            raise bad_parameter("the body is not JSON", "body") from None
        if not isinstance(given, dict):
            raise bad_parameter("the body is not an object", "body")
        return found(given)

    def _time(self) -> dict[str, int]:
        return {"now": self.sandbox.book.now}

    def _advance(self, given: dict[str, Any]) -> dict[str, int]:
        """`to` a moment, or `by` seconds; runs everything that happens until then."""
        book = self.sandbox.book
        wanted = given.get("to", book.now + given["by"] if isinstance(given.get("by"), int) else None)
        if not isinstance(wanted, int) or isinstance(wanted, bool):
            raise bad_parameter("give `to` in unix seconds, or `by` in seconds", "to")
        if wanted < book.now:
            raise bad_parameter(f"the clock stands at {book.now} and cannot go back to {wanted}", "to")
        if wanted > book.now + FURTHEST_SECONDS:
            raise bad_parameter("the clock is moved by 20 years at most", "to")
        happened = self.sandbox.actions.advance(wanted)
        return {"now": book.now, "happened": happened}

    def _mail(self, given: dict[str, Any]) -> dict[str, Any]:
        """A mail reached a customer; he reads one message once, however often it comes."""
        book = self.sandbox.book
        customer, debt, message = (str(given.get(name, "")) for name in ("customer", "debt", "message"))
        book.find("customers", customer)
        if debt.startswith("ch_"):
            debt = str(book.find("charges", debt)["payment_intent"] or "")
        elif debt:
            debt_object(book, debt)
        if not message:
            raise bad_parameter("a mail needs the id of its message", "message")
        known = book.store.get("mails", message)
        times = known["times"] + 1 if known else 1
        sent = {"customer": customer, "debt": debt, "sent_at": given.get("sent_at"), "delivered": book.now}
        book.put("mails", {"id": message, "times": times, **sent})
        if known is None and debt:
            book.world.mail_delivered(self.sandbox.actions, customer, debt, message)
        return {"message": message, "times": times}

    def _fixture(self, given: dict[str, Any]) -> dict[str, Any]:
        kind = str(given.pop("kind", ""))
        return fixtures.make(self.sandbox.actions, kind, given)

    def _act(self, given: dict[str, Any]) -> dict[str, Any]:
        """Somebody outside Stripe does something: `do` names it, `id` what it is done to."""
        actions, book = self.sandbox.actions, self.sandbox.book
        deed, name, card = str(given.get("do", "")), str(given.get("id", "")), given.get("card")
        if deed == "pay":
            return {"paid": actions.pay_on_session(name, self._card(card, actions.customer_of(name)))}
        if deed == "complete_session":
            session = book.find("checkout_sessions", name)
            return {"paid": checkout.complete(book, session, self._card(card, session["customer"]))}
        deeds: dict[str, Callable[[], object]] = {
            "attach_card": lambda: people.add_card(
                book, book.find("customers", name), self._card(card or "fresh", name) or _no_card()
            ),
            "cancel_subscription": lambda: actions.cancel_subscription(name, "cancellation_requested"),
            "cancel_intent": lambda: actions.cancel_intent(name),
            "order_again": lambda: actions.order_again(name, fixtures.fresh_card),
            "void_invoice": lambda: actions.void_invoice(name),
            "refund": lambda: actions.refund(name, given.get("amount_minor")),
            "dispute": lambda: actions.dispute(name),
            "settle_pending": lambda: aftermath.settle_pending(book, book.find("charges", name)),
            "delete_customer": lambda: people.delete_customer(book, book.find("customers", name)),
        }
        if deed not in deeds:
            raise bad_parameter(f"do is one of pay, complete_session, {', '.join(deeds)}", "do")
        deeds[deed]()
        return {"done": deed}

    def _card(self, wanted: Any, owner: str) -> CardTruth | None:
        """None: the card at hand. `fresh`: another one in good order. Else a test token."""
        if wanted is None:
            return None
        if wanted == "fresh":
            return fixtures.fresh_card(self.sandbox.actions, owner)
        return cards.token_card(str(wanted)) or _no_card()

    def _faults(self, given: dict[str, Any]) -> dict[str, int]:
        self.faults.replace(given.get("faults"))
        return {"faults": len(self.faults.all)}

    def _limits(self, given: dict[str, Any]) -> dict[str, Any]:
        self.faults.limit(given.get("requests_per_second"))
        return given

    def _mode(self, given: dict[str, Any]) -> dict[str, str]:
        """`stripe_retries`: the account's Smart Retries. `payments`: what protects from a second charge.

        `pages`: whether addresses of pages are the sandbox's own, which a browser can follow.
        """
        switches = {
            "stripe_retries": (smart_retries.MODES, smart_retries.set_mode),
            "payments": (handicaps.MODES, handicaps.set_mode),
            "pages": (pages.MODES, pages.set_mode),
        }
        if not given or not given.keys() <= switches.keys():
            raise bad_parameter(f"a mode is one of {', '.join(switches)}", "mode")
        for name, wanted in given.items():
            modes, switch = switches[name]
            if wanted not in modes:
                raise bad_parameter(f"{name} is one of {', '.join(modes)}", name)
            switch(self.sandbox.book, wanted)
        return given


def _no_card() -> CardTruth:
    raise bad_parameter("No such test token", "card")


def _plain(fault: Any) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in fault.__slots__}
