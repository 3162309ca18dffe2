"""What is known after a request: taken, surely not taken, or nobody can say."""

from __future__ import annotations

import socket
import threading

import pytest

from ml_assets.graph.webhook import ask
from ml_assets_tests.ports import free_port
from ml_assets_tests.receiver import receiving


def test_an_answer_is_what_the_receiver_says() -> None:
    with receiving() as receiver:
        receiver.facts = {"version": "1.0.0"}
        taken = ask(receiver.url, {"a": "ä"})
        assert (taken.outcome, taken.detail, taken.facts) == ("ok", "answered 200", {"version": "1.0.0"})
        assert receiver.bodies == [{"a": "ä"}]
        receiver.answers = [500, 429, 404]
        assert [ask(receiver.url, {}).detail for _ in range(3)] == ["answered 500", "answered 429", "answered 404"]


def test_a_redirect_is_not_followed() -> None:
    with receiving() as receiver:
        receiver.answers = [302]
        answer = ask(receiver.url, {})
        assert (answer.outcome, answer.detail) == ("failed", "answered 302; redirects are not followed")
        assert len(receiver.bodies) == 1


def test_who_never_answers_may_have_taken_it_and_who_is_not_there_has_not() -> None:
    with receiving() as receiver:
        receiver.answers = [0]
        silent = ask(receiver.url, {}, timeout_s=0.2)
        assert (silent.outcome, len(receiver.bodies)) == ("unknown", 1)
    assert ask(f"http://127.0.0.1:{free_port()}", {}).outcome == "failed"


def test_who_hangs_up_after_reading_may_have_taken_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def read_and_hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)

        rude = threading.Thread(target=read_and_hang_up)
        rude.start()
        assert ask(f"http://127.0.0.1:{server.getsockname()[1]}", {}).outcome == "unknown"
        rude.join()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "hooks", "http://", "http://x:port/", "http://127.0.0.1/a b"]
)
def test_other_addresses_are_not_opened(url: str) -> None:
    answer = ask(url, {})
    assert answer.outcome == "failed"
    assert answer.detail.startswith("not ")
