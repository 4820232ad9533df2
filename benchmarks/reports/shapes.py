"""What Stripe, the classification and the ledger hold of each life as of a moment: one SELECT for each table.

`$t` is the moment, `$a` and `$b` the bounds of `created_at`. Columns that are not named are null.
"""

SEEN = "greatest(created_at, coalesce(touched_at, created_at)) + INTERVAL 5 MINUTE AS fetched_at"
WRONG = "coalesce(r.created_at <= $t, false)"

LAKE = {
    "charges": f"""
      SELECT *, {SEEN}, fetched_at AS version_at FROM (
      SELECT name('ch_', c.n * 10 + c.k) AS id, c.created_at,
        greatest(CASE WHEN r.created_at <= $t THEN r.created_at END, CASE WHEN x.created_at <= $t THEN x.created_at END) AS touched_at,
        d.currency, c.status, name('cus_', d.customer) AS customer_id,
        name(CASE c.k WHEN 8 THEN 'pj_' ELSE 'pi_' END, c.n) AS payment_intent_id,
        name('pm_', d.customer) AS payment_method_id, 'card' AS payment_method_type, 'visa' AS card_brand, 'visa' AS card_network,
        'US' AS card_country, 'credit' AS card_funding, name('fp', d.customer) AS card_fingerprint,
        CASE WHEN c.status = 'failed' THEN 'card_declined' END AS failure_code,
        CASE WHEN c.status = 'failed' THEN 'Your card was declined.' END AS failure_message,
        CASE WHEN c.status = 'failed' THEN 'issuer_declined' ELSE 'authorized' END AS outcome_type,
        CASE WHEN c.status = 'failed' THEN d.code END AS outcome_reason, 'normal' AS outcome_risk_level,
        CASE WHEN c.status = 'succeeded' THEN name('txn_', c.n * 10 + c.k) END AS balance_transaction_id,
        d.amount_minor, CASE WHEN c.status = 'succeeded' THEN d.amount_minor ELSE 0 END AS amount_captured_minor,
        CASE WHEN NOT {WRONG} OR c.k <> 9 THEN 0 WHEN r.is_whole THEN d.amount_minor ELSE d.amount_minor // 2 END AS amount_refunded_minor,
        12 AS card_exp_month, 2030 AS card_exp_year, c.status = 'succeeded' AS paid, c.status = 'succeeded' AS captured,
        coalesce({WRONG} AND r.is_whole AND c.k = 9, false) AS refunded,
        coalesce(x.created_at <= $t AND c.k = 9, false) AS disputed, '{{}}' AS metadata
      FROM charge c JOIN debt d ON c.n = d.n LEFT JOIN refund r ON c.n = r.n AND c.k = 9 LEFT JOIN dispute x ON c.n = x.n AND c.k = 9
      WHERE c.created_at >= $a AND c.created_at < $b)""",
    "balance_transactions": """
      SELECT name('txn_', c.n * 10 + c.k) AS id, c.created_at, name('ch_', c.n * 10 + c.k) AS source_id, 'charge' AS type,
        'charge' AS reporting_category, d.currency, 'available' AS status, d.amount_minor, 30 AS fee_minor,
        d.amount_minor - 30 AS net_minor
      FROM charge c JOIN debt d ON c.n = d.n WHERE c.status = 'succeeded' AND c.created_at >= $a AND c.created_at < $b""",
    "payment_intents": f"""
      SELECT *, {SEEN}, fetched_at AS version_at FROM (
      SELECT name('pi_', d.n) AS id, d.created_at, p.created_at AS touched_at, d.currency,
        CASE WHEN NOT d.fails OR p.n IS NOT NULL THEN 'succeeded' WHEN (d.ending AND d.created_at + INTERVAL 20 DAY <= $t) AND NOT d.is_invoice THEN 'canceled'
             ELSE 'requires_payment_method' END AS status,
        name('cus_', d.customer) AS customer_id, name('pm_', d.customer) AS payment_method_id, d.amount_minor,
        CASE WHEN (d.ending AND d.created_at + INTERVAL 20 DAY <= $t) AND NOT d.is_invoice THEN d.created_at + INTERVAL 20 DAY END AS canceled_at, '{{}}' AS metadata
      FROM debt d LEFT JOIN charge p ON d.n = p.n AND p.k = 9 AND d.fails AND p.created_at <= $t WHERE d.created_at >= $a AND d.created_at < $b)
      UNION ALL BY NAME
      SELECT name('pj_', c.n) AS id, c.created_at, c.created_at AS fetched_at, 'succeeded' AS status, d.amount_minor, '{{}}' AS metadata,
        d.currency, name('cus_', d.customer) AS customer_id FROM charge c JOIN debt d ON c.n = d.n WHERE c.k = 8 AND c.created_at >= $a AND c.created_at < $b""",
    "invoices": f"""
      SELECT *, {SEEN}, fetched_at AS version_at FROM (
      SELECT name('in_', d.n) AS id, d.created_at, coalesce(p.created_at, CASE WHEN (d.ending AND d.created_at + INTERVAL 20 DAY <= $t) THEN d.created_at + INTERVAL 20 DAY END) AS touched_at, d.currency,
        CASE WHEN NOT d.fails OR p.n IS NOT NULL THEN 'paid' WHEN (d.ending AND d.created_at + INTERVAL 20 DAY <= $t) THEN 'void' ELSE 'open' END AS status,
        'charge_automatically' AS collection_method, name('cus_', d.customer) AS customer_id, name('sub_', d.customer) AS subscription_id,
        'subscription_cycle' AS billing_reason, d.amount_minor AS amount_due_minor, d.amount_minor AS total_minor,
        CASE WHEN d.fails AND p.n IS NULL THEN d.amount_minor ELSE 0 END AS amount_remaining_minor,
        CASE WHEN d.fails THEN p.created_at ELSE d.created_at END AS paid_at,
        CASE WHEN (d.ending AND d.created_at + INTERVAL 20 DAY <= $t) THEN d.created_at + INTERVAL 20 DAY END AS voided_at
      FROM debt d LEFT JOIN charge p ON d.n = p.n AND p.k = 9 AND d.fails AND p.created_at <= $t WHERE d.is_invoice AND d.created_at >= $a AND d.created_at < $b)""",
    "invoice_payments": """
      SELECT name('inpay_', n) AS id, created_at, name('in_', n) AS invoice_id, 'payment_intent' AS payment_type,
        name('pi_', n) AS payment_intent_id, currency FROM debt WHERE is_invoice AND created_at >= $a AND created_at < $b""",
    "customers": "SELECT name('cus_', n) AS id, created_at, false AS delinquent, 'US' AS country FROM debt WHERE n = customer AND created_at >= $a AND created_at < $b",
    "subscriptions": """
      SELECT name('sub_', n) AS id, created_at, CASE WHEN ended THEN 'canceled' ELSE 'active' END AS status, currency,
        name('cus_', n) AS customer_id, name('price_', n % 5) AS price_id, CASE WHEN ended THEN over_at END AS ended_at,
        CASE WHEN ended THEN over_at END AS canceled_at, CASE WHEN ended THEN 'cancellation_requested' END AS cancellation_reason
      FROM (SELECT *, created_at + to_seconds((draw(n, 61) * 86400 * 400)::INT) AS over_at,
        draw(n, 60) < 0.2 AND over_at <= $t AS ended FROM debt WHERE n = customer AND created_at >= $a AND created_at < $b)""",
    "prices": """
      SELECT name('price_', n) AS id, created_at, 'usd' AS currency, 'recurring' AS type, 'month' AS interval, 'Plan ' || n AS nickname,
        1000 * (n + 1) AS unit_amount_minor, 1 AS interval_count, true AS active FROM debt WHERE n < 5 AND created_at >= $a AND created_at < $b""",
    "refunds": """
      SELECT name('re_', r.n) AS id, r.created_at, name('ch_', r.n * 10 + 9) AS charge_id,
        name('pi_', r.n) AS payment_intent_id, d.currency, 'succeeded' AS status,
        CASE WHEN r.is_whole THEN d.amount_minor ELSE d.amount_minor // 2 END AS amount_minor
      FROM refund r JOIN debt d ON r.n = d.n WHERE r.created_at >= $a AND r.created_at < $b""",
    "disputes": """
      SELECT name('dp_', x.n) AS id, x.created_at, name('ch_', x.n * 10 + 9) AS charge_id, d.currency, d.amount_minor,
        name('pi_', x.n) AS payment_intent_id,
        CASE WHEN x.decided_at > $t THEN 'needs_response' WHEN x.is_won THEN 'won' ELSE 'lost' END AS status
      FROM dispute x JOIN debt d ON x.n = d.n WHERE x.created_at >= $a AND x.created_at < $b""",
    "events": """
      SELECT name('evt_', c.n * 10 + c.k) AS id, c.created_at, 'invoice.payment_failed' AS type, 'invoice' AS object_type,
        name('in_', c.n) AS object_id, c.created_at + INTERVAL 73 HOUR AS next_payment_attempt_at
      FROM charge c JOIN debt d ON c.n = d.n WHERE c.status = 'failed' AND d.is_invoice AND c.k < d.retries AND c.created_at >= $a AND c.created_at < $b""",
}  # fmt: skip

