"""Telling webhook endpoints of events: signed as Stripe signs, at least once, a bounded number of tries."""

import asyncio
import contextlib
import hashlib
import hmac
import time

import httpx
import orjson

from tinko_pipelines.sandbox.book import Book, hears
from tinko_pipelines.sandbox.store import Object

MOST_TRIES = 3
PAUSES_SECONDS = (0.2, 1.0)
AT_ONCE = 4
TIMEOUT_SECONDS = 10.0


def signature(secret: str, payload: bytes, at: int) -> str:
    """The `Stripe-Signature` header; `at` is the machine's time, since receivers hold it against theirs."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


class Deliveries:
    """Sends in the background what the book has put out, oldest first."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._worker: asyncio.Task[None] | None = None
        events = book.store.objects.get("events", {}).values()
        book.outgoing += [event["id"] for event in events if event["pending_webhooks"]]

    def wake(self) -> None:
        """Start sending unless that is under way or there is nothing to send."""
        if self._book.outgoing and (self._worker is None or self._worker.done()):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Stop sending; what is left goes out after the next start."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker

    async def _work(self) -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            while self._book.outgoing:
                batch = self._book.outgoing[:AT_ONCE]
                del self._book.outgoing[:AT_ONCE]
                await asyncio.gather(*(self._tell(client, name) for name in batch))

    async def _tell(self, client: httpx.AsyncClient, event_id: str) -> None:
        event = self._book.store.get("events", event_id)
        if event is None:
            return
        payload = orjson.dumps(event)
        for endpoint in self._book.endpoints():
            if hears(endpoint, event["type"]) and await self._post(client, endpoint, payload):
                event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
                self._book.put("events", event)
                self._book.store.commit()

    async def _post(self, client: httpx.AsyncClient, endpoint: Object, payload: bytes) -> bool:
        secret = self._book.store.objects["webhook_secrets"][endpoint["id"]]["secret"]
        for tried in range(MOST_TRIES):
            headers = {
                "content-type": "application/json; charset=utf-8",
                "stripe-signature": signature(secret, payload, int(time.time())),
                "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            }
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.post(endpoint["url"], content=payload, headers=headers)
                if answer.is_success:
                    return True
            if tried < len(PAUSES_SECONDS):
                await asyncio.sleep(PAUSES_SECONDS[tried])
        return False
