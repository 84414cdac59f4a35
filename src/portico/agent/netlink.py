# SPDX-License-Identifier: Apache-2.0
"""Netlink: packing and unpacking messages, and a socket that asks and listens.

Written here because it is small and the agent lives on it: a library that decodes every attribute into Python
objects needs 0.3 to 1 ms a link and 15 MB; reading 1,000 links must stay well below half a second.

Sources: netlink(7), rtnetlink(7), `include/uapi/linux/netlink.h`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

ROUTE = 0
NETFILTER = 12

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_ECHO = 0x008
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_ACK_TLVS = 0x200
_CAPPED = 0x100
_ACK_MESSAGE = 1

_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_NO_ENOBUFS = 5
_CAP_ACK = 10
_EXT_ACK = 11

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_BUFFER = 1 << 18
_AT_ONCE = 128
"""How many requests are sent together: the answers fit into a usual buffer (208 KiB) even if each is a refusal."""


class NetlinkError(OSError):
    """The kernel refused a request: errno, and its own words where it gave any (extended acknowledgement)."""


def attr(kind: int, payload: bytes) -> bytes:
    """Pack one attribute, padded to four bytes."""
    return _ATTR.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind: int, *attrs: bytes) -> bytes:
    """Pack attributes into a nested one."""
    return attr(kind | _NESTED, b"".join(attrs))


def text(kind: int, value: str) -> bytes:
    """Pack a zero-terminated string."""
    return attr(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """Pack an 8 bit number."""
    return attr(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    """Pack a 32 bit number in host order."""
    return attr(kind, struct.pack("=I", value))


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Unpack the attributes of `data` from `offset`; of an attribute that comes twice the last one counts."""
    # As `each_attribute` does it, without its switches from one function to the other: links have thirty of them.
    found = {}
    unpack, end = _ATTR.unpack_from, len(data) - 3
    while offset < end:
        length, kind = unpack(data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def each_attribute(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield kind and value of the attributes of `data` from `offset`."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTR.unpack_from(data, offset)
        if length < 4:
            break
        yield kind & _TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def string(value: bytes) -> str:
    """Unpack a zero-terminated string."""
    return value.rstrip(b"\0").decode()


def number(value: bytes) -> int:
    """Unpack a number in host order, of whatever width it has."""
    return int.from_bytes(value, "little" if _ATTR.pack(1, 0)[0] else "big")


class Socket:
    """A netlink socket of the network namespace that the calling thread is in when it makes it.

    Not for two threads at once. `groups` are multicast groups to listen to; a socket that listens is not used to ask.
    """

    def __init__(self, protocol: int, groups: Iterable[int] = ()) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _BUFFER)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._sequence = 0

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def option(self, level: int, name: int, value: int | bytes) -> None:
        """Set a socket option."""
        self._socket.setsockopt(level, name, value)

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Send one request and return the bodies of the answers; an acknowledgement alone gives an empty list.

        Raises:
            NetlinkError: the kernel refused.
        """
        self._send(kind, body, flags | NLM_F_ACK)
        return [answer for _, answer in self._answers()]

    def get(self, kind: int, body: bytes) -> bytes:
        """Ask for one object and return the body that tells it: without an acknowledgement, which tells no more.

        Raises:
            NetlinkError: the kernel refused, or has no such object.
        """
        self._send(kind, body, 0)
        return next(answer for _, answer in self._answers())

    def ask_all(self, kind: int, bodies: Sequence[bytes]) -> list[NetlinkError]:
        """Send requests that are answered by acknowledgements alone, many at a time; return the refusals.

        The kernel does them in order and tells of each refusal; of success only the last of those sent together tells.
        """
        refusals = []
        for start in range(0, len(bodies), _AT_ONCE):
            batch = bodies[start : start + _AT_ONCE]
            flags = [NLM_F_REQUEST] * (len(batch) - 1) + [NLM_F_REQUEST | NLM_F_ACK]
            first = self._sequence + 1
            self._sequence += len(batch)
            pairs = enumerate(zip(batch, flags, strict=True), first)
            self._socket.sendto(b"".join(_message(kind, flag, number, body) for number, (body, flag) in pairs), (0, 0))
            refusals += self._refusals(first)
        return refusals

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Yield the bodies of all objects of a dump. Read it to the end, or the next request gets its rest."""
        self._send(kind, body, NLM_F_DUMP)
        for _, answer in self._answers():
            yield answer

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Yield (type, body) of what has arrived, without waiting.

        Raises:
            NetlinkError: ENOBUFS when events were lost; the listener must look at everything again.
        """
        while True:
            try:
                data = self._socket.recv(_BUFFER, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                raise NetlinkError(error.errno, os.strerror(error.errno or 0)) from error
            for kind, _, body in _messages(data):
                yield kind, body

    def _send(self, kind: int, body: bytes, flags: int) -> None:
        self._sequence += 1
        self._socket.sendto(_message(kind, flags | NLM_F_REQUEST, self._sequence, body), (0, 0))

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        """Yield answers to the last request up to its acknowledgement or end of dump."""
        while True:
            for kind, header, body in _messages(self._socket.recv(_BUFFER)):
                if header[3] != self._sequence:
                    continue
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    _check(header[2], body)
                    return
                yield kind, body

    def _refusals(self, first: int) -> list[NetlinkError]:
        """Return which of the requests from number `first` to the last one were refused, once all are done."""
        refusals = []
        while True:
            for kind, header, body in _messages(self._socket.recv(_BUFFER)):
                if kind != _NLMSG_ERROR or not first <= header[3] <= self._sequence:
                    continue
                try:
                    _check(header[2], body)
                except NetlinkError as error:
                    refusals.append(error)
                if header[3] == self._sequence:
                    return refusals


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Pack a message, padded to four bytes as another may follow."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + b"\0" * (-len(body) % 4)


def _messages(data: bytes) -> Iterator[tuple[int, tuple[int, int, int, int, int], bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        header = _HEADER.unpack_from(data, offset)
        if header[0] < _HEADER.size:
            return
        yield header[1], header, data[offset + _HEADER.size : offset + header[0]]
        offset += (header[0] + 3) & ~3


def _check(flags: int, body: bytes) -> None:
    """Raise when an acknowledgement is a refusal."""
    code = -struct.unpack_from("=i", body)[0]
    if code == 0:
        return
    words = os.strerror(code)
    if flags & _ACK_TLVS:
        echoed = 16 if flags & _CAPPED else struct.unpack_from("=I", body, 4)[0]
        said = attributes(body, 4 + ((echoed + 3) & ~3)).get(_ACK_MESSAGE)
        if said:
            words = f"{words} ({string(said)})"
    raise NetlinkError(code, words)


def is_absent(error: OSError) -> bool:
    """Return whether `error` says that the object is not there, which a removal takes for success."""
    return error.errno in (errno.ENODEV, errno.ENOENT, errno.ESRCH)
