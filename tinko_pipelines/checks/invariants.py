"""The registry of invariants: each one query that finds nothing as long as all is well. Nothing executes here."""

from __future__ import annotations

from dataclasses import dataclass

UNRESOLVED = "('prepared', 'calling', 'processing', 'requires_action', 'unknown')"
OPEN_CASE = "('detected', 'planned', 'open')"
NOW = "getvariable('now_at')"
LATE = f"({NOW} - INTERVAL 15 MINUTE)"
PAUSED = (
    "EXISTS (SELECT 1 FROM control c WHERE c.scope IN ('global', {account}) AND NOT c.{switch}"
    f" AND (c.resumes_at IS NULL OR c.resumes_at > {LATE}))"
)
RESUMED_LATELY = (
    f"EXISTS (SELECT 1 FROM control c WHERE c.scope IN ('global', {{account}}) AND c.changed_at > {LATE})"
)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A query whose every row is a breach; `number` is stable and shown to people."""

    number: int
    name: str
    title: str
    sql: str


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        1,
        "one_success_per_case",
        "A case has at most one successful attempt",
        "SELECT case_id, count(*) AS n FROM attempt WHERE state = 'succeeded' GROUP BY case_id HAVING count(*) > 1",
    ),
    Invariant(
        2,
        "one_payment_per_debt",
        "A debt has at most one successful charge at Stripe that is not refunded",
        "SELECT case_id, count(*) AS n FROM case_charge WHERE NOT refunded GROUP BY case_id HAVING count(*) > 1",
    ),
    Invariant(
        3,
        "success_is_the_same_at_stripe",
        "What the ledger holds for paid is paid at Stripe, and the other way round",
        f"""SELECT a.id, a.state FROM attempt a
        WHERE (a.state = 'succeeded'
          AND a.settled_at < (SELECT max(fetched_at) FROM charges) - INTERVAL 10 MINUTE
          AND NOT EXISTS (SELECT 1 FROM case_charge s WHERE s.case_id = a.case_id))
        OR (a.state <> 'succeeded' AND EXISTS (SELECT 1 FROM charges c WHERE c.id = a.charge_id
          AND c.status = 'succeeded' AND coalesce(c.captured, true)
          AND c.created_at < {NOW} - INTERVAL 10 MINUTE))""",
    ),
    Invariant(
        4,
        "no_confirm_without_attempt",
        "Every attempt named at Stripe is in the ledger",
        """SELECT p.id, json_extract_string(p.metadata, '$.tinko_attempt') AS attempt_id FROM payment_intents p
        WHERE json_valid(p.metadata) AND json_extract_string(p.metadata, '$.tinko_attempt') IS NOT NULL
          AND json_extract_string(p.metadata, '$.tinko_attempt') NOT IN (SELECT id FROM attempt)""",
    ),
    Invariant(
        5,
        "one_key_and_one_hash_per_attempt",
        "An attempt has its own key and the parameters its hash names",
        """SELECT id FROM attempt WHERE idempotency_key <> 'tinko:v1:' || id OR sha256(params) <> params_sha256
        OR idempotency_key IN (SELECT idempotency_key FROM attempt GROUP BY 1 HAVING count(*) > 1)""",
    ),
    Invariant(
        6,
        "keys_are_not_used_when_stripe_may_have_forgotten_them",
        "Each call of an attempt is made within 20 hours of its first",
        """SELECT e.attempt_id, e.at FROM case_event e JOIN attempt a ON a.id = e.attempt_id
        WHERE e.kind = 'attempt_called_again' AND e.at > a.called_at + INTERVAL 20 HOUR""",
    ),
    Invariant(
        7,
        "no_call_after_the_end_or_beside_another",
        "Nothing is called after a case closed or while another of its attempts was open",
        f"""SELECT a.id FROM attempt a JOIN recovery_case k ON k.id = a.case_id
        WHERE a.called_at > k.closed_at OR EXISTS (SELECT 1 FROM attempt b WHERE b.case_id = a.case_id
          AND b.id <> a.id AND b.called_at < a.called_at
          AND (b.state IN {UNRESOLVED} OR b.settled_at > a.called_at))""",
    ),
    Invariant(
        8,
        "no_call_after_payment_cancellation_or_dispute",
        "Nothing is called more than 60 s after the debt was paid, cancelled or disputed at Stripe",
        """SELECT a.id FROM attempt a WHERE EXISTS (SELECT 1 FROM case_charge s WHERE s.case_id = a.case_id
          AND s.charge_id IS DISTINCT FROM a.charge_id AND s.created_at + INTERVAL 60 SECOND < a.called_at)
        OR EXISTS (SELECT 1 FROM payment_intents p WHERE p.id = a.object_id
          AND p.canceled_at + INTERVAL 60 SECOND < a.called_at)
        OR EXISTS (SELECT 1 FROM case_charge s JOIN disputes d ON d.charge_id = s.charge_id
          WHERE s.case_id = a.case_id AND d.created_at + INTERVAL 60 SECOND < a.called_at)""",
    ),
    Invariant(
        9,
        "charged_what_is_owed",
        "Amount and currency of case, attempt and charge agree",
        """SELECT a.id, a.amount_minor, a.currency FROM attempt a JOIN recovery_case k ON k.id = a.case_id
        LEFT JOIN charges c ON c.id = a.charge_id
        WHERE a.amount_minor <> k.amount_minor OR a.currency <> k.currency
          OR c.amount_minor <> a.amount_minor OR c.currency <> a.currency""",
    ),
    Invariant(
        10,
        "modes_never_mix",
        "Live and test mode of case, attempt and charge agree",
        """SELECT a.id FROM attempt a JOIN recovery_case k ON k.id = a.case_id
        LEFT JOIN charges c ON c.id = a.charge_id WHERE a.livemode <> k.livemode OR c.livemode <> a.livemode""",
    ),
    Invariant(
        11,
        "caps_hold",
        "No attempt of ours was made above a cap of its card",
        """SELECT o.charge_id, r.rule FROM network_attempt o
        JOIN cap_rule r ON (r.network = 'any' OR r.network = lower(o.card_brand))
          AND r.keyed_by IN ('fingerprint', 'fingerprint_amount')
          AND o.at >= r.valid_from AND (r.valid_until IS NULL OR o.at < r.valid_until)
        JOIN network_attempt w ON w.card_fingerprint = o.card_fingerprint AND w.account_id = o.account_id
          AND w.declined AND w.at < o.at AND w.at > o.at - to_hours(r.window_hours)
          AND (r.keyed_by = 'fingerprint' OR (w.amount_minor = o.amount_minor AND w.currency = o.currency))
        WHERE o.ours GROUP BY o.charge_id, r.rule, r.max_attempts HAVING count(*) >= r.max_attempts""",
    ),
    Invariant(
        12,
        "never_means_never",
        "No card is tried again after an answer that forbids it",
        """SELECT b.id, a.id AS forbidden_by FROM attempt a JOIN attempt b ON b.account_id = a.account_id
          AND b.card_fingerprint = a.card_fingerprint AND b.called_at > a.settled_at
        WHERE a.advice_code = 'do_not_try_again'
          OR (lower(a.card_brand) = 'mastercard' AND a.network_advice_code IN ('03', '21'))
          OR a.decline_code IN ('lost_card', 'stolen_card', 'pickup_card', 'fraudulent', 'do_not_try_again',
            'revocation_of_authorization', 'revocation_of_all_authorizations', 'stop_payment_order')""",
    ),
    Invariant(
        13,
        "pause_holds",
        "Nothing is called while charging is paused",
        """WITH off AS (
          SELECT e.scope, e.at AS began, e.charging_enabled,
            least(lead(e.at) OVER (PARTITION BY e.scope ORDER BY e.id), e.resumes_at) AS ended FROM control_event e
        ), calls AS (
          SELECT id, account_id, called_at AS moment FROM attempt WHERE coalesce(answer, '') <> 'restored'
          UNION ALL
          SELECT e.attempt_id, e.account_id, e.at FROM case_event e WHERE e.kind = 'attempt_called_again')
        SELECT c.id, o.scope, c.moment FROM calls c JOIN off o ON o.scope IN ('global', c.account_id)
        WHERE NOT o.charging_enabled AND c.moment > o.began + INTERVAL 1 SECOND
          AND (o.ended IS NULL OR c.moment < o.ended)""",
    ),
    Invariant(
        14,
        "calls_are_leased",
        "Each call under way has an owner and a lease, an ended one has none, and each look takes a new fence",
        """SELECT id, state, fence FROM attempt WHERE fence < 1 OR poll_count > fence
        OR (state = 'calling' AND (owner IS NULL OR lease_until IS NULL))
        OR (state IN ('succeeded', 'declined', 'abandoned') AND lease_until IS NOT NULL)""",
    ),
    Invariant(
        15,
        "no_attempt_blocks_for_ever",
        "No attempt is unresolved for more than 7 days without a person, none unknown for more than one",
        f"""SELECT a.id, a.state FROM attempt a JOIN recovery_case k ON k.id = a.case_id
        WHERE a.state IN {UNRESOLVED} AND k.state <> 'needs_human'
          AND (a.prepared_at < {NOW} - INTERVAL 7 DAY
            OR (a.state = 'unknown' AND a.called_at < {NOW} - INTERVAL 24 HOUR))""",
    ),
    Invariant(
        16,
        "no_silence",
        "Each open case has just one thing ahead of it, a due date or an unresolved attempt, and neither lies idle",
        f"""SELECT k.id, k.state, k.due_at, a.state AS attempt_state, a.next_poll_at FROM recovery_case k
        LEFT JOIN attempt a ON a.case_id = k.id AND a.state IN {UNRESOLVED}
        WHERE k.state IN {OPEN_CASE} AND NOT {PAUSED.format(account="k.account_id", switch="charging_enabled")}
          AND NOT {RESUMED_LATELY.format(account="k.account_id")}
          AND (a.next_poll_at < {LATE} OR (a.id IS NULL AND (k.due_at IS NULL OR k.due_at < {LATE}
            OR k.due_at > greatest(k.plan_ends_at, k.updated_at) + INTERVAL 1 MINUTE)))
        UNION ALL
        SELECT k.id, k.state, k.due_at, 'unread three times, and nobody was told', NULL FROM recovery_case k
        JOIN attempt a ON a.case_id = k.id WHERE k.state IN {OPEN_CASE} AND a.n > (
          SELECT max(b.n) - 3 FROM attempt b WHERE b.case_id = k.id)
          AND NOT EXISTS (SELECT 1 FROM anomaly y WHERE y.kind = 'stripe_unreadable'
            AND y.account_id = k.account_id AND y.subject IN (k.id, k.account_id))
        GROUP BY k.id, k.state, k.due_at
        HAVING count(*) = 3 AND bool_and(a.state = 'abandoned' AND coalesce(a.answer, '') = 'unread')""",
    ),
    Invariant(
        17,
        "every_failure_has_a_case",
        "Each failed payment still open has a case within 30 minutes",
        f"""SELECT f.account_id, f.debt_id FROM failed_payments f WHERE f.status = 'open'
          AND f.first_failed_at < {NOW} - INTERVAL 30 MINUTE
          AND f.last_failed_at > {NOW} - to_days(getvariable('max_age_days'))
          AND f.amount_minor > 0 AND f.paid_elsewhere_by IS NULL AND NOT coalesce(f.disputed, false)
          AND NOT coalesce(f.customer_deleted, false)
          AND coalesce(f.subscription_status, '') NOT IN ('canceled', 'incomplete_expired')
          AND NOT EXISTS (SELECT 1 FROM recovery_case k
            WHERE k.account_id = f.account_id AND k.debt_id = f.debt_id)""",
    ),
    Invariant(
        18,
        "webhooks_are_processed",
        "Each stored event is processed within 10 minutes",
        f"""SELECT event_id, type FROM webhook_event
        WHERE processed_at IS NULL AND received_at < {NOW} - INTERVAL 10 MINUTE""",
    ),
    Invariant(
        19,
        "history_tells_the_present",
        "The recorded transitions of a case follow one another and lead to the state it is in",
        """WITH step AS (
          SELECT case_id, id, from_state, to_state, lag(to_state) OVER (PARTITION BY case_id ORDER BY id) AS before
          FROM case_event WHERE to_state IS NOT NULL)
        SELECT case_id, id, before, from_state FROM step WHERE from_state IS DISTINCT FROM before
        UNION ALL
        SELECT k.id, NULL, e.to_state, k.state FROM recovery_case k LEFT JOIN (
          SELECT case_id, arg_max(to_state, id) AS to_state FROM step GROUP BY case_id) e ON e.case_id = k.id
        WHERE e.to_state IS DISTINCT FROM k.state""",
    ),
    Invariant(
        20,
        "mail_is_sent_once_and_only_where_wanted",
        "One mail per step and Message-ID, none to the suppressed, none after the end but receipts",
        """SELECT m.id, m.state FROM message m JOIN recovery_case k ON k.id = m.case_id
        LEFT JOIN suppression s ON s.address_hmac = m.address_hmac
        WHERE (m.state = 'sent' AND (m.claimed_at > s.at OR (m.kind = 'dunning' AND m.claimed_at > k.closed_at)))
          OR (m.case_id, m.step) IN (SELECT (case_id, step) FROM message GROUP BY case_id, step HAVING count(*) > 1)
          OR m.message_id_header IN (SELECT message_id_header FROM message GROUP BY 1 HAVING count(*) > 1)""",
    ),
    Invariant(
        21,
        "mail_is_not_left_lying",
        "Each mail is sent, dropped, failed or in doubt within 24 hours of falling due",
        f"""SELECT m.id, m.state FROM message m WHERE m.state IN ('scheduled', 'sending')
          AND m.due_at < {NOW} - INTERVAL 24 HOUR
          AND NOT {PAUSED.format(account="m.account_id", switch="mailing_enabled")}""",
    ),
    Invariant(
        22,
        "links_used_once",
        "A link pays at most once: for its own case, before its end, and no page is made by one that is over",
        """SELECT l.id AS link_id, l.case_id, 'used, and the case is ' || k.state AS what
        FROM recovery_link l JOIN recovery_case k ON k.id = l.case_id
        WHERE l.used_at IS NOT NULL AND k.state NOT IN ('recovered', 'paid_elsewhere')
          AND NOT EXISTS (SELECT 1 FROM checkout_session s JOIN attempt a ON a.id = s.attempt_id
            WHERE s.link_id = l.id AND a.state = 'succeeded')
        UNION ALL
        SELECT min(id), case_id, 'more than one is used' FROM recovery_link WHERE used_at IS NOT NULL
        GROUP BY case_id HAVING count(*) > 1
        UNION ALL
        SELECT s.link_id, s.case_id, 'more than one page of it was paid' FROM checkout_session s
        JOIN attempt a ON a.id = s.attempt_id AND a.state = 'succeeded'
        GROUP BY s.link_id, s.case_id HAVING count(*) > 1
        UNION ALL
        SELECT l.id, l.case_id, 'a page was made after its end' FROM recovery_link l
        JOIN checkout_session s ON s.link_id = l.id JOIN attempt a ON a.id = s.attempt_id
        WHERE s.case_id <> l.case_id OR a.prepared_at > least(l.expires_at, l.used_at, l.revoked_at)
        UNION ALL
        SELECT l.id, l.case_id, 'it does not say how its page was paid' FROM recovery_link l
        JOIN checkout_session s ON s.link_id = l.id JOIN attempt a ON a.id = s.attempt_id
        WHERE a.state = 'succeeded' AND l.used_at IS NULL""",
    ),
    Invariant(
        23,
        "no_secret_is_written_down",
        "No key, password, card number or address of a customer stands in any text of ledger, logs or outbox",
        """SELECT table_name AS place, column_name AS what, left(text, 6) || '…' AS begins FROM suspicious_text
        UNION ALL SELECT place, what, begins FROM suspicious_file""",
    ),
    Invariant(
        24,
        "who_was_erased_is_not_kept",
        "No row of lake or ledger names a person who was erased, or a payment method of his",
        """WITH named AS (
          SELECT 'charges' AS place, account_id, unnest([customer_id, payment_method_id]) AS id FROM charges
          UNION ALL SELECT 'payment_intents', account_id, unnest([customer_id, payment_method_id]) FROM payment_intents
          UNION ALL SELECT 'customers', account_id, id FROM customers
          UNION ALL SELECT 'payment_methods', account_id, id FROM payment_methods
          UNION ALL SELECT 'recovery_case', account_id, unnest([customer_id, payment_method_id]) FROM recovery_case
          UNION ALL SELECT 'attempt', account_id, customer_id FROM attempt
          UNION ALL SELECT 'network_attempt', account_id, customer_id FROM network_attempt)
        SELECT place, n.account_id, left(e.id_hash, 12) AS id_hash, count(*) AS n FROM named n
        JOIN erasure e ON e.account_id = n.account_id AND e.id_hash = sha256(n.id) GROUP BY ALL""",
    ),
    Invariant(
        25,
        "reported_money_is_the_money",
        "Report, ledger and Stripe agree on what our retries brought in, to the minor unit",
        """WITH told AS (
          SELECT account_id, livemode, currency, sum(amount_minor) AS minor FROM reported_attempt
          WHERE is_succeeded AND settled_at < (SELECT max(as_of) - INTERVAL 15 MINUTE FROM reported_at) GROUP BY ALL
        ), held AS (
          SELECT account_id, livemode, currency, sum(amount_minor) AS minor FROM attempt
          WHERE state = 'succeeded' AND settled_at < (SELECT max(as_of) - INTERVAL 15 MINUTE FROM reported_at)
          GROUP BY ALL
        ), paid AS (
          SELECT a.account_id, a.livemode, a.currency, a.amount_minor, c.amount_minor AS charged, b.amount_minor AS booked
          FROM attempt a LEFT JOIN charges c ON c.id = a.charge_id AND c.account_id = a.account_id
          LEFT JOIN balance_transactions b ON b.source_id = a.charge_id AND b.account_id = a.account_id
            AND b.type IN ('charge', 'payment') AND b.currency = a.currency
          WHERE a.state = 'succeeded')
        SELECT 'report' AS side, account_id, currency, held.minor AS ledger_minor, told.minor AS other_minor
        FROM held FULL JOIN told USING (account_id, livemode, currency) WHERE held.minor IS DISTINCT FROM told.minor
        UNION ALL
        SELECT 'charges', account_id, currency, sum(amount_minor), sum(charged) FROM paid WHERE charged IS NOT NULL
        GROUP BY account_id, livemode, currency HAVING sum(amount_minor) <> sum(charged)
        UNION ALL
        SELECT 'balance', account_id, currency, sum(amount_minor), sum(booked) FROM paid WHERE booked IS NOT NULL
        GROUP BY account_id, livemode, currency HAVING sum(amount_minor) <> sum(booked)""",
    ),
    Invariant(
        26,
        "pages_hold_the_slot_of_their_case",
        "Each page at Stripe is an attempt of its case and no other is open beside it, for the amount owed",
        f"""SELECT a.id, a.case_id, 'no page is known of it' AS what FROM attempt a
        WHERE a.operation = 'checkout.session' AND NOT EXISTS (
          SELECT 1 FROM checkout_session s WHERE s.attempt_id = a.id AND s.case_id = a.case_id)
        UNION ALL
        SELECT a.id, a.case_id, 'it is no attempt of that kind' FROM checkout_session s
        JOIN attempt a ON a.id = s.attempt_id WHERE a.operation IS DISTINCT FROM 'checkout.session' OR a.executed
        UNION ALL
        SELECT a.id, a.case_id, 'another attempt is open beside it' FROM attempt a
        JOIN attempt b ON b.case_id = a.case_id AND b.id <> a.id AND b.state IN {UNRESOLVED}
        WHERE a.operation = 'checkout.session' AND a.state IN {UNRESOLVED}
        UNION ALL
        SELECT a.id, a.case_id, 'its amount is not the one owed' FROM attempt a
        JOIN recovery_case k ON k.id = a.case_id
        WHERE a.operation = 'checkout.session' AND a.params <> '{{}}'
          AND (json_extract_string(a.params, '$.line_items[0].price_data.unit_amount') <> k.amount_minor::VARCHAR
            OR json_extract_string(a.params, '$.line_items[0].price_data.currency') <> k.currency
            OR json_extract_string(a.params, '$.line_items[0].quantity') <> '1')
        UNION ALL
        SELECT a.id, a.case_id, 'open and of no name' FROM attempt a JOIN checkout_session s ON s.attempt_id = a.id
        WHERE a.state IN ('requires_action', 'succeeded') AND s.session_id IS NULL""",
    ),
    Invariant(
        27,
        "a_debt_has_one_object_that_can_be_paid",
        "What took an intent's place is paid only after the one before was cancelled, and no page outlives its day",
        f"""SELECT a.id, a.case_id, 'the intent before the page was not cancelled' AS what FROM attempt a
        JOIN payment_intents p ON p.id = a.object_id AND p.account_id = a.account_id
        WHERE a.operation = 'checkout.session' AND a.state IN ('requires_action', 'succeeded')
          AND p.canceled_at IS NULL AND a.called_at < (SELECT max(fetched_at) FROM charges) - INTERVAL 10 MINUTE
        UNION ALL
        SELECT a.id, a.case_id, 'open a day after its end' FROM attempt a
        JOIN checkout_session s ON s.attempt_id = a.id
        WHERE a.state IN {UNRESOLVED} AND s.expires_at < {NOW} - INTERVAL 24 HOUR AND a.answer IS DISTINCT FROM 'bank_debit'""",
    ),
)
