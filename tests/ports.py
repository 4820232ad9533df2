"""Ports for servers that cannot be asked which one they took."""

import random
import socket

_BELOW_THE_KERNELS = range(15_000, 32_000)
"""Linux gives connections ports from 32768 on; one of those may be taken again before its server has begun."""


def free_port() -> int:
    """A port on loopback that nobody has, and that nobody is given who has not asked for that very one."""
    for port in random.SystemRandom().sample(_BELOW_THE_KERNELS, 100):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise OSError("a hundred ports of loopback are all taken")
