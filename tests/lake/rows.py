"""Putting single objects into a lake, as if they had been read."""

from datetime import datetime
from typing import Any

import pyarrow as pa

from tinko_pipelines.gateway.bulk import API_VERSION
from tinko_pipelines.lake.merge import Upserted
from tinko_pipelines.lake.parse import Malformed, Origin, parse
from tinko_pipelines.lake.schemas import BY_STRIPE_OBJECT, OBJECTS
from tinko_pipelines.lake.store import Lake


def origin(at: datetime, account_id: str = "default") -> Origin:
    return Origin(account_id, False, at, API_VERSION)


def put(lake: Lake, at: datetime, *items: dict[str, Any], account_id: str = "default") -> Upserted:
    total = Upserted()
    for item in items:
        name = BY_STRIPE_OBJECT[item["object"]]
        row = parse(OBJECTS[name], item, origin(at, account_id))
        assert not isinstance(row, Malformed), row
        total = total.plus(
            lake.upsert(name, account_id, pa.Table.from_pylist([row], schema=OBJECTS[name].schema))
        )
    return total
