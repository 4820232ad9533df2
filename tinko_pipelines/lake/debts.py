"""Which payments failed: one row per debt whose first charge failed, with what Stripe shows of it now.

One query over the lake. It states facts; whose move it is and whether a card may be tried again is decided later.
"""

from datetime import datetime

import pyarrow as pa

from tinko_pipelines.lake.schemas import ERASED, FLAG, MOMENT, TEXT, WHOLE
from tinko_pipelines.lake.store import Lake

FAILED_PAYMENTS = pa.schema(
    [
        ("account_id", TEXT), ("livemode", FLAG), ("debt_kind", TEXT), ("debt_id", TEXT), ("invoice_id", TEXT),
        ("payment_intent_id", TEXT), ("first_charge_id", TEXT), ("last_charge_id", TEXT),
        ("first_failed_at", MOMENT), ("last_failed_at", MOMENT), ("failed_charges", WHOLE),
        ("customer_id", TEXT), ("subscription_id", TEXT), ("amount_minor", WHOLE), ("currency", TEXT),
        ("status", TEXT), ("paid_at", MOMENT), ("paid_charge_id", TEXT), ("refunded_minor", WHOLE),
        ("disputed", FLAG), ("payment_method_id", TEXT), ("payment_method_type", TEXT), ("card_brand", TEXT),
        ("card_network", TEXT), ("card_country", TEXT), ("card_fingerprint", TEXT),
        ("card_changed_since_failure", FLAG), ("code", TEXT), ("failure_code", TEXT), ("failure_message", TEXT),
        ("outcome_type", TEXT), ("outcome_reason", TEXT), ("network_decline_code", TEXT),
        ("network_advice_code", TEXT), ("advice_code", TEXT), ("next_payment_attempt_at", MOMENT),
        ("collection_method", TEXT), ("off_session_consent", FLAG), ("customer_deleted", FLAG),
        ("subscription_status", TEXT), ("paid_elsewhere_by", TEXT), ("paid_elsewhere_charge_id", TEXT),
        ("preferred_locale", TEXT),
        ("card_funding", TEXT), ("card_issuer", TEXT), ("price_id", TEXT), ("billing_reason", TEXT),
    ]
)  # fmt: skip

READ = (
    "charges", "payment_intents", "invoices", "invoice_payments", "customers", "payment_methods", "subscriptions",
    "disputes", "checkout_sessions",
)  # fmt: skip

INTENTS = """
CREATE TEMP TABLE intent AS
SELECT id, account_id, status, setup_future_usage, json_extract_string(metadata, '$.order_id') AS order_id
FROM payment_intents
"""

GENERATIONS = """
CREATE TEMP TABLE newest AS
WITH page AS (
  SELECT account_id, json_extract_string(metadata, '$.tinko_debt') AS debt_id FROM checkout_sessions
  WHERE status = 'open' AND expires_at > getvariable('as_of') GROUP BY ALL
), taken AS (
  SELECT account_id, json_extract_string(metadata, '$.tinko_debt') AS debt_id,
    arg_max(id, (created_at, status <> 'canceled', id)) AS id
  FROM payment_intents WHERE json_extract_string(metadata, '$.tinko_debt') IS NOT NULL GROUP BY ALL
)
SELECT account_id, debt_id, taken.id, page.debt_id IS NOT NULL AS has_page
FROM taken FULL JOIN page USING (account_id, debt_id) WHERE debt_id IS NOT NULL
"""
"""Of a debt whose customer was led to a page of ours: the newest intent that took its first one's place, and whether a page
is open."""

CHARGE_OF_DEBT = """
CREATE TEMP TABLE debt_charge AS
SELECT c.* REPLACE (CASE WHEN c.status = 'succeeded' AND NOT c.captured THEN 'reserved' ELSE c.status END AS status),
  coalesce(by_intent.invoice_id, by_charge.invoice_id) AS invoice_id,
  coalesce(by_intent.invoice_id, by_charge.invoice_id, stands_for.first_id, c.payment_intent_id, c.id) AS debt_id,
  CASE WHEN coalesce(by_intent.invoice_id, by_charge.invoice_id) IS NOT NULL THEN 'invoice'
       WHEN c.payment_intent_id IS NOT NULL THEN 'payment_intent' ELSE 'charge' END AS debt_kind,
  c.status = 'failed' AND stands_for.of_page IS NULL AS is_failed_retry
FROM charges c
LEFT JOIN (SELECT account_id, id, json_extract_string(metadata, '$.tinko_debt') AS first_id,
           json_extract_string(metadata, '$.tinko_page') AS of_page FROM payment_intents) stands_for
  ON stands_for.account_id = c.account_id AND stands_for.id = c.payment_intent_id
LEFT JOIN (SELECT account_id, payment_intent_id, min(invoice_id) AS invoice_id FROM invoice_payments
           WHERE payment_intent_id IS NOT NULL GROUP BY ALL) by_intent
  ON by_intent.account_id = c.account_id AND by_intent.payment_intent_id = c.payment_intent_id
LEFT JOIN (SELECT account_id, charge_id, min(invoice_id) AS invoice_id FROM invoice_payments
           WHERE charge_id IS NOT NULL GROUP BY ALL) by_charge
  ON by_charge.account_id = c.account_id AND by_charge.charge_id = c.id
"""
"""Every charge with the debt it was for: an invoice, else a payment intent (the first of those that took its place), else
itself. What is not captured is no payment. A card tried in vain on a page of ours says nothing of the one that is retried."""

