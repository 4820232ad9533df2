"""When a limit refuses an attempt or a call, as SQL over NEW and OLD: for the triggers, and for whoever asks beforehand."""

from tinko_pipelines.ledger.schema import MAILED, SESSION, SPENT, UNRESOLVED, one_of

REPEATED = "NEW.repeated_at IS NOT NULL AND (OLD.repeated_at IS NULL OR NEW.repeated_at <> OLD.repeated_at)"
CALLED = f"(NEW.state = 'calling' AND OLD.state <> 'calling') OR ({REPEATED})"
NEWEST_CALL = "coalesce(NEW.repeated_at, NEW.called_at)"
"""A call that is repeated under its key counts from its newest repetition on: that one may be the one that ran."""
RETRIED = f"NEW.operation <> '{SESSION}'"
"""That we charge; on a page at Stripe the customer pays by himself, which no limit on us counts."""
LOCK_ATTEMPT = "PERFORM tinko_lock_caps(NEW.account_id, NEW.card_fingerprint, NEW.customer_id);"
CLAIMED = "NEW.state = 'sending' AND OLD.state <> 'sending'"
LOCK_MAIL = "PERFORM tinko_lock_mail(NEW.account_id, NEW.address_hmac, NEW.case_id);"
LOCK_FUNCTIONS = (
    "CREATE FUNCTION tinko_lock(kind text, account text, subject text) RETURNS void LANGUAGE plpgsql AS $$"
    " BEGIN IF subject IS NOT NULL THEN PERFORM pg_advisory_xact_lock("
    "hashtextextended(kind || ':' || account || ':' || subject, 0)); END IF; END $$",
    # Counting is only right if it sees what the lock's last holder has written, which an older snapshot does not.
    "CREATE FUNCTION tinko_fresh() RETURNS void LANGUAGE plpgsql AS $$"
    " BEGIN IF current_setting('transaction_isolation') <> 'read committed' THEN"
    " RAISE EXCEPTION 'tinko: caps are counted under READ COMMITTED only' USING ERRCODE = '23514'; END IF;"
    " END $$",
    "CREATE FUNCTION tinko_lock_mail(account text, address text, kase text) RETURNS void LANGUAGE plpgsql AS $$"
    " BEGIN PERFORM tinko_fresh(); PERFORM tinko_lock('address', account, address);"
    " PERFORM tinko_lock('case_mail', account, kase); END $$",
    "CREATE FUNCTION tinko_lock_caps(account text, card text, customer text) RETURNS void LANGUAGE plpgsql AS $$"
    " BEGIN PERFORM tinko_fresh(); PERFORM tinko_lock('card', account, card); PERFORM tinko_lock('customer', account, customer);"
    " IF EXISTS (SELECT 1 FROM cap_rule r WHERE r.keyed_by = 'account')"
    " OR EXISTS (SELECT 1 FROM amount_ceiling l WHERE l.account_id = account) THEN"
    " PERFORM tinko_lock('account', account, ''); END IF; END $$",
)
"""PostgreSQL only: whoever counts a subject's attempts waits for its other writers, always in this order."""


def before(dialect: str, moment: str, hours: str) -> str:
    """The moment `hours` before `moment`, to the microsecond; both are SQL expressions."""
    if dialect == "sqlite":
        whole = f"strftime('%Y-%m-%dT%H:%M:%S', substr({moment}, 1, 19), '-' || {hours} || ' hours')"
        return f"({whole} || substr({moment}, 20))"
    return f"({moment} - make_interval(hours => {hours}))"


def in_force(moment: str) -> str:
    """Whether rule `r` holds at `moment`."""
    return f"r.valid_from <= {moment} AND (r.valid_until IS NULL OR r.valid_until > {moment})"


def _used_up(dialect: str, moment: str) -> str:
    """Whether cap rule `r` is in force at `moment` and used up by attempts other than this one."""
    start = before(dialect, moment, "r.window_hours")

    def refused_and_open(key: str) -> str:
        own = f"{{t}}.account_id = NEW.account_id AND {key}"
        return (
            f"(SELECT count(*) FROM network_attempt w WHERE {own.format(t='w')} AND w.declined"
            f" AND w.at > {start})"
            f" + (SELECT count(*) FROM attempt a WHERE {own.format(t='a')} AND {one_of('a.state', UNRESOLVED)}"
            f" AND a.id <> NEW.id AND coalesce(a.repeated_at, a.called_at, a.prepared_at) > {start})"
        )

    card = "{t}.card_fingerprint = NEW.card_fingerprint"
    amount = f"{card} AND {{t}}.amount_minor = NEW.amount_minor AND {{t}}.currency = NEW.currency"
    own_of_account = (
        "(SELECT count(*) FROM attempt a WHERE a.account_id = NEW.account_id AND a.state <> 'abandoned'"
        f" AND a.operation <> '{SESSION}'"
        f" AND a.id <> NEW.id AND a.prepared_at > {start})"
    )
    return (
        "r.network IN ('any', lower(NEW.card_brand))"
        f" AND {in_force(moment)} AND ((r.keyed_by IN ('fingerprint', 'fingerprint_amount')"
        " AND NEW.card_fingerprint IS NOT NULL) OR (r.keyed_by = 'customer' AND NEW.customer_id IS NOT NULL)"
        " OR r.keyed_by = 'account') AND r.max_attempts <= CASE r.keyed_by"
        f" WHEN 'fingerprint' THEN {refused_and_open(card)}"
        f" WHEN 'fingerprint_amount' THEN {refused_and_open(amount)}"
        f" WHEN 'customer' THEN {refused_and_open('{t}.customer_id = NEW.customer_id')}"
        f" ELSE {own_of_account} END"
    )


