"""What stands between this installation and its first recovered payment, found out without changing anything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tinko_pipelines.errors import TinkoError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.ledger.anomalies import still_open
from tinko_pipelines.ledger.control import GLOBAL
from tinko_pipelines.ledger.schema import control, reconciliation
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.settings import Settings

READ_PATHS = (
    "charges", "payment_intents", "invoices", "invoice_payments", "customers", "payment_methods", "subscriptions",
    "prices", "refunds", "disputes", "balance_transactions", "events",
)  # fmt: skip
MOST_INVOICE_PAGES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `ok` is None when it is a remark and not a test."""

    name: str
    ok: bool | None
    text: str
    fix: str | None = None


def diagnose(settings: Settings, *, gateway_factory: Callable[[], Gateway]) -> list[Finding]:
    """Look at key, mode, rights, ledger, mail server and Stripe's own retries; never raises for what it finds."""
    ledger = _ledger(settings)
    findings = [ledger, *(_standing(settings) if ledger.ok else []), _mail(settings), *_links(settings)]
    try:
        settings.guard()
        gateway = gateway_factory()
    except TinkoError as error:
        return [Finding("key", False, str(error)), *findings]
    mode = "live: real money" if settings.livemode else "test"
    findings.insert(0, Finding("key", True, f"{mode}, for {settings.stripe_api_base}"))
    answer = gateway.get("/v1/charges", {"limit": 1})
    if answer.http_status is None:
        why = answer.transport_error
        return [
            *findings,
            Finding("stripe", False, f"not reachable: {why}", "check TINKO_STRIPE_API_BASE and the network"),
        ]
    if answer.http_status == 401:
        return [
            *findings,
            Finding("stripe", False, "the key is refused", "set STRIPE_SECRET_KEY to a valid key"),
        ]
    findings += [_right(gateway, path) for path in READ_PATHS]
    findings.append(_own_retries(gateway, settings))
    findings.append(_runs("charging", settings.charges_for_real))
    findings.append(_runs("mailing", settings.mails_for_real))
    return findings


def _right(gateway: Gateway, path: str) -> Finding:
    answer = gateway.get(f"/v1/{path}", {"limit": 1})
    if answer.ok:
        return Finding(f"read {path}", True, "allowed")
    said = answer.transport_error or f"HTTP {answer.http_status}"
    return Finding(f"read {path}", False, said, f"give the key the right to read {path.replace('_', ' ')}")


def _own_retries(gateway: Gateway, settings: Settings) -> Finding:
    """Count the open invoices that Stripe retries by itself, and say what that means."""
    seen, retried = 0, 0
    params: dict[str, Any] = {"status": "open", "limit": 100}
    for _ in range(MOST_INVOICE_PAGES):
        answer = gateway.get("/v1/invoices", params)
        if not answer.ok or answer.body is None:
            return Finding("stripe's own retries", None, "could not be counted")
        page = answer.body.get("data") or []
        seen += len(page)
        retried += sum(1 for invoice in page if invoice.get("next_payment_attempt"))
        if not page or not answer.body.get("has_more"):
            break
        params = {**params, "starting_after": page[-1]["id"]}
    text = f"{retried} of {seen} open invoices are retried by Stripe itself; mode is {settings.billing_mode}"
    fix = (
        "beside: we only mail for these. takeover: switch Smart Retries off in Stripe's billing settings, leave the "
        "subscription past due at the end, then set TINKO_BILLING_MODE=takeover"
    )
    return Finding("stripe's own retries", None, text, fix if retried else None)


def _ledger(settings: Settings) -> Finding:
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
        ledger = Ledger.open(settings.ledger)
        try:
            ledger.migrate()
        finally:
            ledger.close()
    except (TinkoError, OSError) as error:
        return Finding("ledger", False, str(error))
    return Finding("ledger", True, f"{ledger.dialect}, at this version's schema")


def _standing(settings: Settings) -> list[Finding]:
    """What is paused, in dispute or not yet compared, and with whose key the reconciler reads."""
    ledger = Ledger.open(settings.ledger)
    try:
        with ledger.read() as connection:
            paused = (
                connection.execute(select(control).where(control.c.charging_enabled.is_(False)))
                .mappings()
                .all()
            )
            compared = connection.execute(select(reconciliation)).mappings().all()
        found = [
            Finding(f"paused: {row['scope']}", None, f"by {row['changed_by']}: {row['reason']}", _way_on(row))
            for row in paused
        ]
        found += [
            Finding(
                f"anomaly {row['id']}",
                False,
                f"{row['kind']}: {row['detail'] or row['subject']}",
                row["proposal"] or f"look into it, then `tinko anomalies --settle {row['id']}`",
            )
            for row in still_open(ledger)
        ]
    finally:
        ledger.close()
    for row in compared:
        agreed = row["disagreements"] == 0
        text = f"{row['account_id']} compared at {row['finished_at']:%Y-%m-%d %H:%M} UTC"
        found.append(
            Finding("reconciled", agreed, text if agreed else f"{text}: {row['disagreements']} disagreements")
        )
    if not compared:
        found.append(Finding("reconciled", None, "never compared with Stripe", "tinko reconcile"))
    if settings.reconcile_key is None:
        text = "the reconciler borrows the key that charges"
        fix = "give it a restricted key that may only read: TINKO_RECONCILE_KEY"
        found.append(Finding("reconcile key", None, text, fix))
    return found


def _way_on(row: Any) -> str:
    if row["resumes_at"] is not None:
        return f"goes on by itself at {row['resumes_at']:%Y-%m-%d %H:%M} UTC"
    scope = "" if row["scope"] == GLOBAL else f" --account {row['scope']}"
    return f"see to the reason, then `tinko resume{scope}`"


def _mail(settings: Settings) -> Finding:
    from tinko_pipelines.outreach.transport import SmtpTransport, transport_for

    try:
        transport = transport_for(settings)
        if isinstance(transport, SmtpTransport):
            transport.ping()
            return Finding("mail", True, "the mail server answers")
    except TinkoError as error:
        return Finding("mail", False, str(error))
    return Finding(
        "mail",
        None,
        f"mails become files in {settings.outbox_dir}",
        "set TINKO_MAIL_TRANSPORT=smtp to send them",
    )


def _links(settings: Settings) -> list[Finding]:
    if settings.update_card_url:
        return []
    text = "debts without an invoice page get no mail, since there is no page to send their customers to"
    return [
        Finding("links", None, text, "set TINKO_UPDATE_CARD_URL, to your customer portal's login page say")
    ]


def _runs(what: str, for_real: bool) -> Finding:
    if for_real:
        return Finding(what, None, "for real")
    return Finding(what, None, "dry run", f"set TINKO_{what.upper()}=on when the plans look right")