FAILED_DEBTS = """
CREATE TEMP TABLE debt AS
SELECT account_id, debt_id, any_value(livemode) AS livemode, any_value(debt_kind) AS debt_kind,
  any_value(invoice_id) AS invoice_id,
  arg_min(id, (created_at, id)) AS first_charge_id,
  arg_min(amount_minor, (created_at, id)) AS first_amount_minor,
  arg_min(currency, (created_at, id)) AS currency,
  arg_min(customer_id, (created_at, id)) AS customer_id,
  arg_max(payment_intent_id, (created_at, id)) AS payment_intent_id,
  min(created_at) FILTER (status = 'failed') AS first_failed_at,
  max(created_at) FILTER (is_failed_retry) AS last_failed_at,
  count(*) FILTER (status = 'failed') AS failed_charges,
  arg_max(id, (created_at, id)) FILTER (is_failed_retry) AS last_charge_id,
  arg_min(id, (created_at, id)) FILTER (status = 'succeeded') AS paid_charge_id,
  min(created_at) FILTER (status = 'succeeded') AS charged_at,
  bool_or(coalesce(disputed, false)) AS charge_disputed
FROM debt_charge
GROUP BY account_id, debt_id
HAVING arg_min(status, (created_at, id)) = 'failed'
"""

PAID_ELSEWHERE = f"""
CREATE TEMP TABLE elsewhere AS
SELECT d.account_id, d.debt_id, arg_min(o.debt_id, (o.created_at, o.id)) AS paid_elsewhere_by,
  arg_min(o.id, (o.created_at, o.id)) AS paid_elsewhere_charge_id
FROM debt d
LEFT JOIN intent mine ON mine.account_id = d.account_id AND mine.id = d.payment_intent_id
JOIN debt_charge o ON o.account_id = d.account_id AND o.status = 'succeeded' AND o.debt_kind <> 'invoice'
  AND o.customer_id = d.customer_id AND o.amount_minor = d.first_amount_minor AND o.currency = d.currency
  AND o.debt_id <> d.debt_id AND o.created_at >= d.first_failed_at
LEFT JOIN intent theirs ON theirs.account_id = o.account_id AND theirs.id = o.payment_intent_id
WHERE d.debt_kind <> 'invoice' AND d.customer_id <> '{ERASED}'
  AND NOT coalesce(mine.order_id <> theirs.order_id, false)
GROUP BY ALL
"""
"""A shopper declined at checkout often pays by a second intent; only two different order ids prove two orders."""

CONSENT = """
CREATE TEMP TABLE consented_method AS
SELECT DISTINCT c.account_id, c.payment_method_id, c.created_at
FROM debt_charge c
LEFT JOIN intent p ON p.account_id = c.account_id AND p.id = c.payment_intent_id
WHERE c.status = 'succeeded' AND c.payment_method_id IS NOT NULL
  AND (c.debt_kind = 'invoice' OR p.setup_future_usage = 'off_session')
"""
"""Methods that have paid for a subscription, or were saved for later by a payment that succeeded."""

