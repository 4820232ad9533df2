"""Links in wrong hands: guessed, cut, used again, prefetched, raced, bent to lead elsewhere. None of it is accepted."""

import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest

from tests.retry.shop import Shop
from tests.web.counter import Customer, link_for, served, sessions
from tests.web.test_paying import declined, of_case, paid
from tinko_pipelines.app import App
from tinko_pipelines.ledger.links import digest
from tinko_pipelines.ledger.schema import (
    attempt,
    case_event,
    checkout_session,
    recovery_case,
    recovery_link,
)
from tinko_pipelines.web.limit import PER_MINUTE

NOTHING = (attempt, case_event, recovery_case)


@pytest.fixture
def fresh(shop: Shop) -> Customer:
    """Somebody at a server that has counted no guesses yet."""
    with served(shop.app) as base:
        made = Customer(base)
        yield made
        made.http.close()


def test_only_the_hash_of_a_token_is_kept(shop: Shop) -> None:
    link = link_for(shop, declined(shop)["payment_intent"])
    token = urlsplit(link).path.rpartition("/")[2]
    assert len(token) == 43
    assert digest(token) in {row["token_sha256"] for row in shop.rows(recovery_link)}
    kept = str([shop.rows(table) for table in (recovery_link, recovery_case, case_event, attempt)])
    assert token not in kept


