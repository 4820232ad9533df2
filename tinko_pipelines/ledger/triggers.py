"""Rules the database itself holds, so that they hold when the code is wrong; one text for both databases."""

from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection

from tinko_pipelines.ledger.cap_sql import (
    CALLED,
    CARD_FORBIDDEN,
    CLAIMED,
    LOCK_ATTEMPT,
    LOCK_FUNCTIONS,
    LOCK_MAIL,
    NEWEST_CALL,
    REPEATED,
    RETRIED,
    amount_ceiling,
    attempt_caps,
    before,
    mail_caps,
)
from tinko_pipelines.ledger.schema import SESSION, one_of

ATTEMPT_MOVES: dict[str, tuple[str, ...]] = {
    "prepared": ("calling", "abandoned"),
    "calling": ("succeeded", "declined", "requires_action", "processing", "unknown", "abandoned"),
    "unknown": ("succeeded", "declined", "abandoned", "processing", "requires_action"),
    "processing": ("succeeded", "declined", "abandoned"),
    "requires_action": ("succeeded", "declined", "abandoned"),
}
_CLOSED = ("recovered", "paid_elsewhere", "exhausted", "cancelled")
CASE_MOVES: dict[str, tuple[str, ...]] = {
    "detected": ("planned", "open", "not_ours", "needs_human", *_CLOSED),
    "planned": ("open", "not_ours", "needs_human", *_CLOSED),
    "open": ("not_ours", "needs_human", *_CLOSED),
    "needs_human": ("open", *_CLOSED),
}
"""A case with a person may be handed back or closed by that person; every other end is final."""

MESSAGE_MOVES: dict[str, tuple[str, ...]] = {
    "scheduled": ("sending", "dropped"),
    "sending": ("sent", "failed", "in_doubt", "scheduled"),
    "dropped": ("scheduled",),
    "in_doubt": ("sent", "failed"),
}
"""Back to scheduled only what certainly did not go out, and a receipt once; a person says what became of a doubt."""

NO_PARAMS = "{}"
"""What stands for the parameters of an attempt on an erased person's debt."""
DOOR = "erasing:"
"""Begins the name of the fact by which one transaction says whose case it empties of its person."""
_ERASING = f"EXISTS (SELECT 1 FROM ledger_meta m WHERE m.key = '{DOOR}' || OLD.case_id)"
_ERASING_MAIL = (
    f"EXISTS (SELECT 1 FROM ledger_meta m WHERE m.key = '{DOOR}' || coalesce(OLD.case_id, OLD.message_id))"
)
_SETTLED = "OLD.state IN ('succeeded', 'declined', 'abandoned') AND NEW.state = OLD.state"


@dataclass(frozen=True, slots=True)
class Rule:
    """Refuse `event` on `table` with `message` when `condition` (over OLD and NEW) holds.

    It is looked at only where `when` holds; PostgreSQL executes `lock` first.
    """

    name: str
    table: str
    event: str
    condition: str
    message: str
    when: str = ""
    lock: str = ""


def _illegal(moves: dict[str, tuple[str, ...]]) -> str:
    legal = " OR ".join(
        f"(OLD.state = '{source}' AND {one_of('NEW.state', targets)})" for source, targets in moves.items()
    )
    return f"NEW.state <> OLD.state AND NOT ({legal})"


