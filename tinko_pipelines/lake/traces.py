"""What Tinko itself has left at Stripe: the attempts that intents and charges name."""

from tinko_pipelines.lake.store import Lake

NAMED = """
SELECT DISTINCT json_extract_string(metadata, '$.tinko_attempt') AS name
FROM (SELECT account_id, metadata FROM payment_intents UNION ALL SELECT account_id, metadata FROM charges)
WHERE account_id = ? AND json_valid(metadata) AND regexp_full_match(name, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}') LIMIT ?
"""
MOST = 1000


def attempts_named(lake: Lake, account_id: str) -> set[str]:
    """The ids of attempts found in the lake; at most `MOST`, since one is enough to know that there were some.

    What has not the form of our ids was written by others, and is no trace of ours.
    """
    with lake.connect("payment_intents", "charges") as connection:
        return {str(row[0]) for row in connection.execute(NAMED, [account_id, MOST]).fetchall()}
