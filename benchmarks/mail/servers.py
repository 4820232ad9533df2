"""The two servers a sender speaks to, each a process of its own: a mail server that counts, and a stand-in for Stripe.

Both do as little as a server can, so that what is measured is the sender; `python -m benchmarks.mail.servers smtp|stripe`
prints the port it listens on.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any

_PATH = re.compile(rb"GET /v1/(\w+)/([^ ?]+)")
_ID = re.compile(rb"^message-id: *(\S+)", re.IGNORECASE | re.MULTILINE)


class Mails:
    """What came in, by Message-ID: how many, and whether any came twice."""

    def __init__(self) -> None:
        self.came: set[bytes] = set()
        self.twice = self.bytes = self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 counting\r\n")
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                await writer.drain()
                self._take(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 taken\r\n")
            elif word == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            elif word == b"TELL":
                told = {
                    "came": len(self.came),
                    "twice": self.twice,
                    "bytes": self.bytes,
                    "connections": self.connections - 1,
                }
                writer.write(json.dumps(told).encode() + b"\r\n")
            else:
                writer.write(b"250 ok\r\n")
            await writer.drain()
        writer.close()

    def _take(self, mail: bytes) -> None:
        found = _ID.search(mail)
        name = found[1] if found else b""
        self.twice += name in self.came
        self.came.add(name)
        self.bytes += len(mail)


async def stripe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every invoice is open, every customer has an address of his own."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        found = _PATH.match(head)
        body = json.dumps(shown(*(part.decode() for part in found.groups()) if found else ("", ""))).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_1\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        await writer.drain()
    writer.close()


def shown(kind: str, name: str) -> dict[str, Any]:
    """An object as far as the look before a mail reads it."""
    if kind == "customers":
        return {"id": name, "object": "customer", "email": f"{name}@example.org", "name": f"Ann {name}"}
    return {
        "id": name,
        "object": "invoice",
        "status": "open",
        "parent": {"subscription_details": {"subscription": {"id": "sub_1", "status": "past_due"}}},
        "hosted_invoice_url": f"https://invoice.example.com/{name}",
    }


async def _listen(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> None:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_listen(Mails().serve if sys.argv[1] == "smtp" else stripe))
