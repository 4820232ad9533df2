"""A local S3 behind a line that can be cut, with a bucket and keys that must be shown nowhere."""

import re
import socket
import subprocess
import sys
import threading
import urllib.request
from typing import Any

SECRETS = ("AKIAOFTHETEST", "secret-of-the-store")
REGION = "us-east-1"


class LocalS3:
    """moto's server as a process of its own, and a forwarder to it; `cut` says that nobody gets through."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._server.stdout is not None
        said = next(line for line in self._server.stdout if "Running on" in line)
        self._port = int(re.findall(r":(\d+)", said)[0])
        self._log = threading.Thread(target=self._server.stdout.read)
        self._log.start()
        self.cut = False
        self._line = socket.create_server(("127.0.0.1", 0))
        self._through = threading.Thread(target=self._forward)
        self._through.start()

    def options(self, **others: Any) -> dict[str, Any]:
        """What fsspec is to be told."""
        key, secret = SECRETS
        return {
            "endpoint_url": f"http://127.0.0.1:{self._line.getsockname()[1]}",
            "key": key,
            "secret": secret,
            "client_kwargs": {"region_name": REGION},
            "config_kwargs": {"retries": {"max_attempts": 0}},
            **others,
        }

    def bucket(self, name: str) -> str:
        """The address of a lake in a new bucket."""
        made = urllib.request.Request(f"http://127.0.0.1:{self._port}/{name}", method="PUT")
        with urllib.request.urlopen(made):
            return f"s3://{name}/the/lake"

    def close(self) -> None:
        self._line.shutdown(socket.SHUT_RDWR)
        self._through.join()
        self._line.close()
        self._server.terminate()
        self._server.wait()
        self._log.join()
        assert self._server.stdout is not None
        self._server.stdout.close()

    def _forward(self) -> None:
        while True:
            try:
                near, _ = self._line.accept()
            except OSError:
                return
            if self.cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with one, other:
            try:
                while not self.cut and (some := one.recv(65536)):
                    if self.cut:
                        return
                    other.sendall(some)
            except OSError:
                return
