"""The life of every debt of a made-up business, as tables in DuckDB. What is written of it by when is `world`'s.

All of it follows from numbers: the same charge has the same life in every run, and in a world of any size. Nothing is
random, and nothing knows what day it is; who asks for the state as of a moment leaves out what happens later.
"""

from datetime import UTC, datetime, timedelta

import duckdb

BEGAN = datetime(2023, 1, 1, tzinfo=UTC)
CHARGES_A_DAY = 10_000
CHARGES_PER_DEBT = 1.181
HORIZON_DAYS = 5
"""So many days beyond the last are lived too, to be added one by one."""
FAILS_PERCENT = 10

DRAW = "CREATE OR REPLACE MACRO draw(n, what) AS (hash(n * 1000003 + what) % 1000000) / 1e6"
NAME = (
    "CREATE OR REPLACE MACRO name(prefix, n) AS prefix || lower(hex(hash(n * 31 + 7))) || printf('%08x', n)"
)
"""As long as Stripe's, in no order, and of each number another."""

DEBT = """
CREATE TABLE debt AS
SELECT n, draw(n, 1) < 0.6 AS is_invoice, n % greatest($customers, 1) AS customer,
  CASE WHEN draw(n, 2) < 0.8 THEN 'usd' WHEN draw(n, 2) < 0.95 THEN 'eur' ELSE 'jpy' END AS currency,
  (500 + floor(exp(draw(n, 3) * 5) * 300))::BIGINT AS amount_minor,
  $began::TIMESTAMPTZ + to_microseconds((n / $debts_a_day * 86400e6)::BIGINT) AS created_at,
  draw(n, 4) < $fails AS fails,
  list_extract(['insufficient_funds', 'do_not_honor', 'expired_card', 'generic_decline', 'lost_card'],
               1 + least(floor(draw(n, 5) * draw(n, 5) * 5), 4)::INT) AS code,
  draw(n, 6) AS fate, fails AND fate BETWEEN 0.6 AND 0.63 AS ending, floor(draw(n, 7) * 4)::INT AS retries,
  to_seconds((draw(n, 8) * 86400 * 12 + 3600)::INT) AS paid_after
FROM range($debts) r(n)
"""
"""`fate`: below 0.6 the failed debt is paid, below 0.63 voided or cancelled, else owed until its case is given up."""

CHARGE = """
CREATE TABLE charge AS
WITH failing AS (
  SELECT n, k, created_at + to_hours(k * 73) AS created_at FROM debt, range(0, 4) r(k) WHERE fails AND k <= retries
), paying AS (
  SELECT n, 9 AS k, created_at + paid_after AS created_at FROM debt WHERE fails AND fate < 0.6
)
SELECT d.n, 9 AS k, 'succeeded' AS status, d.created_at, NULL::INT AS ours FROM debt d WHERE NOT fails
UNION ALL
SELECT f.n, f.k, 'failed', f.created_at, CASE WHEN f.k > 0 AND draw(f.n, 20) < 0.6 THEN f.k END
FROM failing f LEFT JOIN paying p ON f.n = p.n WHERE p.created_at IS NULL OR f.created_at < p.created_at
UNION ALL
SELECT p.n, 9, 'succeeded', p.created_at, CASE WHEN draw(p.n, 21) < 0.4 THEN 9 END FROM paying p
UNION ALL
SELECT n, 8, 'succeeded', created_at + INTERVAL 1 HOUR, NULL FROM debt WHERE fails AND NOT is_invoice AND fate BETWEEN 0.63 AND 0.7
"""
"""The k-th charge of a debt: the first and its retries, 9 the one that pays, 8 one of a second intent that pays instead."""

GIVEN_BACK = """
CREATE TABLE refund AS
SELECT n, created_at + to_seconds((-ln(1 - draw(n, 30) * 0.9999999) * 86400 * 18)::INT) AS created_at,
  draw(n, 31) < 0.5 AS is_whole
FROM charge WHERE k = 9 AND draw(n, 32) < 0.03;
CREATE TABLE dispute AS
SELECT n, created_at + to_seconds((86400 * (3 + 60 * draw(n, 40) * draw(n, 40)))::INT) AS created_at,
  created_at + to_seconds((86400 * (3 + 60 * draw(n, 40) * draw(n, 40) + 30))::INT) AS decided_at,
  draw(n, 41) < 0.3 AS is_won
FROM charge WHERE k = 9 AND draw(n, 42) < 0.004
"""
"""Most refunds come within weeks; some of a year ago come every day."""

EFFORT = """
CREATE TABLE effort AS
SELECT d.n, d.created_at + INTERVAL 1 HOUR AS opened_at,
  least(coalesce(p.created_at, d.created_at + INTERVAL 21 DAY), d.created_at + INTERVAL 21 DAY) + INTERVAL 5 MINUTE AS closed_at,
  p.created_at AS paid_at, p.ours
FROM debt d LEFT JOIN charge p ON d.n = p.n AND p.k = 9 WHERE d.fails AND draw(d.n, 50) < 0.9;
CREATE TABLE mail AS
SELECT e.n, s.step, e.opened_at + to_days((s.step * s.step)::INT) AS due_at
FROM effort e, range(1, 4) s(step) WHERE e.opened_at + to_days((s.step * s.step)::INT) < e.closed_at
"""


def live(connection: duckdb.DuckDBPyConnection, charges: int) -> datetime:
    """Make the lives that fill so many charges and some days more; the moment by which so many were made."""
    days = max(round(charges / CHARGES_A_DAY), 1)
    debts_a_day = CHARGES_A_DAY / CHARGES_PER_DEBT
    debts = round((days + HORIZON_DAYS) * debts_a_day)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(DRAW)
    connection.execute(NAME)
    told = {"debts": debts, "customers": debts // 10, "began": BEGAN, "debts_a_day": debts_a_day}
    connection.execute(DEBT, {**told, "fails": FAILS_PERCENT / 100})
    for statement in (CHARGE, GIVEN_BACK, EFFORT):
        connection.execute(statement)
    return BEGAN + timedelta(days=days)
