"""Stripe's side of the comparison: whole lists through a key that may only read, kept as far as the ledger is concerned."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.reconcile.records import Charge, asked_by, charge_from, name_of, text_of

CHARGE_EVENTS = {"type": "charge.*"}
_ENDED = ("paid", "void", "uncollectible")


class Known(Protocol):
    """Which case of the ledger an object belongs to."""

    def cases_of(self, names: Iterable[str]) -> dict[str, str]:
        """Case ids by the ids of invoices, intents, charges or cases given."""
        ...


@dataclass(frozen=True, slots=True)
class Tag:
    """Where an attempt is named besides its charge: with which case, and on what of when."""

    case_id: str | None
    created_at: datetime


@dataclass(slots=True)
class Shown:
    """What Stripe shows that concerns the ledger: charges by case, those of no case that name an attempt, and more."""

    by_case: dict[str, list[Charge]] = field(default_factory=lambda: defaultdict(list))
    strays: list[Charge] = field(default_factory=list)
    tags: dict[str, Tag] = field(default_factory=dict)
    """Attempts named by intents, or by requests whose charge is on no debt the ledger has."""
    touched: set[str] = field(default_factory=set)
    """Cases with a refund, a dispute or an invoice that has come to its end."""
    objects: int = 0


def read(reader: BulkReader, known: Known, since: datetime, until: datetime) -> Shown:
    """Everything created in `[since, until)`: charges, intents, invoices with payments, refunds, disputes, events."""
    return _Sweep(reader, known, since, until).all()


class _Sweep:
    """One reading of all lists; what the ledger has no case of is forgotten page by page."""

    def __init__(self, reader: BulkReader, known: Known, since: datetime, until: datetime) -> None:
        self._reader, self._known, self._since, self._until = reader, known, since, until
        self._shown = Shown()
        self._kept: dict[str, Charge] = {}

    def all(self) -> Shown:
        """Payments of invoices first, since they tell whose a charge is; events last, since they tell who asked."""
        paying = self._payments()
        for page in self._lists("charges"):
            self._charges([charge for raw in page if (charge := charge_from(raw)) is not None], paying)
        for page in self._lists("payment_intents"):
            for raw in page:
                tags = raw.get("metadata")
                if (attempt := text_of(tags, "tinko_attempt")) is not None:
                    self._shown.tags[attempt] = Tag(text_of(tags, "tinko_case"), _moment(raw))
        for page in self._lists("invoices"):
            self._touch([raw for raw in page if raw.get("status") in _ENDED], "id")
        for name in ("refunds", "disputes"):
            for page in self._lists(name):
                self._touch(page, "payment_intent")
        for page in self._lists("events", CHARGE_EVENTS):
            for attempt, at in attribute(self._kept, page).items():
                self._shown.tags.setdefault(attempt, Tag(None, at))
        return self._shown

    def _lists(self, name: str, params: dict[str, str] | None = None) -> Iterator[list[dict[str, Any]]]:
        pages = self._reader.pages(name, created_gte=self._since, created_lt=self._until, params=params)
        for page in pages:
            self._shown.objects += len(page.data)
            yield [raw for raw in page.data if isinstance(raw, dict)]

    def _payments(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for page in self._lists("invoice_payments"):
            pairs = {intent: name_of(raw.get("invoice")) for raw in page if (intent := _paying(raw))}
            ours = self._known.cases_of(invoice for invoice in pairs.values() if invoice)
            found |= {intent: ours[invoice] for intent, invoice in pairs.items() if invoice in ours}
        return found

    def _charges(self, page: list[Charge], paying: dict[str, str]) -> None:
        cases = paying | self._known.cases_of(name for charge in page for name in _names(charge))
        for charge in page:
            case = next((cases[name] for name in _names(charge) if name in cases), None)
            if case is not None:
                self._shown.by_case[case].append(charge)
            elif charge.attempt_tag is not None:
                self._shown.strays.append(charge)
            else:
                continue
            self._kept[charge.id] = charge

    def _touch(self, page: list[dict[str, Any]], of: str) -> None:
        names = [name for raw in page if (name := name_of(raw.get(of))) is not None]
        self._shown.touched |= set(self._known.cases_of(names).values())


def charges_of(reader: BulkReader, case: Any) -> list[Charge]:
    """Every charge of one debt as Stripe shows it now, whoever made it."""
    intents = {case["payment_intent_id"]} if case["payment_intent_id"] else set()
    if case["debt_kind"] == "invoice":
        for page in reader.pages("invoice_payments", params={"invoice": case["live_object_id"]}):
            intents |= {intent for raw in page.data if (intent := _paying(raw)) is not None}
    elif case["debt_kind"] == "payment_intent":
        intents.add(case["live_object_id"])
    found: dict[str, Charge] = {}
    for intent in sorted(intents):
        for page in reader.pages("charges", params={"payment_intent": intent}):
            found |= {charge.id: charge for raw in page.data if (charge := charge_from(raw)) is not None}
    return list(found.values())


def _names(charge: Charge) -> list[str]:
    return [name for name in (charge.intent_id, charge.id, charge.case_tag) if name]


def _paying(raw: Any) -> str | None:
    return name_of((raw.get("payment") or {}).get("payment_intent")) if isinstance(raw, dict) else None


def attribute(kept: dict[str, Charge], events: list[Any]) -> dict[str, datetime]:
    """Note who asked for each charge; attempts of ours that charges outside `kept` name, and when."""
    strange: dict[str, datetime] = {}
    for event in events:
        if not isinstance(event, dict) or event.get("type") not in ("charge.succeeded", "charge.failed"):
            continue
        charge_id, attempt = asked_by(event)
        charge = kept.get(charge_id or "")
        if charge is not None:
            charge.asked, charge.asked_by = True, attempt
        elif attempt is not None:
            strange[attempt] = _moment(event)
    return strange


def attribute_each(reader: BulkReader, charges: list[Charge]) -> None:
    """Find out who asked for charges of which that is not known, as far back as Stripe keeps events."""
    for charge in charges:
        if charge.asked:
            continue
        near = {"created_gte": charge.created_at, "created_lt": charge.created_at + timedelta(minutes=1)}
        for page in reader.pages("events", **near, params=CHARGE_EVENTS):
            attribute({charge.id: charge}, page.data)


def _moment(raw: Any) -> datetime:
    created = raw.get("created")
    return datetime.fromtimestamp(created if isinstance(created, int) else 0, UTC)