def rules(dialect: str) -> list[Rule]:
    """Every rule, with the date arithmetic of `dialect` ('sqlite' or 'postgresql')."""
    paused = "EXISTS (SELECT 1 FROM control c WHERE c.scope IN ('global', NEW.account_id) AND NOT c.{flag})"
    charging_off = (
        f"(NEW.state = 'calling' OR {REPEATED})"
        " AND EXISTS (SELECT 1 FROM control c WHERE c.scope IN ('global', NEW.account_id)"
        f" AND NOT c.charging_enabled AND (c.resumes_at IS NULL OR c.resumes_at > {NEWEST_CALL}))"
    )
    repeated_late = (
        f"(OLD.repeated_at IS NOT NULL AND (NEW.repeated_at IS NULL OR NEW.repeated_at < OLD.repeated_at))"
        f" OR ({REPEATED} AND (NEW.state <> 'unknown' OR NEW.repeated_at < NEW.called_at"
        f" OR {before(dialect, 'NEW.repeated_at', '20')} >= NEW.called_at))"
    )
    suppressed = "EXISTS (SELECT 1 FROM suppression s WHERE s.address_hmac = NEW.address_hmac)"
    mailing_off = paused.format(flag="mailing_enabled")
    unnamed = "NEW.claimed_at IS NULL OR NEW.address_hmac IS NULL"
    message_frozen = (
        "coalesce(NEW.case_id, '') <> coalesce(OLD.case_id, '') OR NEW.kind <> OLD.kind OR NEW.step <> OLD.step"
        " OR coalesce(NEW.card_notice_id, '') <> coalesce(OLD.card_notice_id, '') OR NEW.account_id <> OLD.account_id OR NEW.doubts < OLD.doubts OR NEW.deferrals < OLD.deferrals"
        " OR (OLD.variant IS NOT NULL AND coalesce(NEW.variant, '') <> OLD.variant)"
    )
    # Only what is over loses its person, only where that is said, and no card that is forbidden is forgotten.
    erasing = f"({_SETTLED} AND {_ERASING})"
    no_params = (
        f"(NEW.params = '{NO_PARAMS}' AND NEW.params_sha256 = '{sha256(NO_PARAMS.encode()).hexdigest()}')"
    )
    frozen = (
        "((NEW.params <> OLD.params OR NEW.params_sha256 <> OLD.params_sha256)"
        f" AND NOT ({no_params} AND {erasing})) OR NEW.fence < OLD.fence"
        " OR NEW.idempotency_key <> OLD.idempotency_key OR NEW.object_id <> OLD.object_id"
        " OR NEW.operation <> OLD.operation OR NEW.api_version <> OLD.api_version"
        " OR NEW.case_id <> OLD.case_id OR NEW.n <> OLD.n OR NEW.account_id <> OLD.account_id"
        " OR NEW.amount_minor <> OLD.amount_minor OR NEW.currency <> OLD.currency"
        " OR (coalesce(NEW.card_fingerprint, '') <> coalesce(OLD.card_fingerprint, '')"
        f" AND NOT (NEW.card_fingerprint IS NULL AND NOT OLD.forbids_card AND {erasing}))"
        " OR (coalesce(NEW.customer_id, '') <> coalesce(OLD.customer_id, '')"
        f" AND NOT (NEW.customer_id IS NULL AND {erasing}))"
        " OR (OLD.forbids_card AND NOT NEW.forbids_card)"
    )
    alike = "IS" if dialect == "sqlite" else "IS NOT DISTINCT FROM"
    same = " AND ".join(
        f"NEW.{name} {alike} OLD.{name}"
        for name in (
            "id",
            "case_id",
            "account_id",
            "at",
            "actor",
            "kind",
            "from_state",
            "to_state",
            "attempt_id",
            "message_id",
        )
    )
    event_frozen = f"NOT (NEW.detail IS NULL AND {same} AND {_ERASING})"
    # The customer of this case has asked not to be charged before that day.
    too_soon = (
        "EXISTS (SELECT 1 FROM recovery_case k WHERE k.id = NEW.case_id AND k.not_before > NEW.prepared_at)"
    )
    gone = "NEW.customer_id IS NULL AND NEW.payment_method_id IS NULL"
    notice_frozen = (
        "NEW.id <> OLD.id OR NEW.account_id <> OLD.account_id OR NEW.livemode <> OLD.livemode"
        " OR NEW.expires_at <> OLD.expires_at OR NEW.clicks < OLD.clicks"
        f" OR (NOT ({gone}) AND (coalesce(NEW.customer_id, '') <> coalesce(OLD.customer_id, '')"
        " OR coalesce(NEW.payment_method_id, '') <> coalesce(OLD.payment_method_id, '')))"
    )
    link_frozen = (
        "NEW.case_id <> OLD.case_id OR NEW.token_sha256 <> OLD.token_sha256 OR NEW.amount_minor <> OLD.amount_minor"
        " OR NEW.currency <> OLD.currency OR NEW.account_id <> OLD.account_id OR NEW.created_at <> OLD.created_at"
        " OR NEW.expires_at <> OLD.expires_at OR NEW.clicks < OLD.clicks"
        " OR (OLD.used_at IS NOT NULL AND (NEW.used_at IS NULL OR NEW.used_at <> OLD.used_at))"
        " OR (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at IS NULL OR NEW.revoked_at <> OLD.revoked_at))"
    )
    link_over = (
        "NOT EXISTS (SELECT 1 FROM attempt a JOIN recovery_link l ON l.case_id = a.case_id"
        f" WHERE a.id = NEW.attempt_id AND a.operation = '{SESSION}' AND a.case_id = NEW.case_id"
        " AND l.id = NEW.link_id AND l.used_at IS NULL AND l.revoked_at IS NULL AND l.expires_at > a.prepared_at)"
    )
    session_frozen = (
        "NEW.case_id <> OLD.case_id OR NEW.link_id <> OLD.link_id OR NEW.account_id <> OLD.account_id"
        " OR (OLD.session_id IS NOT NULL AND (NEW.session_id IS NULL OR NEW.session_id <> OLD.session_id))"
        " OR (OLD.successor_id IS NOT NULL AND (NEW.successor_id IS NULL OR NEW.successor_id <> OLD.successor_id))"
    )
    of_message = " AND ".join(
        f"NEW.{name} {alike} OLD.{name}" for name in ("message_id", "case_id", "account_id", "made_at")
    )
    body_frozen = f"NOT (NEW.content IS NULL AND NEW.sha256 IS NULL AND {of_message} AND {_ERASING_MAIL})"
    # What a restored ledger has lost is written down as it ended; no such row can ever be called.
    regained = "coalesce(NEW.answer, '') = 'restored' AND NEW.settled_at IS NOT NULL"
    born = (
        "NEW.state <> 'prepared' AND NOT"
        f" (NEW.state IN ('succeeded', 'declined', 'abandoned') AND {regained})"
    )
    moves = (
        f"({_illegal(ATTEMPT_MOVES)}) AND NOT (OLD.state = 'prepared'"
        f" AND NEW.state IN ('succeeded', 'declined') AND {regained})"
    )
    return [
        Rule("attempt_moves", "attempt", "UPDATE", moves, "illegal attempt transition"),
        Rule("attempt_born", "attempt", "INSERT", born, "an attempt starts as prepared"),
        Rule("attempt_frozen", "attempt", "UPDATE", frozen, "what an attempt sends is frozen"),
        Rule("attempt_repeated", "attempt", "UPDATE", repeated_late, "a call is repeated within 20 hours"),
        Rule("attempt_kept", "attempt", "DELETE", "1 = 1", "an attempt is never deleted"),
        Rule("attempt_switch", "attempt", "UPDATE", charging_off, "charging is paused"),
        Rule(
            "attempt_caps",
            "attempt",
            "INSERT",
            attempt_caps(dialect, "NEW.prepared_at"),
            "attempt cap reached",
            f"NEW.state = 'prepared' AND {RETRIED}",
            LOCK_ATTEMPT,
        ),
        Rule(
            "attempt_caps_at_call",
            "attempt",
            "UPDATE",
            attempt_caps(dialect, NEWEST_CALL),
            "attempt cap reached",
            f"({CALLED}) AND {RETRIED}",
            LOCK_ATTEMPT,
        ),
        Rule(
            "attempt_card",
            "attempt",
            "INSERT",
            CARD_FORBIDDEN,
            "card may not be tried again",
            f"NEW.state = 'prepared' AND {RETRIED}",
            LOCK_ATTEMPT,
        ),
        Rule(
            "attempt_card_at_call",
            "attempt",
            "UPDATE",
            CARD_FORBIDDEN,
            "card may not be tried again",
            f"({CALLED}) AND {RETRIED}",
            LOCK_ATTEMPT,
        ),
        Rule(
            "attempt_ceiling",
            "attempt",
            "UPDATE",
            amount_ceiling(dialect),
            "amount ceiling reached",
            f"({CALLED}) AND {RETRIED}",
            LOCK_ATTEMPT,
        ),
        Rule(
            "attempt_not_before",
            "attempt",
            "INSERT",
            too_soon,
            "the customer is charged later",
            f"NEW.state = 'prepared' AND {RETRIED}",
        ),
        Rule("link_frozen", "recovery_link", "UPDATE", link_frozen, "a link is frozen"),
        Rule("link_kept", "recovery_link", "DELETE", "1 = 1", "a link is never deleted"),
        Rule("session_linked", "checkout_session", "INSERT", link_over, "a page needs a link that is good"),
        Rule("session_frozen", "checkout_session", "UPDATE", session_frozen, "what a page is of is frozen"),
        Rule("session_kept", "checkout_session", "DELETE", "1 = 1", "a page is never deleted"),
        Rule("case_moves", "recovery_case", "UPDATE", _illegal(CASE_MOVES), "illegal case transition"),
        Rule("case_kept", "recovery_case", "DELETE", "1 = 1", "a case is never deleted"),
        Rule(
            "message_born", "message", "INSERT", "NEW.state <> 'scheduled'", "a message starts as scheduled"
        ),
        Rule("message_moves", "message", "UPDATE", _illegal(MESSAGE_MOVES), "illegal message transition"),
        Rule("message_frozen", "message", "UPDATE", message_frozen, "what a message is of is frozen"),
        Rule("message_kept", "message", "DELETE", "1 = 1", "a message is never deleted"),
        Rule("message_named", "message", "UPDATE", unnamed, "a claim names moment and address", CLAIMED),
        Rule("message_switch", "message", "UPDATE", mailing_off, "mailing is paused", CLAIMED),
        Rule("message_suppressed", "message", "UPDATE", suppressed, "address is suppressed", CLAIMED),
        Rule(
            "message_caps",
            "message",
            "UPDATE",
            mail_caps(dialect),
            "mail cap reached",
            f"{CLAIMED} AND NEW.kind <> 'receipt'",
            LOCK_MAIL,
        ),
        Rule("notice_frozen", "card_notice", "UPDATE", notice_frozen, "what a notice is of is frozen"),
        Rule("notice_kept", "card_notice", "DELETE", "1 = 1", "a notice is never deleted"),
        Rule("body_kept", "message_body", "DELETE", "1 = 1", "what a message says is never deleted"),
        Rule("body_frozen", "message_body", "UPDATE", body_frozen, "what a message says is frozen"),
        Rule("event_kept", "case_event", "DELETE", "1 = 1", "case events are append-only"),
        Rule("event_frozen", "case_event", "UPDATE", event_frozen, "case events are append-only"),
        Rule("switch_kept", "control_event", "DELETE", "1 = 1", "the history of pauses is append-only"),
        Rule("switch_frozen", "control_event", "UPDATE", "1 = 1", "the history of pauses is append-only"),
    ]