def attempt_caps(dialect: str, moment: str) -> str:
    """Whether a rule in force at `moment` is used up by attempts other than this one."""
    return f"EXISTS (SELECT 1 FROM cap_rule r WHERE {_used_up(dialect, moment)})"


CARD_FORBIDDEN = (
    "NEW.card_fingerprint IS NOT NULL AND EXISTS (SELECT 1 FROM attempt a WHERE a.account_id = NEW.account_id"
    " AND a.card_fingerprint = NEW.card_fingerprint AND a.forbids_card AND a.id <> NEW.id)"
)
"""Whether an attempt of ours on this card, for whatever debt, was answered so that it may never be tried again."""


def _exceeded(dialect: str, moment: str) -> str:
    """Whether a call at `moment` would bring the account above ceiling `l`, what it may try to collect in 24 hours."""
    return (
        "l.account_id = NEW.account_id AND l.currency = NEW.currency AND l.max_minor_per_day < NEW.amount_minor"
        " + (SELECT coalesce(sum(a.amount_minor), 0) FROM attempt a WHERE a.account_id = NEW.account_id"
        f" AND a.currency = NEW.currency AND {one_of('a.state', SPENT)} AND a.id <> NEW.id AND a.operation <> '{SESSION}'"
        # No call is repeated after 20 hours, so that the index by the first one still narrows it down.
        f" AND a.called_at > {before(dialect, moment, '44')}"
        f" AND coalesce(a.repeated_at, a.called_at) > {before(dialect, moment, '24')})"
    )


def amount_ceiling(dialect: str) -> str:
    """Whether this call would bring the account above its ceiling."""
    return f"EXISTS (SELECT 1 FROM amount_ceiling l WHERE {_exceeded(dialect, NEWEST_CALL)})"


CARD, CEILING = "card_forbidden", "amount_ceiling"
ASKED = (
    "id",
    "account_id",
    "card_fingerprint",
    "card_brand",
    "customer_id",
    "amount_minor",
    "currency",
    "at",
)


def reached(dialect: str) -> str:
    """The query for every limit that an attempt named by the binds `ASKED` would meet, prepared or called at `:at`.

    It is the triggers' own text, with the binds in the place of the row.
    """
    types = {"amount_minor": "bigint", "at": "text" if dialect == "sqlite" else "timestamptz"}
    columns = ", ".join(f"CAST(:{name} AS {types.get(name, 'text')}) AS {name}" for name in ASKED)
    return (
        f"WITH new AS (SELECT {columns})"
        " SELECT r.rule, r.keyed_by, r.max_attempts, r.window_hours, r.valid_until"
        f" FROM new JOIN cap_rule r ON {_used_up(dialect, 'NEW.at')}"
        f" UNION ALL SELECT '{CARD}', 'fingerprint', 0, 0, NULL FROM new WHERE {CARD_FORBIDDEN}"
        f" UNION ALL SELECT '{CEILING}', 'ceiling', l.max_minor_per_day, 24, NULL"
        f" FROM new JOIN amount_ceiling l ON {_exceeded(dialect, 'NEW.at')}"
    )


def mail_caps(dialect: str) -> str:
    """Whether a mail cap is used up by other mails, save receipts, to this address or about this case."""
    others = (
        "SELECT count(*) FROM message m WHERE m.account_id = NEW.account_id AND m.kind <> 'receipt'"
        f" AND m.id <> NEW.id AND {one_of('m.state', MAILED)}"
        f" AND m.claimed_at > {before(dialect, 'NEW.claimed_at', 'r.window_hours')}"
    )
    return (
        f"EXISTS (SELECT 1 FROM cap_rule r WHERE r.network = 'mail' AND {in_force('NEW.claimed_at')}"
        " AND r.max_attempts <= CASE r.keyed_by"
        f" WHEN 'address' THEN ({others} AND m.address_hmac = NEW.address_hmac)"
        f" ELSE ({others} AND m.case_id = NEW.case_id) END)"
    )
