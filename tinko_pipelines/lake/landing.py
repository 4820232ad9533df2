"""Events that were told of by webhook, brought into the lake: each as it came, and its object as it is now.

An event's own copy of its object is as old as the event, so that is never taken: the object is fetched by its id.
Hence it does not matter how late, how often or in which order events come.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from tinko_pipelines.errors import GatewayError
from tinko_pipelines.gateway.page import Page
from tinko_pipelines.lake.ingest import missing_page
from tinko_pipelines.lake.intake import Intake
from tinko_pipelines.lake.parse import LATEST
from tinko_pipelines.lake.portion import Results
from tinko_pipelines.lake.schemas import BY_STRIPE_OBJECT
from tinko_pipelines.lake.store import Lake

if TYPE_CHECKING:
    from tinko_pipelines.gateway.bulk import BulkReader

Named = tuple[str, str]
"""An object: the lake's name of its kind, and its id."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of it, by object; which events could not be followed, and why; and which were not tried."""

    results: Results
    failed: dict[str, str]
    untried: frozenset[str]


def land(reader: BulkReader, lake: Lake, events: Mapping[str, str], until: float = math.inf) -> Landed:
    """Bring in events, given as JSON by id, and fetch what they name; all that is not failed or untried is safe then.

    No fetch is begun after `until` on the monotonic clock, nor after several at once of which none had an answer.
    """
    told, failed = _readable(events)
    names = {identity: _named(event) for identity, event in told.items()}
    known = {name: _known(told[identity]) for identity, name in names.items() if name is not None}
    pages = [_page(reader, events[identity], event) for identity, event in told.items()]
    found, left = _fetch(reader, list(known), until)
    pages += [page for page in found.values() if isinstance(page, Page)]
    with Intake(lake, reader.account_id, livemode=reader.livemode) as intake:
        intake.take_single(pages, {identity: about for (_, identity), about in known.items()})
    errors = {name: str(one) for name, one in found.items() if isinstance(one, GatewayError)}
    failed |= {identity: errors[name] for identity, name in names.items() if name in errors}
    untried = frozenset(identity for identity, name in names.items() if name in left)
    return Landed(dict(intake.results), failed, untried)


def _readable(events: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The events, and why others can be none: one that was spoilt where it lay keeps nobody else waiting."""
    told: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for identity, payload in events.items():
        try:
            event = orjson.loads(payload)
            _known(event)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            failed[identity] = f"what is kept of it is no event ({type(error).__name__})"
        else:
            told[identity] = event
    return told, failed


def _page(reader: BulkReader, payload: str, event: Mapping[str, Any]) -> Page:
    """An event as if it had been read by its id, in the version it was rendered in.

    Read as of now, and not as of when it came: its object is only fetched after that.
    """
    version = event.get("api_version")
    return Page(
        "events", reader.account_id, payload.encode(), reader.now(), version if isinstance(version, str) else "", None, [event]
    )  # fmt: skip


def _named(event: Mapping[str, Any]) -> Named | None:
    """What an event is about, where the lake keeps such objects and it can be asked for."""
    about = event["data"]["object"]
    kind, identity = about.get("object"), about.get("id")
    name = BY_STRIPE_OBJECT.get(kind) if isinstance(kind, str) else None
    if name is None or name == "events" or not isinstance(identity, str) or not identity.strip("."):
        return None
    return name, identity


def _known(event: Mapping[str, Any]) -> dict[str, Any]:
    """When the object was made, which it does not say itself once it is deleted."""
    created = event["data"]["object"].get("created")
    told = isinstance(created, int) and not isinstance(created, bool) and 0 <= created <= LATEST
    return {"created": created if told else event["created"]}


def _fetch(
    reader: BulkReader, wanted: list[Named], until: float
) -> tuple[dict[Named, Page | GatewayError], set[Named]]:
    """What was read, or why not; and what was not asked for."""
    found, left = dict[Named, Page | GatewayError](), wanted
    with ThreadPoolExecutor(reader.most_at_once, "read") as pool:
        while left and time.monotonic() < until:
            few, left = left[: reader.most_at_once], left[reader.most_at_once :]
            answers = list(pool.map(lambda name: _read(reader, *name), few))
            found |= zip(few, answers, strict=True)
            if all(isinstance(answer, GatewayError) for answer in answers):
                break  # Stripe answers nobody, or does not let us.
    return found, set(left)


def _read(reader: BulkReader, name: str, identity: str) -> Page | GatewayError:
    try:
        return reader.retrieve(name, identity) or missing_page(reader, name, identity)
    except GatewayError as error:
        return error
    except (ValueError, TypeError, LookupError) as error:
        # What an id from outside does to a request is that event's trouble alone.
        return GatewayError(f"{name} cannot be asked for by that id ({type(error).__name__})")
