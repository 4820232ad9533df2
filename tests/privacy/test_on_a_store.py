"""A person erased from a lake on an object store, and kept from coming back by the webhook inbox."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.object_store import LocalS3
from tests.privacy.conftest import Person, settled
from tests.privacy.places import unpacked, where
from tests.retry.shop import Shop
from tinko_pipelines.ledger.schema import webhook_event
from tinko_pipelines.sandbox.process import SandboxProcess


@pytest.fixture
def shop(s3: LocalS3, tmp_path: Path) -> Iterator[Shop]:
    url, options = s3.bucket("erasing"), json.dumps(s3.options())
    with SandboxProcess(tmp_path / "sandbox", seed=5, charges=60, history_days=10) as process:
        made = Shop(process.base, tmp_path / "state", lake_url=url, lake_options=options)
        yield made
        made.app.ledger.close()


def in_store(shop: Shop, needles: set[str]) -> list[str]:
    """The files on the store that tell of him."""
    place = shop.app.lake.place
    names = [name for folder in ("raw", "tables", "derived", "notes") for name in place.names(folder)]
    assert names
    found = {name: content + unpacked(name, content) for name in names if (content := place.read(name))}
    return [name for name, content in found.items() if any(one.encode() in content for one in needles)]


def events_of(shop: Shop, customer: str) -> list[dict[str, Any]]:
    with shop.app.account().reader() as reader:
        pages = [item for page in reader.pages("events") for item in page.data]
    return [one for one in pages if customer in json.dumps(one)]


@pytest.mark.slow
def test_the_store_is_emptied_of_him_and_a_webhook_brings_him_not_back(shop: Shop, person: Person) -> None:
    app = shop.app
    settled(shop, person)
    app.ingest_changes()
    told = events_of(shop, person.customer)
    before = in_store(shop, person.needles)
    assert {name.split("/")[0] for name in before} >= {"raw", "tables"}
    rows = app.lake.table("charges").num_rows

    assert app.erase_person(person.customer, apply=True).done
    assert in_store(shop, person.needles) == []
    assert where(person.state, app.ledger, person.needles) == {}
    assert app.lake.table("charges").num_rows == rows

    fresh = [{**one, "id": f"{one['id']}_late"} for one in told]
    lines = b"\n".join(json.dumps(one).encode() for one in fresh)
    assert app.replay_events(io.BytesIO(lines)).taken == len(fresh)
    with app.ledger.read() as connection:
        payloads = connection.execute(select(webhook_event.c.payload)).scalars().all()
    assert any(payloads), "what of them is money is kept"
    assert where(person.state, app.ledger, person.needles) == {}
    done = app.empty_inbox()
    assert (done.landed, done.failed) == (len(fresh), 0)
    app.ingest_changes()
    assert in_store(shop, person.needles) == []
    assert where(person.state, app.ledger, person.needles) == {}
