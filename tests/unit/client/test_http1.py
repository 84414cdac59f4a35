# SPDX-License-Identifier: Apache-2.0
"""Answers of a server, in whatever pieces they come: each is one packet of a real socket that keeps them apart."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.client.http1 import MAX_HEAD, Answer, Broken, Connection

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"a": 1}\n\n{"b": "\xc3\xa9"}\n'
LENGTH = OK + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
TWO = b"8;x=y\r\n" + BODY[:8] + b"\r\nE\r\n" + BODY[8:] + b"\r\n"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n" + TWO + b"0\r\nT: 1\r\n\r\n"
UNTIL_END = b"HTTP/1.1 200 OK\r\nconnection: CLOSE\r\n\r\n" + BODY
FORMS = [LENGTH, CHUNKS, UNTIL_END, b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH]


@contextmanager
def said(*pieces: bytes) -> Iterator[Connection]:
    """Yield a connection whose server has said `pieces` and then ended it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for piece in pieces:
            theirs.send(piece)
        theirs.shutdown(socket.SHUT_WR)
        connection = Connection("localhost", None, timeout_s=10)
        connection.sock = ours
        connection.limit(10)
        yield connection


def ask(connection: Connection) -> Answer:
    return connection.request("GET", "/", None, {})


def cut(text: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % len(text) for place in places} - {0})
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(FORMS), places=st.lists(st.integers(0, 500), max_size=6), by_lines=st.booleans())
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(form: bytes, places: list[int], by_lines: bool) -> None:
    with said(*cut(form, places)) as connection:
        answer = ask(connection)
        assert answer.status == 200
        assert answer.will_close == (form is UNTIL_END)
        if by_lines:
            assert list(answer.lines()) == BODY.split(b"\n")[:-1]
        else:
            assert answer.read() == BODY


@settings(max_examples=40, deadline=None)
@given(form=st.sampled_from([LENGTH, CHUNKS]), end=st.integers(0, 500))
def test_an_answer_that_ends_too_early_is_never_taken_for_whole(form: bytes, end: int) -> None:
    with said(form[: end % len(form)] or b"H") as connection, pytest.raises(Broken):
        ask(connection).read()


def test_lines_come_as_soon_as_they_are_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection("localhost", None, timeout_s=10)
        connection.sock = ours
        theirs.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\na\nb\n\r\n")
        lines = ask(connection).lines()
        assert [next(lines), next(lines)] == [b"a", b"b"]
        theirs.sendall(b"2\r\nc\n\r\n0\r\n\r\n")
        assert list(lines) == [b"c"]


def test_a_request_goes_out_in_one_piece_and_the_next_one_over_the_same_connection() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        connection = Connection("h", 9696, timeout_s=10)
        connection.sock = ours
        for number in (b"1", b"2"):
            theirs.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            answer = connection.request("PUT", "/x", number, {"A": "b"})
            assert answer.is_here
            assert (answer.status, answer.read(), answer.will_close) == (204, b"", False)
            sent = theirs.recv(1000)
            assert sent == b"PUT /x HTTP/1.1\r\nHost: h:9696\r\nContent-Length: 1\r\nA: b\r\n\r\n" + number


@pytest.mark.parametrize(
    "wrong",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        OK + b"X: " + b"x" * 3 * MAX_HEAD,
    ],
)
def test_what_is_no_answer_is_refused(wrong: bytes) -> None:
    pieces = [wrong[start : start + 30_000] for start in range(0, len(wrong), 30_000)]
    with said(*pieces) as connection, pytest.raises(Broken):
        ask(connection).read()


def test_an_answer_that_nobody_asked_for_is_no_answer_to_the_next_request() -> None:
    with said(LENGTH + LENGTH) as connection:
        assert ask(connection).read() == BODY
        with pytest.raises(Broken, match="more than it was asked"):
            ask(connection)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\N{SNOWMAN}"])
def test_a_target_cannot_become_another_request(target: str) -> None:
    with said(LENGTH) as connection, pytest.raises(Broken, match="no target"):
        connection.request("GET", target, None, {})


@pytest.mark.parametrize(
    ("host", "port", "line"),
    [("h", 80, b"Host: h\r\n"), ("h", 8080, b"Host: h:8080\r\n"), ("::1", 80, b"Host: [::1]\r\n")],
)
def test_the_server_is_named_as_rfc_9110_says(host: str, port: int, line: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(host, port, timeout_s=10)
        connection.sock = ours
        theirs.sendall(LENGTH)
        ask(connection)
        assert line in theirs.recv(1000)
