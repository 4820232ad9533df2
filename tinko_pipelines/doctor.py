"""What stands between this installation and its first recovered payment, found out without changing anything."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy import select

from tinko_pipelines.accounts import KEY_PREFIXES
from tinko_pipelines.errors import TinkoError
from tinko_pipelines.gateway.port import Gateway
from tinko_pipelines.lake.place import place_of
from tinko_pipelines.ledger.anomalies import still_open
from tinko_pipelines.ledger.control import GLOBAL, Pause, pauses
from tinko_pipelines.ledger.schema import reconciliation, recovery_case, webhook_event
from tinko_pipelines.ledger.store import Ledger
from tinko_pipelines.settings import Settings

READ_PATHS = (
    "charges", "payment_intents", "invoices", "invoice_payments", "customers", "payment_methods", "subscriptions",
    "prices", "refunds", "disputes", "balance_transactions", "events",
)  # fmt: skip
PAGES_PATH = "checkout/sessions"
"""Links need them. That they may be written is seen when the first page is made; until then nothing is cancelled for it."""
MOST_INVOICE_PAGES = 20
READ_ELSEWHERE = ("TINKO_DAGSTER_URL", "TINKO_KILL_AT")
"""What is read from the environment and is no field of the settings."""
OTHER_KEYS = {"pk_": "a publishable key", "whsec_": "a webhook's secret", "sk_org_": "an organisation's key"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `ok` is None when it is a remark and not a test."""

    name: str
    ok: bool | None
    text: str
    fix: str | None = None


