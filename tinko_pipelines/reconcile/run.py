"""One reconciliation: read Stripe since the last one, compare, look twice at what differs, write down the result."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice

from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.ledger import restored
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.reconcile import catch_up
from tinko_pipelines.reconcile.judge import GRACE, judge
from tinko_pipelines.reconcile.ledger_side import LedgerSide
from tinko_pipelines.reconcile.records import Charge, Finding
from tinko_pipelines.reconcile.stripe_side import Shown, attribute_each, charges_of, read

OVERLAP = timedelta(hours=1)
WHOLE = timedelta(days=35)
_CASES_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one reconciliation saw; `disagreements` on money are open still, `recorded` attempts were missing."""

    read_from: datetime
    read_until: datetime
    objects: int
    cases: int
    disagreements: int
    findings: tuple[Finding, ...] = ()
    recorded: int = 0
    whole: bool = False

    @property
    def agreed(self) -> bool:
        """Whether nothing about money is in dispute."""
        return self.disagreements == 0

    def plus(self, other: "Reconciled") -> "Reconciled":
        """Those of two accounts together."""
        return Reconciled(
            min(self.read_from, other.read_from),
            max(self.read_until, other.read_until),
            self.objects + other.objects,
            self.cases + other.cases,
            self.disagreements + other.disagreements,
            (*self.findings, *other.findings),
            self.recorded + other.recorded,
            self.whole and other.whole,
        )

    def counts(self) -> dict[str, int]:
        """The numbers by name."""
        return {name: value for name, value in asdict(self).items() if type(value) is int}


def reconcile(ledger: Ledger, reader: BulkReader, now: datetime, *, whole: bool | None = None) -> Reconciled:
    """Compare the account's ledger with Stripe, since the last time or the whole window; raises GatewayError.

    The whole window is read when asked for, or when that was last done a day ago.
    After a restore the ledger is first brought up to date: attempts that Stripe knows and it does not are recorded.
    That needs the cases, so a ledger without any is not done with while Stripe names attempts of ours.
    """
    side = LedgerSide(ledger, reader.account_id, reader.livemode)
    pending = restored.pending(ledger, reader.account_id)
    last = side.read_until()
    whole = whole or last is None or pending or (whole is None and side.whole_is_due(now))
    since = now - WHOLE if whole or last is None else last - OVERLAP
    if pending and (news := side.last_news_at()) is not None:
        since = min(since, news - timedelta(days=1))
    shown = read(reader, side, since, now + timedelta(seconds=1))
    named = shown.tags.keys() | {charge.names for charge in shown.strays if charge.names is not None}
    if last is None:
        pending = restored.hold_successor(ledger, lambda: named, reader.account_id, now) or pending
    recorded = catch_up.record(side, shown, now) if pending else 0
    doubted = side.doubted()
    names = set(shown.by_case) | side.paid_since(since) | doubted
    findings, looks = _compare(side, reader, shown, names, now, doubted if whole else None)
    findings += _strays(side, shown, restored.forgiven_before(ledger, reader.account_id), now)
    disagreements = side.note(findings, looks | shown.touched, names, now, whole=whole)
    side.close_run(since, now, shown.objects, disagreements, whole=whole)
    if pending and disagreements == 0 and (side.has_cases() or not named):
        restored.done(ledger, reader.account_id)
    return Reconciled(since, now, shown.objects, len(names), disagreements, tuple(findings), recorded, whole)


def _compare(
    side: LedgerSide,
    reader: BulkReader,
    shown: Shown,
    names: Iterable[str],
    now: datetime,
    only: set[str] | None,
) -> tuple[list[Finding], set[str]]:
    """Judge each case by what was read, and what differs once more by itself.

    A window may cut a debt in two, so each case with a success in it is read whole; with `only`, those alone.
    """
    findings: list[Finding] = []
    looks: set[str] = set()
    rest = iter(sorted(names))
    while some := list(islice(rest, _CASES_AT_ONCE)):
        for case_id, held in side.held(some).items():
            charges = shown.by_case.get(case_id, [])
            verdict = judge(held, charges, now)
            passed = only is None and any(charge.succeeded for charge in charges)
            if verdict.findings or passed or (only is not None and case_id in only):
                again = _attributed(charges_of(reader, held.case), charges)
                present = side.held([case_id])[case_id]
                verdict = judge(present, again, now)
                if verdict.findings:
                    attribute_each(reader, again)
                    verdict = judge(present, again, now)
            findings += verdict.findings
            if verdict.look:
                looks.add(case_id)
    return findings, looks


def _attributed(fresh: list[Charge], read_before: list[Charge]) -> list[Charge]:
    """Charges read again, with what the events told of them; and those the debt's own lists do not show."""
    known = {charge.id: charge for charge in read_before}
    for charge in fresh:
        if charge.id in known:
            charge.asked, charge.asked_by = known[charge.id].asked, known[charge.id].asked_by
    seen = {charge.id for charge in fresh}
    return fresh + [charge for charge in read_before if charge.id not in seen]


def _strays(side: LedgerSide, shown: Shown, forgiven: datetime | None, now: datetime) -> list[Finding]:
    """Attempts named at Stripe, on debts the ledger has no case of, that it does not have either."""
    charges = {charge.names: charge for charge in shown.strays if charge.names is not None}
    tags = {name: tag for name, tag in shown.tags.items() if name not in charges}
    known = side.attempts_known([*charges, *tags])
    ours = side.cases_of(tag.case_id for tag in tags.values() if tag.case_id is not None)
    before = now - GRACE
    findings = []
    for name, charge in charges.items():
        if name not in known and _counts(charge.created_at, forgiven, before):
            findings.append(_missing(name, charge.case_tag, charge))
    for name, tag in tags.items():
        # With the whole case an attempt may be lost; one of a case that is there would have been regained.
        excused = None if tag.case_id in ours else forgiven
        if name not in known and _counts(tag.created_at, excused, before):
            findings.append(_missing(name, tag.case_id, None))
    return findings


def _counts(at: datetime, forgiven: datetime | None, before: datetime) -> bool:
    return at <= before and (forgiven is None or at > forgiven)


def _missing(name: str, case_tag: str | None, charge: Charge | None) -> Finding:
    where = f" (charge {charge.id})" if charge else ""
    of = f" of case {case_tag}" if case_tag else ""
    return Finding(
        "attempt_missing",
        name,
        f"Stripe knows attempt {name}{of}{where}, which the ledger does not have",
        case_id=None,
        charge_id=charge.id if charge else None,
        amount_minor=charge.amount_minor if charge else None,
        currency=charge.currency if charge else None,
    )