DEBTS_NOW = f"""
SELECT d.account_id, d.livemode, d.debt_kind, d.debt_id, d.invoice_id,
  coalesce(n.id, d.payment_intent_id) AS payment_intent_id, d.first_charge_id, d.last_charge_id, d.first_failed_at, d.last_failed_at, d.failed_charges,
  coalesce(d.customer_id, i.customer_id) AS customer_id, i.subscription_id,
  CASE WHEN i.status = 'open' THEN coalesce(i.amount_remaining_minor, i.amount_due_minor)
       ELSE d.first_amount_minor END AS amount_minor,
  d.currency,
  CASE
    WHEN paid.id IS NOT NULL AND paid.amount_refunded_minor >= paid.amount_minor THEN 'refunded'
    WHEN paid.id IS NOT NULL OR i.status = 'paid' OR p.status = 'succeeded' THEN 'paid'
    WHEN i.status IN ('void', 'uncollectible') THEN i.status
    WHEN d.debt_kind = 'payment_intent' AND p.status = 'canceled' AND NOT coalesce(n.has_page, false) THEN 'canceled'
    ELSE 'open' END AS status,
  coalesce(d.charged_at, CASE WHEN i.status = 'paid' THEN i.paid_at END) AS paid_at,
  d.paid_charge_id, coalesce(paid.amount_refunded_minor, 0) AS refunded_minor,
  d.charge_disputed OR coalesce(disputes_of.found, false) AS disputed,
  method.id AS payment_method_id,
  coalesce(m.type, CASE WHEN method.id = last.payment_method_id THEN last.payment_method_type END) AS payment_method_type,
  coalesce(m.card_brand, last.card_brand) AS card_brand,
  coalesce(last.card_network, m.card_brand, last.card_brand) AS card_network,
  coalesce(m.card_country, CASE WHEN method.id = last.payment_method_id THEN last.card_country END) AS card_country,
  coalesce(m.card_fingerprint, CASE WHEN method.id = last.payment_method_id THEN last.card_fingerprint END) AS card_fingerprint,
  coalesce(method.id <> last.payment_method_id, false)
    AND m.card_fingerprint IS DISTINCT FROM last.card_fingerprint AS card_changed_since_failure,
  coalesce(last.outcome_reason, last.failure_code) AS code,
  last.failure_code, last.failure_message, last.outcome_type, last.outcome_reason,
  last.network_decline_code, last.network_advice_code, last.advice_code,
  CASE WHEN i.status = 'open' THEN i.next_payment_attempt_at END AS next_payment_attempt_at,
  i.collection_method,
  coalesce(m.customer_id IS NOT NULL AND m.customer_id = d.customer_id
    AND (p.setup_future_usage = 'off_session' OR EXISTS (SELECT 1 FROM consented_method k
      WHERE k.account_id = d.account_id AND k.payment_method_id = method.id)), false) AS off_session_consent,
  coalesce(cu.deleted, coalesce(d.customer_id, i.customer_id) = '{ERASED}', false) AS customer_deleted,
  s.status AS subscription_status, e.paid_elsewhere_by, e.paid_elsewhere_charge_id, cu.preferred_locale,
  coalesce(last.card_funding, m.card_funding) AS card_funding, last.card_issuer, s.price_id, i.billing_reason
FROM debt d
LEFT JOIN debt_charge last ON last.account_id = d.account_id AND last.id = d.last_charge_id
LEFT JOIN debt_charge paid ON paid.account_id = d.account_id AND paid.id = d.paid_charge_id
LEFT JOIN invoices i ON i.account_id = d.account_id AND i.id = d.invoice_id
LEFT JOIN newest n ON n.account_id = d.account_id AND n.debt_id = d.debt_id
LEFT JOIN intent p ON p.account_id = d.account_id AND p.id = coalesce(n.id, d.payment_intent_id)
LEFT JOIN subscriptions s ON s.account_id = d.account_id AND s.id = i.subscription_id
LEFT JOIN customers cu ON cu.account_id = d.account_id AND cu.id = coalesce(d.customer_id, i.customer_id)
LEFT JOIN elsewhere e ON e.account_id = d.account_id AND e.debt_id = d.debt_id
LEFT JOIN LATERAL (SELECT CASE WHEN d.debt_kind = 'invoice'
    THEN coalesce(i.default_payment_method_id, s.default_payment_method_id, cu.default_payment_method_id, last.payment_method_id)
    ELSE last.payment_method_id END AS id) method ON true
LEFT JOIN payment_methods m ON m.account_id = d.account_id AND m.id = method.id
LEFT JOIN (SELECT account_id, charge_id, true AS found FROM disputes WHERE charge_id IS NOT NULL GROUP BY ALL)
  disputes_of ON disputes_of.account_id = d.account_id AND disputes_of.charge_id = d.paid_charge_id
ORDER BY d.first_failed_at, d.account_id, d.debt_id
"""


def failed_payments(lake: Lake, now: datetime) -> pa.Table:
    """Every debt whose first charge failed, as `FAILED_PAYMENTS`; charges after `now` do not count."""
    with lake.connect(*READ) as connection:
        connection.execute("SET VARIABLE as_of = ?::TIMESTAMPTZ", [now])
        charges = CHARGE_OF_DEBT + "WHERE c.created_at <= getvariable('as_of')"
        for statement in (INTENTS, GENERATIONS, charges, FAILED_DEBTS, PAID_ELSEWHERE, CONSENT):
            connection.execute(statement)
        found: pa.Table = connection.sql(DEBTS_NOW).to_arrow_table()
    return found.select(FAILED_PAYMENTS.names).cast(FAILED_PAYMENTS)