def statements(dialect: str) -> list[str]:
    """The DDL of every rule, in order."""
    made: list[str] = [] if dialect == "sqlite" else list(LOCK_FUNCTIONS)
    for rule in rules(dialect):
        name = f"tinko_{rule.name}"
        if dialect == "sqlite":
            condition = f"({rule.when}) AND ({rule.condition})" if rule.when else rule.condition
            made.append(
                f"CREATE TRIGGER {name} BEFORE {rule.event} ON {rule.table} WHEN {condition}"
                f" BEGIN SELECT RAISE(ABORT, 'tinko: {rule.message}'); END"
            )
            continue
        row = "OLD" if rule.event == "DELETE" else "NEW"
        made.append(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF {rule.when or 'true'} THEN {rule.lock} IF {rule.condition} THEN"
            f" RAISE EXCEPTION 'tinko: {rule.message}' USING ERRCODE = '23514'; END IF; END IF;"
            f" RETURN {row}; END $$"
        )
        made.append(
            f"CREATE TRIGGER {name} BEFORE {rule.event} ON {rule.table}"
            f" FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
    return made


def forgotten(connection: Connection) -> list[str]:
    """The DDL that takes away every rule a ledger holds, so that those of a newer schema take their place."""
    if connection.dialect.name == "sqlite":
        held = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'tinko_%'"
        return [f"DROP TRIGGER {name}" for name in connection.exec_driver_sql(held).scalars()]
    held = "SELECT oid::regprocedure FROM pg_proc WHERE starts_with(proname, 'tinko_')"
    return [f"DROP FUNCTION {name} CASCADE" for name in connection.exec_driver_sql(held).scalars()]
