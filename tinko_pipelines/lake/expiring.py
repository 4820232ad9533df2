"""Which cards end soon although something is still to be charged to them. States facts; who is written to is decided later."""

from datetime import datetime

import pyarrow as pa

from tinko_pipelines.lake.schemas import ERASED, FLAG, MOMENT, TEXT
from tinko_pipelines.lake.store import Lake

EXPIRING_CARDS = pa.schema(
    [
        ("account_id", TEXT), ("livemode", FLAG), ("customer_id", TEXT), ("payment_method_id", TEXT),
        ("expires_at", MOMENT), ("preferred_locale", TEXT),
    ]
)  # fmt: skip
UPDATERS = ("payment_method.automatically_updated", "customer.source.updated")
"""The events by which Stripe tells that a bank has renewed a card by itself."""
READ = ("customers", "payment_methods", "subscriptions", "invoices", "events")

QUERY = f"""
WITH charged AS (
  SELECT s.account_id, s.livemode, s.customer_id, s.default_payment_method_id FROM subscriptions s
  WHERE s.status IN ('active', 'trialing', 'past_due') AND NOT s.deleted AND s.ended_at IS NULL
    AND NOT coalesce(s.cancel_at_period_end, false)
    AND coalesce(s.collection_method, 'charge_automatically') = 'charge_automatically'
  UNION
  SELECT i.account_id, i.livemode, i.customer_id, i.default_payment_method_id FROM invoices i
  WHERE i.status = 'draft' AND NOT i.deleted AND i.collection_method = 'charge_automatically'
), card AS (
  SELECT account_id, id, (make_timestamp(card_exp_year, card_exp_month, 1, 0, 0, 0) + INTERVAL 1 MONTH)
    AT TIME ZONE 'UTC' AS expires_at
  FROM payment_methods
  WHERE NOT deleted AND customer_id IS NOT NULL AND card_exp_month BETWEEN 1 AND 12 AND card_exp_year BETWEEN 2000 AND 2200
)
SELECT DISTINCT c.account_id, c.livemode, c.customer_id, k.id AS payment_method_id, k.expires_at, u.preferred_locale
FROM charged c
JOIN customers u ON u.account_id = c.account_id AND u.id = c.customer_id AND NOT u.deleted AND u.id <> '{ERASED}'
JOIN card k ON k.account_id = c.account_id
  AND k.id = coalesce(c.default_payment_method_id, u.default_payment_method_id)
WHERE k.expires_at > $now AND k.expires_at <= $now + to_days($days) AND NOT EXISTS (
  SELECT 1 FROM events e WHERE e.account_id = k.account_id AND e.object_id = k.id
    AND e.type IN {UPDATERS} AND e.created_at >= k.expires_at - to_days($days))
ORDER BY k.expires_at, c.account_id, k.id
"""


def expiring_cards(lake: Lake, now: datetime, days: int) -> pa.Table:
    """One row (`EXPIRING_CARDS`) for each default card that ends in the next `days` days and is still to be charged.

    By a subscription that goes on, or by an invoice that is being drawn up. A card ends with its month, here by UTC. One that
    the updater has told of since those days began is left out.
    """
    with lake.connect(*READ) as connection:
        found: pa.Table = connection.sql(QUERY, params={"now": now, "days": days}).to_arrow_table()
    return found.cast(EXPIRING_CARDS)