def test_what_is_no_token_of_ours_is_answered_alike(shop: Shop, fresh: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    token = urlsplit(link_for(shop, debt)).path.rpartition("/")[2]
    before = [shop.rows(table) for table in NOTHING]
    turned = "".join("A" if letter != "A" else "B" for letter in token)
    wrong = [
        secrets.token_urlsafe(32),
        token[:-1],
        token + "A",
        token.swapcase(),
        turned,
        "%2e%2e",
        "x" * 5000,
    ]
    wrong += [digest(token), shop.case(debt)["id"], "' OR 1=1 --", token + "%00", "%00"]
    answers = [fresh.http.get(f"{fresh.base}/r/{name}") for name in wrong]
    answers += [fresh.http.post(f"{fresh.base}/r/{name}") for name in wrong[:4]]
    answers += [fresh.http.post(f"{fresh.base}/r/{name}/card") for name in wrong[:2]]
    assert {(one.status_code, one.text) for one in answers} == {(404, "Not Found")}
    assert [shop.rows(table) for table in NOTHING] == before


def test_the_guesses_of_others_keep_nobody_out(shop: Shop, fresh: Customer) -> None:
    """All may come from one address: an office, a mobile network, or a proxy."""
    link = link_for(shop, declined(shop)["payment_intent"])
    for _ in range(21):
        assert fresh.http.get(f"{fresh.base}/r/{secrets.token_urlsafe(32)}").status_code == 404
    assert fresh.look(link).status_code == 200


def test_one_link_is_not_pressed_without_end(shop: Shop, fresh: Customer) -> None:
    link, other = (link_for(shop, declined(shop)["payment_intent"]) for _ in range(2))
    said = {fresh.press(link, "later", day="2099-01-01").status_code for _ in range(PER_MINUTE + 5)}
    assert said == {409, 503}
    assert fresh.press(other, "later", day="2099-01-01").status_code == 409
    assert fresh.look(link).status_code == 200


def test_a_look_does_nothing(shop: Shop, fresh: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    link = link_for(shop, debt)
    before = [shop.rows(table) for table in NOTHING], len(sessions(shop))
    for method in ("GET", "HEAD"):
        for _ in range(5):
            assert fresh.http.request(method, fresh.base + urlsplit(link).path).status_code == 200
    assert fresh.http.request("PUT", fresh.base + urlsplit(link).path).status_code == 405
    assert ([shop.rows(table) for table in NOTHING], len(sessions(shop))) == before
    assert customer_sees_no_secret(fresh.look(link))


def customer_sees_no_secret(answer: httpx.Response) -> bool:
    headers = answer.headers
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "set-cookie" not in headers
    assert "<script" not in answer.text
    assert "@example.com" not in answer.text.replace("support@example.com", "")
    return True


def press_once(base: str, link: str) -> httpx.Response:
    customer = Customer(base)
    try:
        return customer.press(link)
    finally:
        customer.http.close()


def patient(shop: Shop) -> App:
    """Another process's view of the same shop, with leases as long as in production."""
    return App(shop.app.settings.model_copy(update={"drain_lease_seconds": 180.0}))


def test_a_hundred_at_once_get_one_page(shop: Shop) -> None:
    debt = declined(shop)["payment_intent"]
    link = link_for(shop, debt)
    there = len(sessions(shop))
    apps = [patient(shop), patient(shop)]
    with served(apps[0]) as one, served(apps[1]) as other, ThreadPoolExecutor(100) as many:
        bases = [one, other] * 50
        answers = list(many.map(lambda base: press_once(base, link), bases))
    for app in apps:
        app.ledger.close()
    assert {answer.status_code for answer in answers} <= {200, 303, 503}
    led = {answer.headers["location"] for answer in answers if answer.status_code == 303}
    assert len(led) == 1
    assert len(sessions(shop)) == there + 1
    assert [state for _, state, _ in of_case(shop, debt)] == ["requires_action"]


def test_whoever_is_taken_over_shows_no_page(shop: Shop) -> None:
    """With leases shorter than the calls, each takes the other's work over; what is shown is still one page."""
    debt = declined(shop)["payment_intent"]
    link = link_for(shop, debt)
    hasty = App(shop.app.settings.model_copy(update={"drain_lease_seconds": 0.0}))
    shop.stripe.faults(
        [{"kind": "latency", "path": "*/v1/checkout/sessions", "method": "POST", "seconds": 1.0}]
    )
    with served(hasty) as base, ThreadPoolExecutor(8) as many:
        for _ in range(3):
            answers = list(many.map(lambda base: press_once(base, link), [base] * 4))
    shop.stripe.faults([])
    hasty.ledger.close()
    led = {answer.headers["location"] for answer in answers if answer.status_code == 303}
    assert len(led) <= 1
    case = shop.case(debt)["id"]
    still = [
        one for one in sessions(shop) if one["metadata"]["tinko_case"] == case and one["status"] == "open"
    ]
    shown = {row["session_id"] for row in shop.rows(checkout_session) if row["case_id"] == case}
    assert {one["id"] for one in still} <= shown


def test_a_link_that_was_used_leads_nowhere(shop: Shop, fresh: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    link, second = link_for(shop, debt), link_for(shop, debt)
    assert fresh.pays(fresh.goes_to(link)).status_code == 303
    shop.advance(timedelta(minutes=5))
    shop.app.drain(owner="test")
    there = len(sessions(shop))
    for name in (link, second):
        for said in (fresh.look(name), fresh.press(name), fresh.press(name, "card")):
            assert said.status_code == 200
            assert "location" not in said.headers
    assert fresh.press(link, "later", day="2099-01-01").status_code in (200, 409)
    assert (len(sessions(shop)), paid(shop, debt)) == (there, 1)


def test_a_link_ends_after_its_days(shop: Shop, fresh: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    link = link_for(shop, debt)
    with shop.app.ledger.write() as connection:
        connection.execute(
            recovery_case.update().values(plan_ends_at=shop.app.clock.now() + timedelta(days=60))
        )
    shop.advance(timedelta(days=14, minutes=1))
    assert "no longer valid" in fresh.look(link).text
    assert "no longer valid" in fresh.press(link).text or fresh.press(link).status_code == 200
    assert [row for row in shop.attempts(debt) if row["operation"] == "checkout.session"] == []
    shop.advance(timedelta(days=91))
    assert fresh.look(link).status_code == 404


@pytest.mark.parametrize(
    "query", ["?next=https://evil.test/", "?url=//evil.test", "?return_url=https://evil.test"]
)
def test_nobody_is_led_elsewhere(shop: Shop, fresh: Customer, query: str) -> None:
    debt = declined(shop)["payment_intent"]
    link = link_for(shop, debt)
    bent = {"host": "evil.test", "x-forwarded-host": "evil.test", "origin": "https://evil.test"}
    address = fresh.base + urlsplit(link).path + query
    for answer in (fresh.http.get(address, headers=bent), fresh.http.post(address, headers=bent)):
        assert "evil" not in answer.text
        assert "evil" not in str(answer.headers)
    assert "evil" not in str(shop.attempts(debt))
    crossed = fresh.http.post(address, headers={"sec-fetch-site": "cross-site"})
    assert crossed.status_code == 404


def test_an_address_that_is_not_stripes_is_not_followed(shop: Shop, fresh: Customer) -> None:
    from tinko_pipelines.web.recovery import _Desk

    desk = _Desk(shop.app, lambda _name: None)
    good = ["https://checkout.stripe.com/c/pay/x", f"{shop.app.settings.stripe_api_base}/_pages/i/x"]
    bad = [
        "https://stripe.com.evil.test/", "https://evilstripe.com/", "http://checkout.stripe.com/", "//evil.test",
        "https://checkout.stripe.com@evil.test/", "javascript:alert(1)", "https://checkout.stripe.com:8443/",
        f"{shop.app.settings.stripe_api_base}.evil.test/", "https://user:x@checkout.stripe.com/",
    ]  # fmt: skip
    assert [desk._is_stripes(url) for url in (*good, *bad)] == [True] * 2 + [False] * len(bad)


def test_a_large_or_broken_form_changes_nothing(shop: Shop, fresh: Customer) -> None:
    debt = declined(shop)["payment_intent"]
    link = link_for(shop, debt)
    before = shop.case(debt)
    path = fresh.base + urlsplit(link).path + "/later"
    for body in (
        b"",
        b"day=2026-13-01",
        b"day=" + b"9" * 100_000,
        b"\xff\xfe",
        b"day=1&day=2",
        b"day=2026-09-01%00",
    ):
        assert fresh.http.post(path, content=body).status_code == 404
    raw = urlsplit(fresh.base)
    with socket.create_connection((raw.hostname or "", raw.port or 0), timeout=5) as line:
        line.sendall(b"POST /r/" + b"A" * 43 + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    assert shop.case(debt) == before
