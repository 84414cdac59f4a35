# SPDX-License-Identifier: Apache-2.0
"""A join of two links of which one carries tagged frames: those of one VLAN lose their tag and go out at the other
link; what comes in there gets the tag and goes out at the first.

A VLAN of 0 stands for frames without a tag, so that a link may have both.

clsact and bpf programs that do it themselves (direct action): the modules 8021q and act_vlan are missing from some
kernels. The tag is in the packet's metadata by then, whoever sent it. Sources: bpf(2), bpf-helpers(7), tc-bpf(8),
`include/uapi/linux/bpf.h`, `net/core/filter.c`; IEEE 802.1Q for what a tag is.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct

from portico.agent import netlink
from portico.agent.netlink import NetlinkError, nest, text, u32
from portico.agent.redirect import INGRESS, PREFERENCE, TCMSG, Redirects, ensure_hook, filters

TAG_PREFERENCE = PREFERENCE - 1
"""Before that of the joins of whole links, which take all that is left."""

_NEW_FILTER, _DEL_FILTER = 44, 45
_ETH_P_ALL = socket.htons(3)
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS = 6, 7, 8
_DIRECT = 1
_WORD = "portico-tag"

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _SCHED_CLS = 5, 3
_PUSH, _POP, _REDIRECT = 18, 19, 23
_VLAN_TCI = 24
"""Offset in `struct __sk_buff`."""
_NO_VLAN_HANDLE = 0x1000
_TPID = socket.htons(0x8100)

_libc = ctypes.CDLL(None, use_errno=True)


def _step(code: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | to, offset, number)


def _untag(vlan: int, target: int) -> bytes:
    """Return the program that takes the tag off frames of a VLAN and sends them on; others go to the next filter.

    Of what has no tag the VLAN reads as 0, as it does of frames that a tag only gives a priority; taking it off is no
    error.
    """
    return b"".join(
        (
            _step(0xBF, 6, 1),  # r6 = packet
            _step(0x61, 2, 6, _VLAN_TCI),
            _step(0x57, 2, number=0xFFF),
            _step(0x55, 2, offset=4, number=vlan),  # of another VLAN: to the end
            _step(0xBF, 1, 6),
            _step(0x85, number=_POP),
            _step(0xB7, 1, number=target),
            _step(0x05, offset=2),
            _step(0xB7, 0, number=-1),
            _step(0x95),
            _step(0xB7, 2),
            _step(0x85, number=_REDIRECT),
            _step(0x95),
        )
    )


def _tag(vlan: int, target: int) -> bytes:
    """Return the program that puts the tag, if there is one, on every frame and sends it on."""
    push = (
        _step(0xBF, 6, 1),
        _step(0xB7, 2, number=_TPID),
        _step(0xB7, 3, number=vlan),
        _step(0x85, number=_PUSH),
    )
    return b"".join(
        (
            *(push if vlan else ()),
            _step(0xB7, 1, number=target),
            _step(0xB7, 2),
            _step(0x85, number=_REDIRECT),
            _step(0x95),
        )
    )


def _name(*words: object) -> str:
    """Return the name of a filter, by which it is known again."""
    return "-".join((_WORD, *(str(word) for word in words if word != "")))


def load(program: bytes) -> int:
    """Load a program of traffic control and return its descriptor.

    Raises:
        OSError: the kernel refuses, or how to ask it is not known on this machine.
    """
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) is not known on {platform.machine()}")
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"Apache-2.0")
    told = struct.pack(
        "=IIQQIIQII", _SCHED_CLS, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0
    )
    attributes = ctypes.create_string_buffer(told, len(told))
    descriptor = _libc.syscall(number, _PROG_LOAD, attributes, len(told))
    if descriptor < 0:
        refused = ctypes.get_errno()
        raise OSError(refused, f"bpf(2): {os.strerror(refused)}")
    return int(descriptor)


def lacks() -> str:
    """Return why this host cannot join links by tags; empty if it can."""
    try:
        os.close(load(_tag(1, 1)))
    except OSError as error:
        return str(error.strerror)
    return ""


class Tags(Redirects):
    """Our joins by tags in one network namespace, over a socket opened there."""

    def untagged(self, index: int) -> dict[int, int]:
        """Return where frames that come in at a link with a tag go without it: the index of the other link, by VLAN."""
        return {int(words[1]): int(words[2]) for words in self._tags(index) if words[0] == "off"}

    def note(self, index: int) -> str:
        """Return what was noted when frames that come in at a link were led elsewhere; empty if nothing was."""
        return next((words[3] for words in self._tags(index) if len(words) > 3), "")

    def tagged(self, index: int) -> tuple[int, int]:
        """Return the VLAN and the index of the link to which all that comes in goes with a tag; zeros if to none."""
        return next(((int(words[1]), int(words[2])) for words in self._tags(index) if words[0] == "on"), (0, 0))

    def untag(self, index: int, vlan: int, target: int, note: str = "") -> None:
        """Lead what comes in with a tag of `vlan` to `target`, without the tag; `note`, a word, is kept with it."""
        self._put_tag(index, vlan, _name("off", vlan, target, note), _untag(vlan, target))

    def tag(self, index: int, vlan: int, target: int, note: str = "") -> None:
        """Lead all that comes in to `target`, with a tag of `vlan`; `note` as with `untag`."""
        self.end_tags(index)
        self._put_tag(index, vlan, _name("on", vlan, target, note), _tag(vlan, target))

    def end_untag(self, index: int, vlan: int) -> None:
        """Let frames of a VLAN be; no error if they are not led anywhere."""
        if vlan in self.untagged(index):
            self._delete(TCMSG.pack(0, index, vlan or _NO_VLAN_HANDLE, INGRESS, TAG_PREFERENCE << 16 | _ETH_P_ALL))
            self._forget_hook(index)

    def end_tags(self, index: int) -> None:
        """End all joins by tags at a link."""
        if self._tags(index):
            self._delete(TCMSG.pack(0, index, 0, INGRESS, TAG_PREFERENCE << 16 | _ETH_P_ALL))
            self._forget_hook(index)

    def _put_tag(self, index: int, vlan: int, name: str, program: bytes) -> None:
        ensure_hook(self._route, index)
        descriptor = load(program)
        try:
            options = nest(_OPTIONS, u32(_BPF_FD, descriptor), text(_BPF_NAME, name), u32(_BPF_FLAGS, _DIRECT))
            body = TCMSG.pack(0, index, vlan or _NO_VLAN_HANDLE, INGRESS, TAG_PREFERENCE << 16 | _ETH_P_ALL) + text(
                _KIND, "bpf"
            )
            self._route.ask(_NEW_FILTER, body + options, netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE)
        finally:
            os.close(descriptor)

    def _tags(self, index: int) -> list[list[str]]:
        """Return the words in the names of our filters: "on" or "off", VLAN, index of the other link, note."""
        found = []
        for parent, preference, options in filters(self._route, index, INGRESS):
            name = netlink.string(netlink.attributes(options).get(_BPF_NAME, b""))
            words = name.removeprefix(f"{_WORD}-").split("-")
            if parent == INGRESS and preference == TAG_PREFERENCE and len(words) in (3, 4):
                found.append(words)
        return found

    def _delete(self, body: bytes) -> None:
        try:
            self._route.ask(_DEL_FILTER, body)
        except NetlinkError as error:
            if error.errno not in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
                raise
