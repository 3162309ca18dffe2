"""A real SMTP server in a thread, as far as a client that sends one mail after the other needs it."""

from __future__ import annotations

import contextlib
import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage


@dataclass
class Mailbox:
    """What was received.

    Args:
        port: Port of the server on 127.0.0.1.
        mails: What was accepted.
        refuses: Answer each mail with a refusal.
    """

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refuses: bool = False

    @property
    def address(self) -> str:
        """As Apprise takes it; the path of a real one would hold a password."""
        return f"mailto://127.0.0.1:{self.port}?from=loop@example.org&to=team@example.org"


@contextlib.contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mailbox until the block ends."""
    made = Mailbox()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            for line in self.rfile:
                word = line.decode().upper().split()[0]
                if word == "DATA":
                    self.say("354 go on")
                    self.take()
                elif word == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 OK")

        def take(self) -> None:
            lines = iter(self.rfile.readline, b".\r\n")
            text = b"".join(line[1:] if line.startswith(b"..") else line for line in lines)
            if made.refuses:
                self.say("554 not here")
                return
            parsed = email.message_from_bytes(text, policy=email.policy.default)
            assert isinstance(parsed, EmailMessage)
            made.mails.append(parsed)
            self.say("250 taken")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads = True
        made.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()
