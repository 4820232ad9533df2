"""One process that drains and mails as a run does, watched at every point, and killed where the trial wants it."""

import gc
import json
import os
import select
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.crash import offspring
from tests.crash.plan import TIMEOUT_SECONDS, Plan
from tests.crash.points import Points
from tinko_pipelines.app import App
from tinko_pipelines.errors import TinkoError
from tinko_pipelines.gateway.stripe_gateway import StripeGateway
from tinko_pipelines.settings import Settings, load_settings

NAP_SECONDS_MAX = 30.0
LOOK_SECONDS = 0.01
TROUBLE = 3
"""Exit code of a worker that ended by an error the product explains in a sentence."""
BROKEN = 4
"""Exit code of a worker that ended by something nobody foresaw."""


@dataclass(frozen=True)
class Place:
    """Where a trial's workers work."""

    folder: Path
    base: str
    ledger_url: str
    settings: Settings


def place_for(folder: Path, base: str, ledger_url: str, smtp_url: str, plan: Plan) -> Place:
    """With the environment of a worker; its lease may be shorter than settings allow, for a mutant."""
    settings = load_settings(
        state=folder / "state",
        ledger_url=ledger_url,
        stripe_api_base=base,
        clock="sandbox",
        stripe_requests_per_second=1000,
        drain_workers=plan.threads,
        mail_transport="smtp",
        smtp_url=smtp_url,
        update_card_url="https://shop.example.com/card",
        enrol_max_age_days=60,
    )
    settings = settings.model_copy(update={"drain_lease_seconds": plan.lease_seconds})
    return Place(folder, base, ledger_url, settings)


def start(work: Callable[[], None], log: Path) -> int:
    """Fork a process that does `work` and ends; its id."""
    pid = offspring.fork()
    if pid:
        return pid
    code = BROKEN
    gc.disable()
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        work()
        code = 0
    except TinkoError as error:
        print(f"ended by {type(error).__name__}: {error}", file=sys.stderr)
        code = TROUBLE
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def application(place: Place, plan: Plan) -> App:
    """The product as it runs, but impatient with Stripe."""
    app = App(place.settings)
    settings = app.settings
    app.account().__dict__["gateway"] = StripeGateway(
        settings.key,
        settings.stripe_api_base,
        settings.stripe_account,
        timeout_seconds=TIMEOUT_SECONDS,
        rate=app.account().budget(reading=False),
    )
    return app


class Hand:
    """A process that works when told to, until it is killed; as seen by the trial."""

    def __init__(self, serve: Callable[[socket.socket], None], log: Path) -> None:
        self.line, theirs = socket.socketpair()

        def work() -> None:
            self.line.close()  # or nobody would ever notice that the trial is gone
            serve(theirs)

        self.pid = start(work, log)
        theirs.close()
        self.log, self.gone = log, False

    def tell(self, **order: object) -> None:
        """Begin one piece of work."""
        self.line.sendall(json.dumps(order).encode() + b"\n")

    def answer(self) -> int | None:
        """How it ended: 0, or the exit code of who died of it; None while it works."""
        if not select.select([self.line], [], [], 0)[0]:
            return None
        try:
            said = self.line.recv(16)
        except ConnectionResetError:
            said = b""
        if said:
            return int(said)
        self.line.close()
        _, status = os.waitpid(self.pid, 0)
        self.gone = True
        return os.waitstatus_to_exitcode(status)

    def dismiss(self) -> None:
        """It is needed no more."""
        if not self.gone:
            self.line.close()
            os.waitpid(self.pid, 0)
            self.gone = True


def await_any(hands: list[Hand]) -> None:
    """Until one of them may have answered, or it is time to look for one that fell asleep."""
    select.select([hand.line for hand in hands], [], [], LOOK_SECONDS)


def orders(line: socket.socket) -> Iterator[dict[str, object]]:
    """What a hand is told, until nobody is left to tell; each is answered when the next is asked for."""
    with line.makefile("rw") as file:
        for text in file:
            order = json.loads(text)
            yield order
            file.write(f"{order['code']}\n")
            file.flush()


def drain_and_mail(app: App, points: Points, owner: str) -> int:
    """What the sensors' two jobs do, one after the other; each in spite of trouble in the other. 0, 3 or 4."""
    code = 0
    for job in (app.drain, app.send_mail):
        try:
            job(owner=owner, max_seconds=40)
        except TinkoError as error:
            print(f"{owner} ended by {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            code = max(code, TROUBLE)
        except Exception:
            traceback.print_exc()
            code = BROKEN
    points.write()
    return code


def nap(folder: Path, seconds: int, asked: str) -> None:
    """Sleep as a suspended machine does, for so long by the trial's clocks, while somebody else works."""
    (folder / "asleep").write_text(str(seconds))
    deadline = time.monotonic() + NAP_SECONDS_MAX
    while not (folder / "awake").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