TOUCHED = {
    "charges": "SELECT c.created_at FROM refund r JOIN charge c ON r.n = c.n AND c.k = 9 WHERE r.created_at > $s AND r.created_at <= $t"
    " UNION ALL SELECT c.created_at FROM dispute x JOIN charge c ON x.n = c.n AND c.k = 9 WHERE x.created_at > $s AND x.created_at <= $t",
    "disputes": "SELECT created_at FROM dispute WHERE decided_at > $s AND decided_at <= $t",
    "invoices": "SELECT d.created_at FROM debt d JOIN charge c ON d.n = c.n AND c.k = 9 AND d.fails AND d.is_invoice WHERE c.created_at > $s AND c.created_at <= $t"
    " UNION ALL SELECT created_at FROM debt WHERE is_invoice AND ending AND created_at + INTERVAL 20 DAY > $s AND created_at + INTERVAL 20 DAY <= $t",
    "payment_intents": "SELECT d.created_at FROM debt d JOIN charge c ON d.n = c.n AND c.k = 9 AND d.fails WHERE c.created_at > $s AND c.created_at <= $t"
    " UNION ALL SELECT created_at FROM debt WHERE NOT is_invoice AND ending AND created_at + INTERVAL 20 DAY > $s AND created_at + INTERVAL 20 DAY <= $t",
    "subscriptions": "SELECT created_at FROM (SELECT n, created_at, created_at + to_seconds((draw(n, 61) * 86400 * 400)::INT) AS over_at"
    " FROM debt WHERE n = customer AND draw(n, 60) < 0.2) WHERE over_at > $s AND over_at <= $t",
}  # fmt: skip
"""When the objects were created that changed after `$s` and by `$t`: their days are written anew."""

