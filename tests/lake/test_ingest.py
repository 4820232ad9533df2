"""Reading lists into the lake over a real socket: complete, once, and with what is malformed set aside."""

import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lake.rows import origin
from tests.lake.shelf import Shelf
from tests.lake.stripe_objects import (
    DAY,
    START,
    charge,
    customer,
    event,
    intent,
    invoice,
    invoice_payment,
    method,
    paid,
    subscription,
)
from tinko_pipelines.errors import GatewayError, InputError, StoreError
from tinko_pipelines.gateway.bulk import BulkReader
from tinko_pipelines.lake.backfill import Left, Progress, quiet
from tinko_pipelines.lake.changes import ingest_changes
from tinko_pipelines.lake.debts import failed_payments
from tinko_pipelines.lake.ingest import ingest
from tinko_pipelines.lake.intake import reparse
from tinko_pipelines.lake.parse import Malformed, parse
from tinko_pipelines.lake.schemas import OBJECTS
from tinko_pipelines.lake.store import Lake

NOW = datetime.fromtimestamp(START + 10 * DAY, UTC)


def files(root: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


def test_every_page_is_read_and_a_second_run_changes_nothing(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    shelf.put("charges", *(charge(f"ch_{n:03}", START + n * 3600) for n in range(230)))
    lake = Lake(tmp_path)
    since = datetime.fromtimestamp(START, UTC)
    first = ingest(reader, lake, objects=["charges"], since=since, now=NOW)["charges"]
    assert (first.read, first.new, first.pages) == (230, 230, 3)
    assert len(list((tmp_path / "tables" / "charges" / "default").iterdir())) == 10
    before = lake.table("charges").drop_columns(["fetched_at", "version_at"])
    again = ingest(reader, Lake(tmp_path), objects=["charges"], now=NOW + timedelta(hours=1))["charges"]
    assert (again.new, again.changed, again.unchanged) == (0, 0, 230)
    assert lake.table("charges").drop_columns(["fetched_at", "version_at"]).equals(before)
    row = lake.table("charges").to_pylist()[0]
    assert (row["card_fingerprint"], row["network_decline_code"], row["livemode"]) == ("fp_1", "51", False)


def test_the_newest_version_of_an_object_wins(shelf: Shelf, reader: BulkReader, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    shelf.put("charges", paid("ch_1", START))
    ingest(reader, lake, objects=["charges"], now=NOW)
    shelf.put("charges", paid("ch_1", START, refunded=True, amount_refunded=1900))
    assert ingest(reader, lake, objects=["charges"], now=NOW + timedelta(hours=1))["charges"].changed == 1
    old = BulkReader("sk_test_x", shelf.base, "default", now=lambda: NOW - timedelta(hours=1))
    shelf.put("charges", paid("ch_1", START))
    assert ingest(old, lake, objects=["charges"], now=NOW)["charges"].changed == 0
    old.close()
    assert [row["refunded"] for row in lake.table("charges").to_pylist()] == [True]


def test_a_range_reads_only_its_days(shelf: Shelf, reader: BulkReader, tmp_path: Path) -> None:
    shelf.put("charges", *(charge(f"ch_{n}", START + n * DAY) for n in range(5)))
    since, until = (datetime.fromtimestamp(START + n * DAY, UTC) for n in (1, 3))
    lake = Lake(tmp_path)
    assert ingest(reader, lake, objects=["charges"], since=since, until=until, now=NOW)["charges"].new == 2
    assert sorted(lake.table("charges")["id"].to_pylist()) == ["ch_1", "ch_2"]


def test_kept_pages_are_parsed_again_without_asking_stripe(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    gone = {"id": "cus_1", "object": "customer", "deleted": True}
    shelf.put("charges", charge("ch_1", START), charge("ch_2", START + 5, amount="x"))
    shelf.objects["customers"] = [gone]
    lake = Lake(tmp_path)
    ingest(reader, lake, now=NOW)
    before = {name: lake.table(name) for name in ("charges", "customers")}
    shutil.rmtree(tmp_path / "tables")
    shelf.asked.clear()
    results = reparse(Lake(tmp_path))
    assert (results["charges"].new, results["charges"].quarantined, results["customers"].deleted) == (1, 1, 1)
    assert {name: lake.table(name) for name in before} == before
    assert shelf.asked == []
    assert reparse(lake)["charges"].written == 0


BAD: list[tuple[str, Any, str]] = [
    ("no object", {"id": "ch_x", "created": START}, "object is None"),
    ("not a dict", "ch_x", "is str"),
    ("no created", {**charge("ch_x", START), "created": None}, "created is missing"),
    ("amount as text", charge("ch_x", START, amount="19.00"), "amount_minor is '19.00'"),
    ("amount missing", charge("ch_x", START, amount=None), "amount_minor is missing"),
    ("created in no year", charge("ch_x", 10**15), "created is"),
    ("status as a list", charge("ch_x", START, status=["failed"]), "status is"),
]


@pytest.mark.parametrize(("item", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_malformed_object_is_set_aside_and_the_rest_goes_on(
    item: Any, reason: str, shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    shelf.put("charges", charge("ch_1", START), item, charge("ch_2", START + 5))
    lake = Lake(tmp_path)
    for _ in range(2):
        result = ingest(reader, lake, objects=["charges"], now=NOW)["charges"]
        assert result.quarantined == 1
    assert lake.table("charges").num_rows == 2
    with lake.connect("quarantine") as connection:
        [(name, why)] = connection.execute("SELECT object_name, reason FROM quarantine").fetchall()
    assert name == "charges"
    assert reason in why


def test_an_object_read_in_good_order_leaves_quarantine(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    shelf.put("charges", charge("ch_1", START, amount="x"))
    ingest(reader, lake, objects=["charges"], now=NOW)
    assert lake.quarantined() == 1
    shelf.put("charges", charge("ch_1", START))
    ingest(reader, lake, objects=["charges"], now=NOW)
    assert lake.quarantined() == 0


def test_methods_of_failed_charges_are_looked_up_by_id(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    shelf.put("charges", charge("ch_1", START, payment_method="pm_hidden"))
    shelf.missing.add("payment_methods")
    shelf.objects["payment_methods"] = [method("pm_hidden", START)]
    lake = Lake(tmp_path)
    result = ingest(reader, lake, objects=["charges", "payment_methods"], now=NOW)["payment_methods"]
    assert result.new == 1
    assert "has no /v1/payment_methods" in result.notices[0]


def test_a_card_changed_before_the_first_look_by_an_old_customer_is_known(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    long_ago = START - 500 * DAY
    shelf.missing.add("payment_methods")
    card = {"brand": "visa", "country": "US", "fingerprint": "fp_2"}
    shelf.put("payment_methods", method("pm_1", long_ago), method("pm_2", START - DAY, card=card))
    shelf.put("customers", customer("cus_1", long_ago, invoice_settings={"default_payment_method": "pm_2"}),
              {"id": "cus_2", "object": "customer", "deleted": True})  # fmt: skip
    shelf.put("subscriptions", subscription("sub_1", long_ago))
    shelf.put("invoices", invoice("in_1", START - 3 * DAY))
    shelf.put("invoice_payments", invoice_payment("inpay_1", START - 3 * DAY, "in_1", "pi_1"))
    shelf.put("payment_intents", intent("pi_1", START - 3 * DAY), intent("pi_2", START - 3 * DAY))
    left = {"customer": "cus_2", "payment_intent": "pi_2"}
    shelf.put("charges", charge("ch_1", START - 3 * DAY), charge("ch_2", START - 3 * DAY, **left))
    lake, now = Lake(tmp_path), datetime.fromtimestamp(START, UTC)
    ingest_changes(reader, lake, now=now, since_days=90)
    rows = {row["debt_id"]: row for row in failed_payments(lake, now).to_pylist()}
    assert (rows["in_1"]["payment_method_id"], rows["in_1"]["card_changed_since_failure"]) == ("pm_2", True)
    assert (rows["in_1"]["card_fingerprint"], rows["in_1"]["subscription_status"]) == ("fp_2", "past_due")
    assert rows["pi_2"]["customer_deleted"]
    assert lake.quarantined() == 0
    shelf.asked.clear()
    ingest_changes(reader, lake, now=now, since_days=90)
    assert not [path for path in shelf.asked if "/" in path and "checkout" not in path]


def test_changes_fetch_what_events_name_and_then_nothing(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    born = int((NOW - timedelta(days=5)).timestamp())
    shelf.put("invoices", invoice("in_1", born))
    shelf.put("customers", customer("cus_1", born))
    ingest_changes(reader, lake, now=NOW, since_days=30)
    later = NOW + timedelta(hours=6)
    at = int(later.timestamp()) - 120
    shelf.put("invoices", invoice("in_1", born, status="paid"))
    shelf.put("payment_intents", intent("pi_new", at))
    shelf.objects["customers"] = [{"id": "cus_1", "object": "customer", "deleted": True}]
    shelf.put(
        "events",
        event("evt_1", at, "invoice.paid", invoice("in_1", born)),
        event("evt_2", at, "payment_intent.created", intent("pi_new", at)),
        event("evt_3", at, "customer.deleted", customer("cus_1", born)),
    )
    results = ingest_changes(reader, lake, now=later, since_days=30)
    assert lake.table("invoices")["status"].to_pylist() == ["paid"]
    assert lake.table("customers")["deleted"].to_pylist() == [True]
    assert lake.table("payment_intents").num_rows == 1
    assert results["events"].new == 3
    shelf.asked.clear()
    again = ingest_changes(reader, lake, now=later, since_days=30)
    assert sum(result.written for result in again.values()) == 0
    assert not [path for path in shelf.asked if "/in_1" in path], (
        "an event already taken in is not followed again"
    )


def test_after_a_long_pause_everything_is_read_anew(shelf: Shelf, reader: BulkReader, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    ingest_changes(reader, lake, now=NOW, since_days=90)
    shelf.put("charges", charge("ch_1", START + DAY))
    late = NOW + timedelta(days=40)
    assert ingest_changes(reader, lake, now=late, since_days=90)["charges"].new == 1


def test_the_first_look_with_a_key_of_the_other_mode_reads_everything(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    shelf.put("charges", charge("ch_1", START))
    ingest_changes(reader, lake, now=NOW, since_days=3650)
    shelf.put("charges", charge("ch_2", START, livemode=True))
    live = BulkReader("rk_live_x", shelf.base, "default", sleep=lambda _: None)
    ingest_changes(live, lake, now=NOW + timedelta(days=1), since_days=3650)
    live.close()
    assert lake.table("charges")["id"].to_pylist() == ["ch_1", "ch_2"]


@pytest.mark.parametrize("name", [["evt_1"], {}, 7, None])
def test_an_event_without_a_proper_id_is_set_aside(
    name: Any, shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    ingest_changes(reader, lake, now=NOW, since_days=30)
    later = NOW + timedelta(hours=1)
    shelf.put("invoices", invoice("in_1", int((NOW - timedelta(days=5)).timestamp())))
    odd = event("evt_1", int(later.timestamp()) - 120, "invoice.voided", invoice("in_1", START))
    shelf.objects["events"].append({**odd, "id": name})
    assert ingest_changes(reader, lake, now=later, since_days=30)["events"].quarantined == 1


def test_a_look_cut_short_is_made_good_by_the_next(shelf: Shelf, reader: BulkReader, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    born = int((NOW - timedelta(days=5)).timestamp())
    shelf.put("invoices", invoice("in_1", born))
    ingest_changes(reader, lake, now=NOW, since_days=30)
    later = NOW + timedelta(hours=6)
    shelf.put("invoices", invoice("in_1", born, status="void"))
    shelf.put("events", event("evt_1", int(later.timestamp()) - 120, "invoice.voided", invoice("in_1", born)))
    closed = BulkReader("sk_test_x", "http://127.0.0.1:9", "default", sleep=lambda _: None)
    with pytest.raises(GatewayError):
        ingest_changes(closed, lake, now=later, since_days=30)
    closed.close()
    ingest_changes(reader, lake, now=later, since_days=30)
    assert lake.table("invoices")["status"].to_pylist() == ["void"]


def test_an_unknown_object_is_named(reader: BulkReader, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'payments'"):
        ingest(reader, Lake(tmp_path), objects=["payments"], now=NOW)


def test_a_file_where_the_folder_should_be_is_said_plainly(tmp_path: Path) -> None:
    place = tmp_path / "lake"
    place.write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Lake(place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreError, match="cannot be written"):
        Lake(tmp_path)


def test_a_full_disk_leaves_the_old_file(shelf: Shelf, reader: BulkReader, tmp_path: Path) -> None:
    import resource

    lake = Lake(tmp_path)
    shelf.put("charges", charge("ch_1", START))
    ingest(reader, lake, objects=["charges"], now=NOW)
    before = files(tmp_path / "tables")
    shelf.put("charges", *(charge(f"ch_{n}", START + n) for n in range(90)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            ingest(reader, lake, objects=["charges"], now=NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path / "tables") == before


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.text(max_size=5)
        | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    ),
    st.sampled_from(sorted(charge("ch_1", START))),
)
def test_no_content_of_a_field_raises(value: Any, field: str) -> None:
    parsed = parse(OBJECTS["charges"], {**charge("ch_1", START), field: value}, origin(NOW))
    assert isinstance(parsed, Malformed) or parsed["id"]


def test_fields_nobody_knows_are_kept_and_said(shelf: Shelf, reader: BulkReader, tmp_path: Path) -> None:
    shelf.put("charges", charge("ch_1", START, novelty={"a": 1}), charge("ch_2", START + 5))
    lake = Lake(tmp_path)
    result = ingest(reader, lake, objects=["charges"], now=NOW)["charges"]
    assert result.notices == ("charges has fields nobody knows here, kept in `extra`: novelty",)
    assert lake.table("charges")["extra"].to_pylist() == ['{"novelty":{"a":1}}', None]


def test_a_pause_longer_than_events_are_kept_is_said(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    assert ingest_changes(reader, lake, now=NOW, since_days=90)["events"].notices == ()
    late = ingest_changes(reader, lake, now=NOW + timedelta(days=40), since_days=90)
    assert "Stripe keeps them for 30 days: everything created since" in late["events"].notices[0]


@pytest.mark.parametrize("count", [10, 700])
def test_one_new_charge_costs_the_same_requests_whatever_the_history(
    count: int, shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    shelf.put("charges", *(paid(f"ch_{n:03}", START - n * 3600) for n in range(count)))
    lake = Lake(tmp_path)
    ingest_changes(reader, lake, now=NOW, since_days=300)
    ingest_changes(reader, lake, now=NOW + timedelta(hours=2), since_days=300)
    later = NOW + timedelta(hours=4)
    born = int(later.timestamp()) - 600
    shelf.put("charges", paid("ch_new", born))
    shelf.put("events", event("evt_1", born, "charge.succeeded", paid("ch_new", born)))
    shelf.asked.clear()
    assert ingest_changes(reader, lake, now=later, since_days=300)["charges"].new == 1
    assert len(shelf.asked) == 12


def test_a_key_that_has_lost_a_right_fails_and_keeps_what_had_come(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    shelf.put("charges", charge("ch_1", START))
    shelf.forbidden.add("invoices")
    lake = Lake(tmp_path)
    with pytest.raises(GatewayError, match="/v1/invoices: the key lacks the right"):
        ingest(reader, lake, objects=["charges", "invoices"], now=NOW)
    shelf.forbidden.clear()
    ingest(reader, lake, objects=["charges", "invoices"], now=NOW)
    assert lake.table("charges").num_rows == 1
    assert lake.notes("backfill-") == {}


class DiedError(Exception):
    pass


def test_what_a_dead_run_had_left_is_gone_on_with_for_a_day(
    shelf: Shelf, reader: BulkReader, tmp_path: Path
) -> None:
    shelf.put("charges", *(paid(f"ch_{n:03}", START + n * 60) for n in range(500)))
    lake = Lake(tmp_path)

    def die_at_the_end(left: Left) -> None:
        if not left.ranges:
            raise DiedError

    def load(now: datetime, progress: Progress = quiet) -> int:
        shelf.asked.clear()
        since = datetime.fromtimestamp(START, UTC)
        ingest(reader, lake, objects=["charges"], since=since, now=now, progress=progress, resume_as="x")
        return len(shelf.asked)

    with pytest.raises(DiedError):
        load(NOW, die_at_the_end)
    assert load(NOW + timedelta(hours=2)) == 0, "all was read, and only the last note was missing"
    with pytest.raises(DiedError):
        load(NOW, die_at_the_end)
    assert load(NOW + timedelta(days=2)) >= 5, "what was read is too old to go on with"
    assert lake.table("charges").num_rows == 500
    assert lake.notes("backfill-") == {}
