"""The ledger's tables. Rules that span rows or states are in `triggers`; nothing here executes."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from tinko_pipelines.ledger.types import UtcDateTime

metadata = MetaData()

BLOCKING = ("prepared", "calling", "processing", "requires_action", "unknown", "succeeded")
"""While an attempt is in one of these, no other attempt of its case can even be prepared."""
UNRESOLVED = BLOCKING[:-1]
SPENT = BLOCKING[1:]
"""What may have taken money, or still may: the states an amount ceiling counts."""
ATTEMPT_STATES = (*BLOCKING, "declined", "abandoned")
SESSION = "checkout.session"
"""The operation of an attempt that is no retry but a page at Stripe, on which the customer pays."""
OPERATIONS = ("invoice.pay", "payment_intent.confirm", SESSION)
OPEN_CASE_STATES = ("detected", "planned", "open")
CASE_STATES = (
    *OPEN_CASE_STATES,
    "recovered",
    "paid_elsewhere",
    "exhausted",
    "cancelled",
    "needs_human",
    "not_ours",
)
MAILED = ("sending", "sent", "in_doubt")
"""What may have reached somebody: the states of a message that mail caps count."""
MESSAGE_STATES = ("scheduled", "sending", "sent", "dropped", "failed", "in_doubt")
CAP_KEYS = ("fingerprint", "fingerprint_amount", "customer", "account", "address", "case_mail")
"""What a cap counts by: attempts by card, card and amount, customer or account; mails by address or case."""
_BIG = BigInteger().with_variant(Integer, "sqlite")


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The SQL condition that `column` is one of `values`; all are our own constants."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _text(*names: str) -> list[Column[str]]:
    return [Column(name, Text) for name in names]


control = Table(
    "control",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("charging_enabled", Boolean, nullable=False),
    Column("mailing_enabled", Boolean, nullable=False),
    *_text("reason"),
    Column("changed_at", UtcDateTime, nullable=False),
    *_text("changed_by"),
    Column("resumes_at", UtcDateTime),
)

control_event = Table(
    "control_event",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("scope", Text, nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    *_text("reason"),
    Column("charging_enabled", Boolean, nullable=False),
    Column("mailing_enabled", Boolean, nullable=False),
    Column("resumes_at", UtcDateTime),
    sqlite_autoincrement=True,
)

recovery_case = Table(
    "recovery_case",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("debt_kind", Text, nullable=False),
    Column("debt_id", Text, nullable=False),
    Column("live_object_id", Text, nullable=False),
    *_text("invoice_id", "payment_intent_id", "first_charge_id", "subscription_id", "customer_id"),
    *_text("payment_method_id", "payment_method_type", "card_fingerprint", "card_brand", "card_country"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    *_text("state_reason", "category", "move", "verdict_rule", "verdict_reason", "verdict_source"),
    Column("verdict_confidence", Float),
    *_text("decline_code", "policy_version"),
    Column("plan", Text, nullable=False),
    Column("first_failed_at", UtcDateTime, nullable=False),
    Column("plan_ends_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime),
    Column("max_attempts", Integer, nullable=False),
    Column("executed_attempts", Integer, nullable=False, server_default="0"),
    Column("look_after", UtcDateTime),
    Column("not_before", UtcDateTime),
    *_text("locale"),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    *_text("claimed_by"),
    Column("claimed_until", UtcDateTime),
    UniqueConstraint("account_id", "debt_id", name="one_case_per_debt"),
    UniqueConstraint("account_id", "live_object_id", name="one_live_object"),
    UniqueConstraint("id", "amount_minor", "currency", "livemode", name="case_money"),
    CheckConstraint(one_of("state", CASE_STATES), name="case_state"),
    CheckConstraint("amount_minor >= 0", name="case_amount"),
    CheckConstraint("length(currency) = 3", name="case_currency"),
    CheckConstraint("max_attempts BETWEEN 0 AND 20", name="case_max_attempts"),
)
Index(
    "case_due",
    recovery_case.c.account_id,
    recovery_case.c.due_at,
    recovery_case.c.updated_at,
    recovery_case.c.id,
    sqlite_where=text("state = 'open'"),
    postgresql_where=text("state = 'open'"),
)
Index("case_live", recovery_case.c.live_object_id)
Index("case_intent", recovery_case.c.payment_intent_id)
Index("case_subscription", recovery_case.c.subscription_id)
Index("case_customer", recovery_case.c.customer_id)
Index("case_look", recovery_case.c.look_after)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Text, primary_key=True),
    Column("case_id", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("params", Text, nullable=False),
    Column("params_sha256", Text, nullable=False),
    Column("api_version", Text, nullable=False),
    *_text("card_fingerprint", "card_brand", "customer_id"),
    Column("state", Text, nullable=False),
    Column("fence", Integer, nullable=False),
    *_text("owner"),
    Column("lease_until", UtcDateTime),
    Column("prepared_at", UtcDateTime, nullable=False),
    Column("called_at", UtcDateTime),
    Column("repeated_at", UtcDateTime),
    Column("settled_at", UtcDateTime),
    Column("next_poll_at", UtcDateTime),
    Column("poll_count", Integer, nullable=False, server_default="0"),
    Column("http_status", Integer),
    *_text("request_id", "charge_id", "decline_code", "advice_code"),
    *_text("network_decline_code", "network_advice_code", "answer", "detail"),
    Column("executed", Boolean, nullable=False, server_default=text("false")),
    Column("forbids_card", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("case_id", "n", name="one_nth_attempt"),
    ForeignKeyConstraint(
        ["case_id", "amount_minor", "currency", "livemode"],
        [
            "recovery_case.id",
            "recovery_case.amount_minor",
            "recovery_case.currency",
            "recovery_case.livemode",
        ],
        name="attempt_of_case",
    ),
    CheckConstraint(one_of("state", ATTEMPT_STATES), name="attempt_state"),
    CheckConstraint("amount_minor > 0", name="attempt_amount"),
    CheckConstraint("n >= 1", name="attempt_n"),
    CheckConstraint("fence >= 1", name="attempt_fence"),
    CheckConstraint(one_of("operation", OPERATIONS), name="attempt_operation"),
    CheckConstraint(
        "(state = 'prepared') = (called_at IS NULL) OR state = 'abandoned'", name="attempt_called_at"
    ),
)
Index(
    "one_blocking",
    attempt.c.case_id,
    unique=True,
    sqlite_where=text(one_of("state", BLOCKING)),
    postgresql_where=text(one_of("state", BLOCKING)),
)
Index("attempt_state_poll", attempt.c.state, attempt.c.next_poll_at)
Index(
    "attempt_open_card",
    attempt.c.account_id,
    attempt.c.card_fingerprint,
    sqlite_where=text(one_of("state", UNRESOLVED)),
    postgresql_where=text(one_of("state", UNRESOLVED)),
)
Index(
    "attempt_open_customer",
    attempt.c.account_id,
    attempt.c.customer_id,
    sqlite_where=text(one_of("state", UNRESOLVED)),
    postgresql_where=text(one_of("state", UNRESOLVED)),
)
Index(
    "attempt_prepared",
    attempt.c.account_id,
    attempt.c.prepared_at,
    sqlite_where=text("state <> 'abandoned'"),
    postgresql_where=text("state <> 'abandoned'"),
)
Index(
    "attempt_unnamed",
    attempt.c.account_id,
    sqlite_where=text("state = 'succeeded' AND charge_id IS NULL"),
    postgresql_where=text("state = 'succeeded' AND charge_id IS NULL"),
)
Index(
    "attempt_unread",
    attempt.c.account_id,
    attempt.c.prepared_at,
    sqlite_where=text("answer = 'unread'"),
    postgresql_where=text("answer = 'unread'"),
)
Index(
    "attempt_spent",
    attempt.c.account_id,
    attempt.c.currency,
    attempt.c.called_at,
    attempt.c.amount_minor,
    sqlite_where=text(one_of("state", SPENT)),
    postgresql_where=text(one_of("state", SPENT)),
)
Index(
    "attempt_forbidding",
    attempt.c.account_id,
    attempt.c.card_fingerprint,
    sqlite_where=text("forbids_card"),
    postgresql_where=text("forbids_card"),
)

recovery_link = Table(
    "recovery_link",
    metadata,
    Column("id", Text, primary_key=True),
    Column("case_id", Text, nullable=False, index=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("first_opened_at", UtcDateTime),
    Column("clicks", Integer, nullable=False, server_default="0"),
    Column("last_clicked_at", UtcDateTime),
    Column("used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    UniqueConstraint("id", "case_id", name="link_case"),
    ForeignKeyConstraint(
        ["case_id", "amount_minor", "currency", "livemode"],
        [
            "recovery_case.id",
            "recovery_case.amount_minor",
            "recovery_case.currency",
            "recovery_case.livemode",
        ],
        name="link_of_case",
    ),
    CheckConstraint("length(token_sha256) = 64", name="link_hashed"),
    CheckConstraint("expires_at > created_at", name="link_expires"),
)

checkout_session = Table(
    "checkout_session",
    metadata,
    Column("attempt_id", Text, ForeignKey("attempt.id"), primary_key=True),
    Column("case_id", Text, nullable=False, index=True),
    Column("account_id", Text, nullable=False),
    Column("link_id", Text, nullable=False),
    Column("session_id", Text, unique=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("payment_intent_id", Text, index=True),
    Column("successor_id", Text),
    ForeignKeyConstraint(
        ["link_id", "case_id"], ["recovery_link.id", "recovery_link.case_id"], name="session_of_link"
    ),
)
"""What is known of a page beside its attempt, which holds its state, amount, frozen parameters, key and lease."""

card_notice = Table(
    "card_notice",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    *_text("customer_id", "payment_method_id"),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("clicks", Integer, nullable=False, server_default="0"),
    Column("last_clicked_at", UtcDateTime),
)
Index("card_notice_customer", card_notice.c.account_id, card_notice.c.customer_id)
"""A card that ends while something is still to be charged to it; its id is made of card and end, so there is one of each."""

message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("case_id", Text, ForeignKey("recovery_case.id")),
    Column("card_notice_id", Text, ForeignKey("card_notice.id"), unique=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("step", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("template", Text, nullable=False),
    *_text("locale"),
    Column("state", Text, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("message_id_header", Text, unique=True),
    *_text("subject"),
    Column("claimed_at", UtcDateTime),
    Column("sent_at", UtcDateTime),
    *_text("drop_reason", "detail", "address_hmac", "owner"),
    Column("lease_until", UtcDateTime),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("doubts", Integer, nullable=False, server_default="0"),
    *_text("variant"),
    Column("deferrals", Integer, nullable=False, server_default="0"),
    *_text("bounce"),
    Column("bounced_at", UtcDateTime),
    Column("opened_at", UtcDateTime),
    UniqueConstraint("case_id", "step", name="one_message_per_step"),
    CheckConstraint(one_of("state", MESSAGE_STATES), name="message_state"),
    CheckConstraint(
        "(kind IN ('dunning', 'receipt') AND case_id IS NOT NULL AND card_notice_id IS NULL)"
        " OR (kind = 'card' AND case_id IS NULL AND card_notice_id IS NOT NULL)",
        name="message_kind",
    ),
    CheckConstraint(
        "state NOT IN ('scheduled', 'sending') OR doubts <= CASE kind WHEN 'receipt' THEN 1 ELSE 0 END",
        name="message_sent_again",
    ),
)
Index("message_due", message.c.state, message.c.due_at, message.c.id)
Index("message_address", message.c.account_id, message.c.address_hmac, message.c.claimed_at)

message_body = Table(
    "message_body",
    metadata,
    Column("message_id", Text, ForeignKey("message.id"), primary_key=True),
    Column("case_id", Text, ForeignKey("recovery_case.id"), index=True),
    Column("account_id", Text, nullable=False),
    Column("content", LargeBinary),
    *_text("sha256"),
    Column("made_at", UtcDateTime, nullable=False),
)

suppression = Table(
    "suppression",
    metadata,
    Column("address_hmac", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

case_event = Table(
    "case_event",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("case_id", Text, ForeignKey("recovery_case.id"), nullable=False, index=True),
    Column("account_id", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    *_text("from_state", "to_state", "attempt_id", "message_id", "detail"),
    sqlite_autoincrement=True,
)

webhook_event = Table(
    "webhook_event",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("type", Text, nullable=False),
    *_text("api_version"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    *_text("object_id", "payload"),
    Column("processed_at", UtcDateTime, index=True),
    Column("landed_at", UtcDateTime),
    Column("land_after", UtcDateTime),
    Column("land_tries", Integer, nullable=False, server_default="0"),
    *_text("note"),
)
Index(
    "webhook_event_unlanded",
    webhook_event.c.account_id,
    webhook_event.c.land_tries,
    webhook_event.c.received_at,
    webhook_event.c.event_id,
    sqlite_where=text("landed_at IS NULL"),
    postgresql_where=text("landed_at IS NULL"),
)

network_attempt = Table(
    "network_attempt",
    metadata,
    Column("charge_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    *_text("card_fingerprint", "card_brand", "customer_id"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("declined", Boolean, nullable=False),
    Column("ours", Boolean, nullable=False),
)
Index(
    "network_attempt_card",
    network_attempt.c.account_id,
    network_attempt.c.card_fingerprint,
    network_attempt.c.at,
    sqlite_where=text("declined"),
    postgresql_where=text("declined"),
)
Index(
    "network_attempt_customer",
    network_attempt.c.account_id,
    network_attempt.c.customer_id,
    network_attempt.c.at,
    sqlite_where=text("declined"),
    postgresql_where=text("declined"),
)

cap_rule = Table(
    "cap_rule",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("valid_from", UtcDateTime, primary_key=True),
    Column("valid_until", UtcDateTime),
    Column("network", Text, nullable=False),
    Column("keyed_by", Text, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("window_hours", Integer, nullable=False),
    Column("excess_fee_minor", BigInteger),
    *_text("fee_currency"),
    CheckConstraint(one_of("keyed_by", CAP_KEYS), name="cap_keyed_by"),
    CheckConstraint("max_attempts >= 0 AND window_hours > 0", name="cap_bounds"),
    CheckConstraint("(excess_fee_minor IS NULL) = (fee_currency IS NULL)", name="cap_fee"),
)

amount_ceiling = Table(
    "amount_ceiling",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("max_minor_per_day", BigInteger, nullable=False),
    CheckConstraint("max_minor_per_day >= 0", name="ceiling_bounds"),
)

request_budget = Table(
    "request_budget",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("resource", Text, primary_key=True),
    Column("tokens", Float, nullable=False),
    Column("filled_at", UtcDateTime, nullable=False),
    Column("blocked_until", UtcDateTime),
)

cap_refusal = Table(
    "cap_refusal",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("case_id", Text, ForeignKey("recovery_case.id"), nullable=False),
    Column("account_id", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("free_at", UtcDateTime, nullable=False),
)

anomaly = Table(
    "anomaly",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("account_id", Text, nullable=False),
    *_text("case_id"),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    *_text("detail", "proposal", "charge_id", "currency"),
    Column("amount_minor", BigInteger),
    Column("at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
    *_text("resolved_by"),
)
Index(
    "one_open_anomaly",
    anomaly.c.account_id,
    anomaly.c.kind,
    anomaly.c.subject,
    unique=True,
    sqlite_where=text("resolved_at IS NULL"),
    postgresql_where=text("resolved_at IS NULL"),
)

reconciliation = Table(
    "reconciliation",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("read_from", UtcDateTime, nullable=False),
    Column("read_until", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    Column("agreed_at", UtcDateTime),
    Column("objects_read", Integer, nullable=False),
    Column("disagreements", Integer, nullable=False),
)

erasure = Table(
    "erasure",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("id_hash", Text, primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
)

ledger_meta = Table(
    "ledger_meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