FAILED = """
SELECT d.n, 'acct_1' AS account_id, false AS livemode, CASE WHEN d.is_invoice THEN 'invoice' ELSE 'payment_intent' END AS debt_kind,
  name(CASE WHEN d.is_invoice THEN 'in_' ELSE 'pi_' END, d.n) AS debt_id, CASE WHEN d.is_invoice THEN name('in_', d.n) END AS invoice_id,
  name('pi_', d.n) AS payment_intent_id, name('ch_', d.n * 10) AS first_charge_id, name('ch_', d.n * 10 + f.last_k) AS last_charge_id,
  d.created_at AS first_failed_at, f.last_failed_at, f.failed_charges, name('cus_', d.customer) AS customer_id,
  CASE WHEN d.is_invoice THEN name('sub_', d.customer) END AS subscription_id, d.amount_minor, d.currency,
  CASE WHEN p.n IS NOT NULL AND r.is_whole THEN 'refunded' WHEN p.n IS NOT NULL THEN 'paid'
       WHEN (d.ending AND d.created_at + INTERVAL 20 DAY <= $t) AND d.is_invoice THEN 'void' WHEN (d.ending AND d.created_at + INTERVAL 20 DAY <= $t) THEN 'canceled' ELSE 'open' END AS status,
  p.created_at AS paid_at, CASE WHEN p.n IS NOT NULL THEN name('ch_', d.n * 10 + 9) END AS paid_charge_id,
  CASE WHEN r.n IS NULL THEN 0 WHEN r.is_whole THEN d.amount_minor ELSE d.amount_minor // 2 END AS refunded_minor,
  x.n IS NOT NULL AS disputed, name('pm_', d.customer) AS payment_method_id, 'card' AS payment_method_type,
  'visa' AS card_brand, 'visa' AS card_network, 'US' AS card_country, name('fp', d.customer) AS card_fingerprint,
  false AS card_changed_since_failure, d.code, 'card_declined' AS failure_code, 'Your card was declined.' AS failure_message,
  'issuer_declined' AS outcome_type, d.code AS outcome_reason,
  CASE WHEN d.is_invoice THEN 'charge_automatically' END AS collection_method, false AS off_session_consent, false AS customer_deleted,
  CASE WHEN d.is_invoice THEN 'active' END AS subscription_status,
  CASE WHEN e.n IS NOT NULL AND p.n IS NULL THEN name('pj_', d.n) END AS paid_elsewhere_by,
  CASE WHEN e.n IS NOT NULL AND p.n IS NULL THEN name('ch_', d.n * 10 + 8) END AS paid_elsewhere_charge_id, 'credit' AS card_funding,
  CASE WHEN d.is_invoice THEN name('price_', d.customer % 5) END AS price_id,
  CASE WHEN d.is_invoice THEN 'subscription_cycle' END AS billing_reason
FROM debt d
JOIN (SELECT n, max(k) AS last_k, max(created_at) AS last_failed_at, count(*) AS failed_charges FROM charge
      WHERE status = 'failed' AND created_at <= $t GROUP BY n) f ON d.n = f.n
LEFT JOIN charge p ON d.n = p.n AND p.k = 9 AND p.created_at <= $t
LEFT JOIN charge e ON d.n = e.n AND e.k = 8 AND e.created_at <= $t
LEFT JOIN refund r ON d.n = r.n AND r.created_at <= $t
LEFT JOIN dispute x ON d.n = x.n AND x.created_at <= $t
ORDER BY d.created_at, debt_id
"""