def diagnose(
    settings: Settings,
    *,
    gateways: Callable[[], Iterable[Gateway]],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    environment: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Look at key, mode, rights, ledger, mail server and Stripe's own retries; never raises for what it finds."""
    ledger = _ledger(settings)
    findings = [*_misspelt(environment or {}), *_odd_keys(settings), ledger, *_lake(settings)]
    findings += [*(_standing(settings, now) if ledger.ok else []), _mail(settings), *_links(settings)]
    findings += _webhooks(settings)
    findings += _letters(settings)
    try:
        settings.guard()
        each = list(gateways())
    except TinkoError as error:
        return [Finding("key", False, str(error)), *findings]
    mode = "live: real money" if settings.livemode else "test"
    findings.insert(0, Finding("key", True, f"{mode}, for {settings.stripe_api_base}"))
    for gateway in each:
        found = _stripe(gateway, settings)
        if len(each) > 1:
            found = [replace(one, name=f"{gateway.account_id}: {one.name}") for one in found]
        findings += found
    findings.append(_runs("charging", settings.charges_for_real))
    findings.append(_runs("mailing", settings.mails_for_real))
    return findings


def _stripe(gateway: Gateway, settings: Settings) -> list[Finding]:
    """Whether one account answers, lets us read what we need, and retries by itself."""
    answer = gateway.get("/v1/charges", {"limit": 1})
    if answer.http_status is None:
        why = f"not reachable: {answer.transport_error}"
        return [Finding("stripe", False, why, "check TINKO_STRIPE_API_BASE and the network")]
    if answer.http_status == 401:
        return [Finding("stripe", False, "the key is refused", "set it to a valid key")]
    pages = [_right(gateway, PAGES_PATH)] if settings.public_url else []
    return [*(_right(gateway, path) for path in READ_PATHS), *pages, _own_retries(gateway, settings)]


def _misspelt(environment: Mapping[str, str]) -> list[Finding]:
    """Variables that look like settings and are none, so that what they were to say is not heard."""
    known = [
        f"TINKO_{name.upper()}" for name, field in Settings.model_fields.items() if not field.validation_alias
    ]
    known += READ_ELSEWHERE
    found = []
    for name in sorted(environment):
        if not name.upper().startswith("TINKO_") or name.upper() in known:
            continue
        near = get_close_matches(name.upper(), known, n=1, cutoff=0.7)
        fix = f"did you mean {near[0]}?" if near else "unset it; the README lists every setting"
        found.append(Finding(name, False, "is no setting, so nothing heeds it", fix))
    return found


def _odd_keys(settings: Settings) -> list[Finding]:
    """Keys that begin as no key does that a server may use; nothing of a key is shown."""
    given = {"STRIPE_SECRET_KEY": settings.stripe_secret_key, "TINKO_RECONCILE_KEY": settings.reconcile_key}
    found = []
    for name, secret in given.items():
        key = secret.get_secret_value().strip() if secret else ""
        if not key or key.startswith(KEY_PREFIXES):
            continue
        kind = next((kind for prefix, kind in OTHER_KEYS.items() if key.startswith(prefix)), "no key we know")
        fix = f"use a key that begins with one of {', '.join(KEY_PREFIXES)}"
        found.append(Finding(name, False, f"begins as {kind}", fix))
    return found


def _right(gateway: Gateway, path: str) -> Finding:
    answer = gateway.get(f"/v1/{path}", {"limit": 1})
    if answer.ok:
        return Finding(f"read {path}", True, "allowed")
    said = answer.transport_error or f"HTTP {answer.http_status}"
    fix = f"give the key the right to read {path.replace('_', ' ')}"
    if path == PAGES_PATH:
        fix = "give the key the right to write checkout sessions: without it links lead to no payment page"
    return Finding(f"read {path}", False, said, fix)


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


def _lake(settings: Settings) -> list[Finding]:
    """Whether a lake on an object store answers; a folder needs no look."""
    if settings.lake_url is None:
        return []
    place = place_of(settings)
    try:
        found = place.names("notes")
    except TinkoError as error:
        return [Finding("lake", False, str(error))]
    return [Finding("lake", True, f"{place.where} answers" + ("" if found else "; it is empty"))]


def _standing(settings: Settings, now: Callable[[], datetime]) -> list[Finding]:
    """What is paused, in dispute or not yet compared, and with whose key the reconciler reads."""
    ledger = Ledger.open(settings.ledger)
    try:
        with ledger.read() as connection:
            compared = connection.execute(select(reconciliation)).mappings().all()
            living = select(recovery_case.c.account_id).where(recovery_case.c.closed_at.is_(None)).distinct()
            told = select(webhook_event.c.account_id).where(webhook_event.c.landed_at.is_(None)).distinct()
            known = {*connection.execute(living).scalars(), *connection.execute(told).scalars()}
        found = [
            Finding(
                f"paused: {each.scope}", None, f"by {each.by}: {each.reason} ({each.stopped})", _way_on(each)
            )
            for each in pauses(ledger, _moment(now))
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
    found += [
        Finding(
            f"account {name}",
            False,
            "the ledger has cases or events of it, and it is not configured: nobody sees to them",
            "add it to TINKO_MORE_ACCOUNTS, or name it with TINKO_STRIPE_ACCOUNT",
        )
        for name in sorted(known - set(settings.account_names))
    ]
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


def _moment(now: Callable[[], datetime]) -> datetime:
    try:
        return now()
    except TinkoError:
        return datetime.now(UTC)  # The sandbox whose clock it is does not run; that is found elsewhere.


def _way_on(pause: Pause) -> str:
    if pause.until is not None:
        return f"goes on by itself at {pause.until:%Y-%m-%d %H:%M} UTC"
    scope = "" if pause.scope == GLOBAL else f" --account {pause.scope}"
    return f"see to the reason, then `tinko resume{scope}`"


def _mail(settings: Settings) -> Finding:
    from contextlib import closing

    from tinko_pipelines.outreach.providers import transport_for

    try:
        with closing(transport_for(settings)) as transport:
            answers = transport.ping()
    except TinkoError as error:
        return Finding("mail", False, str(error))
    if answers is not None:
        return Finding("mail", True, answers)
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


def _webhooks(settings: Settings) -> list[Finding]:
    without = [name for name in settings.account_names if name not in settings.webhook_secrets]
    if not without:
        return []
    text = f"no signing secret for {', '.join(without)}: what happens at Stripe is known up to a quarter of an hour late"
    fix = "run `tinko serve`, let Stripe send its webhooks there, and set TINKO_WEBHOOK_SECRET (others: TINKO_MORE_WEBHOOK_SECRETS)"
    return [Finding("webhooks", None, text, fix)]


def _letters(settings: Settings) -> list[Finding]:
    """Whether the sequences can be used, which texts wait for a speaker, and that Stripe may write too."""
    from tinko_pipelines.outreach import languages, sequences

    try:
        found = sequences.load(settings.sequences)
        findings = [Finding("sequences", True, f"{len(found.sequences)}, version {found.version}")]
    except TinkoError as error:
        fix = "mend the file, or unset TINKO_SEQUENCES"
        findings = [Finding("sequences", False, str(error), fix)]
    known = languages.languages()
    drafted = [f"{one.name} ({code})" for code, one in known.items() if one.machine_drafted]
    if drafted:
        text = f"drafted by a machine and not yet read by a speaker: {', '.join(drafted)}"
        findings.append(
            Finding("languages", None, text, "`tinko mail preview` shows them; let a speaker read")
        )
    for code in known:
        lacking = languages.missing(code)
        if lacking:
            text = f"{code} lacks {', '.join(lacking)}: English, or the plain subject, stands in for it"
            fix = f"translate them in {languages.FOLDER / code}.json"
            findings.append(Finding("languages", None, text, fix))
    text = "whether Stripe itself mails customers of failed payments its API does not show"
    fix = (
        "look in its Dashboard, Settings, Billing, Subscriptions and emails: where emails about failed card payments are"
        " on, each customer hears of each failure twice; switch one of the two off"
    )
    return [*findings, Finding("stripe's own mails", None, text, fix)]


def _runs(what: str, for_real: bool) -> Finding:
    if for_real:
        return Finding(what, None, "for real")
    return Finding(what, None, "dry run", f"set TINKO_{what.upper()}=on when the plans look right")
