"""Pages a browser can use in the place of Stripe's own: the invoice's, Checkout's and the portal's.

They lie below `/_pages/` and are handed out when the account's mode `pages` is `own`.
"""

from collections.abc import Callable
from html import escape

from tinko_pipelines.sandbox import cards, checkout, people
from tinko_pipelines.sandbox.actions import pay_debt
from tinko_pipelines.sandbox.book import Book
from tinko_pipelines.sandbox.errors import StripeRefusalError, bad_parameter
from tinko_pipelines.sandbox.http import forms
from tinko_pipelines.sandbox.http.service import Reply, Request
from tinko_pipelines.sandbox.life import Sandbox
from tinko_pipelines.sandbox.ports import CardTruth
from tinko_pipelines.sandbox.store import Object

PREFIX = "/_pages/"
MODES = ("stripe", "own")
HOSTS = ("checkout.stripe.com", "billing.stripe.com", "invoice.stripe.com")
CARDS = {
    "pm_card_visa": "Visa 4242, in good order",
    "pm_card_mastercard": "Mastercard, in good order",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "Visa 9995, without funds",
    "pm_card_visa_chargeDeclined": "Visa 0002, declined",
    "bank_debit": "Bank debit, paid after days",
    "bank_debit_fails": "Bank debit, comes back after days",
}
HTML = {"content-type": "text/html; charset=utf-8"}


def set_mode(book: Book, wanted: str) -> None:
    """Whether addresses of pages are Stripe's, or the sandbox's own."""
    book.store.remember("pages", MODES.index(wanted))


def own_addresses(book: Book, request: Request, reply: Reply) -> Reply:
    """The answer with our own pages in the place of Stripe's, where that is asked for."""
    if MODES[book.store.number("pages")] != "own":
        return reply
    body, base = reply.body, f"http://{request.headers.get('host', '127.0.0.1')}{PREFIX}"
    for host in HOSTS:
        body = body.replace(f"https://{host}/".encode(), base.encode())
    return Reply(reply.status, body, reply.headers)


class Pages:
    """Shows a page on GET; on POST the customer pays, or keeps a card, with the test card he has chosen."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._book = sandbox.book
        self._kinds: dict[str, tuple[str, Callable[[str, str], str | None]]] = {
            "i": ("invoices", self._pay_invoice),
            "c/pay": ("checkout_sessions", self._complete),
            "p/session": ("portal_sessions", self._keep_card),
        }

    def answer(self, request: Request) -> Reply:
        """One page; what is done on it is committed before the answer."""
        kind, _, name = request.path.removeprefix(PREFIX).rpartition("/")
        if kind not in self._kinds:
            return _page(404, "No such page", "")
        where, act = self._kinds[kind]
        store = self._book.store
        try:
            found = self._book.find(where, name)
            if request.method == "GET":
                return self._show(where, found)
            back = act(name, str(forms.parse(request.body).get("card", "")))
            store.commit()
        except StripeRefusalError as error:
            if store.changed:
                store.reload()
            return _page(error.status, "This cannot be done", escape(str(error)))
        if back is None:
            return self._show(where, self._book.find(where, name), "Your card was declined. Try another one.")
        return Reply(303, b"", {**HTML, "location": back}) if back else _page(200, "Thank you", "It is done.")

    def _show(self, where: str, found: Object, said: str = "") -> Reply:
        over = {"invoices": "open", "checkout_sessions": "open"}.get(where) not in (None, found.get("status"))
        if over:
            return _page(200, "Nothing to pay here", f"This page is {escape(str(found['status']))}.")
        amount = found.get("amount_total", found.get("amount_remaining"))
        title = "Keep another card" if amount is None else f"Pay {amount} {found['currency']} (minor units)"
        options = "".join(f'<option value="{value}">{text}</option>' for value, text in CARDS.items())
        form = (
            f'<p role="status">{escape(said)}</p><form method="post"><label>Card <select name="card">{options}'
            "</select></label> <button>Go on</button></form>"
        )
        return _page(200, title, form)

    def _pay_invoice(self, name: str, card: str) -> str | None:
        invoice = self._book.find("invoices", name)
        owner = self._book.find("customers", invoice["customer"])
        method = people.add_card(self._book, owner, _truth(card))
        return "" if pay_debt(self._book, name, method, off_session=False) else None

    def _complete(self, name: str, card: str) -> str | None:
        session = self._book.find("checkout_sessions", name)
        if card in checkout.DEBITS:
            checkout.debit(self._book, session, card)
            return session["success_url"] or ""
        return (
            (session["success_url"] or "") if checkout.complete(self._book, session, _truth(card)) else None
        )

    def _keep_card(self, name: str, card: str) -> str | None:
        session = self._book.find("portal_sessions", name)
        people.add_card(self._book, self._book.find("customers", session["customer"]), _truth(card))
        return session["return_url"] or ""


def _truth(token: str) -> CardTruth:
    found = cards.token_card(token)
    if found is None:
        raise bad_parameter("No such test token", "card")
    return found


def _page(status: int, title: str, inside: str) -> Reply:
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><main><h1>{escape(title)}</h1>{inside}</main></html>"
    )
    return Reply(status, body.encode(), dict(HTML))