VERDICT = """
  CASE code WHEN 'insufficient_funds' THEN 'insufficient_funds' WHEN 'expired_card' THEN 'card_expired' WHEN 'lost_card' THEN
  'lost_or_stolen' ELSE 'do_not_honor' END AS category, CASE code WHEN 'expired_card' THEN 'customer' WHEN 'lost_card' THEN 'stop' ELSE
  'retry' END AS move, 'because' AS reason, 'r1' AS rule, 'rule' AS source, 1.0::DOUBLE AS confidence, true AS retry_same_card
"""

LEDGER = {
    "recovery_case": f"""
      SELECT name('case_', e.n) AS id, 'acct_1' AS account_id, false AS livemode, f.debt_kind, f.debt_id, f.debt_id AS live_object_id,
        f.invoice_id, f.payment_intent_id, f.customer_id, f.card_fingerprint, f.card_brand, f.amount_minor, f.currency,
        CASE WHEN e.closed_at > $t THEN 'open' WHEN e.ours IS NOT NULL THEN 'recovered' WHEN e.paid_at IS NOT NULL THEN 'paid_elsewhere'
             ELSE 'exhausted' END AS state, v.category, v.move, 'rule' AS verdict_source, 'r1' AS verdict_rule, 1.0 AS verdict_confidence,
        f.code AS decline_code, 'ladder-1' AS policy_version,
        CASE WHEN v.move = 'retry' THEN '{{"retries": ["' || strftime(e.opened_at + INTERVAL 3 DAY, '%Y-%m-%dT%H:%M:%S+00:00') || '", "' ||
          strftime(e.opened_at + INTERVAL 6 DAY, '%Y-%m-%dT%H:%M:%S+00:00') || '"], "chances": [0.3, 0.2]}}' ELSE '{{}}' END AS plan,
        f.first_failed_at, f.first_failed_at + INTERVAL 21 DAY AS plan_ends_at,
        CASE WHEN e.closed_at > $t THEN $t::TIMESTAMPTZ + INTERVAL 6 HOUR END AS due_at,
        CASE WHEN v.move = 'retry' THEN 3 ELSE 0 END AS max_attempts, 0 AS executed_attempts, 1 AS version,
        e.opened_at AS created_at, e.opened_at AS updated_at, CASE WHEN e.closed_at <= $t THEN e.closed_at END AS closed_at
      FROM effort e JOIN failed f ON f.n = e.n JOIN (SELECT n, {VERDICT} FROM failed) v ON e.n = v.n WHERE e.opened_at <= $t ORDER BY e.n""",
    "attempt": """
      SELECT name('case_', c.n) || ':' || row_number() OVER (PARTITION BY c.n ORDER BY c.created_at) AS id, name('case_', c.n) AS case_id,
        row_number() OVER (PARTITION BY c.n ORDER BY c.created_at) AS n, 'acct_1' AS account_id, false AS livemode, f.amount_minor, f.currency,
        'invoice.pay' AS operation, f.debt_id AS object_id, CASE WHEN c.status = 'failed' THEN 'declined' ELSE 'succeeded' END AS state,
        c.created_at AS prepared_at, c.created_at AS called_at, c.created_at + INTERVAL 2 SECOND AS settled_at, true AS executed,
        name('ch_', c.n * 10 + c.k) AS charge_id, CASE WHEN c.status = 'failed' THEN f.code END AS decline_code, 'visa' AS card_brand,
        name('k', c.n * 10 + c.k) AS idempotency_key, '{}' AS params, 1 AS fence, false AS forbids_card
      FROM charge c JOIN effort e ON c.n = e.n JOIN failed f ON c.n = f.n
      WHERE c.ours IS NOT NULL AND c.created_at BETWEEN e.opened_at AND $t ORDER BY c.n, 3""",
    "message": """
      SELECT name('case_', m.n) || '/' || m.step AS id, name('case_', m.n) AS case_id, 'acct_1' AS account_id, false AS livemode, m.step,
        'dunning' AS kind, 'update_card' AS template, 'en' AS locale, CASE WHEN m.due_at <= $t THEN 'sent' ELSE 'scheduled' END AS state,
        m.due_at, CASE WHEN m.due_at <= $t THEN m.due_at END AS sent_at, 1 AS fence
      FROM mail m JOIN effort e ON m.n = e.n WHERE e.opened_at <= $t AND (m.due_at <= $t OR e.closed_at > $t) ORDER BY m.n, m.step""",
    "network_attempt": """
      SELECT name('ch_', c.n * 10 + c.k) AS charge_id, 'acct_1' AS account_id, false AS livemode, name('fp', d.customer) AS card_fingerprint,
        'visa' AS card_brand, c.created_at AS at, d.amount_minor, d.currency, c.status = 'failed' AS declined, c.ours IS NOT NULL AS ours
      FROM charge c JOIN debt d ON c.n = d.n WHERE (c.status = 'failed' OR c.ours IS NOT NULL) AND c.created_at <= $t ORDER BY c.n, c.k""",
    "cap_refusal": """
      SELECT n AS id, name('case_', n) AS case_id, 'acct_1' AS account_id, 'tinko_card_24h' AS rule, 'x' AS subject,
        opened_at + INTERVAL 3 DAY AS at, opened_at + INTERVAL 4 DAY AS free_at
      FROM effort WHERE draw(n, 70) < 0.02 AND opened_at + INTERVAL 3 DAY <= $t ORDER BY n""",
    "recovery_link": """
      SELECT name('link_', n) AS id, name('case_', n) AS case_id, 'acct_1' AS account_id, false AS livemode, name('t', n) AS token_sha256,
        opened_at AS created_at, opened_at + INTERVAL 30 DAY AS expires_at, CASE WHEN opened_at + INTERVAL 2 DAY <= $t THEN 1 ELSE 0 END AS clicks
      FROM effort WHERE draw(n, 71) < 0.3 AND opened_at <= $t ORDER BY n""",
    "webhook_event": """
      SELECT name('evt_', c.n * 10 + c.k) AS event_id, 'acct_1' AS account_id, false AS livemode, c.created_at AS received_at,
        c.created_at AS processed_at, c.created_at AS landed_at
      FROM charge c WHERE c.status = 'failed' AND c.created_at <= $t AND c.created_at > $t::TIMESTAMPTZ - INTERVAL 30 DAY ORDER BY c.n, c.k""",
}  # fmt: skip
