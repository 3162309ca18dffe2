"""Ports for servers that must be told theirs.

They are below those that the system gives to whoever connects, so that no client takes one before the server does.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Sequence

PORTS = (20_000, 22_700)


def free_ports(count: int = 1, offsets: Sequence[int] = (0,)) -> list[int]:
    """Different ports, each of which is free at all these distances from it."""
    found: list[int] = []
    with contextlib.ExitStack() as bound:
        while len(found) < count:
            port = random.randrange(*PORTS)
            with contextlib.suppress(OSError):
                for offset in offsets:
                    bound.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
                found.append(port)
    return found


def free_port() -> int:
    """One on which nobody listens."""
    return free_ports()[0]
