# SPDX-License-Identifier: Apache-2.0
"""Joins of links by traffic control on a `FakeKernel`."""

from __future__ import annotations

from portico.agent.redirect import Redirects
from portico.agent.tagging import Tags
from portico.testing.fakekernel import FakeKernel, name_of


class FakeRedirects(Redirects):
    """The redirections of a `FakeKernel`, whose links have indexes of their own in every namespace."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def target(self, index: int) -> int:
        """See Redirects."""
        return self._kernel.redirects.get(index, 0)

    def put(self, index: int, target: int) -> None:
        """See Redirects."""
        if self._kernel.write("redirect", self._name(index)):
            self._kernel.redirects[index] = target

    def remove(self, index: int) -> None:
        """See Redirects."""
        if index in self._kernel.redirects and self._kernel.write("end redirect", self._name(index)):
            del self._kernel.redirects[index]

    def _name(self, index: int) -> str:
        return name_of(self._kernel, index)


class FakeTags(Tags):
    """The joins by tags of a `FakeKernel`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def untagged(self, index: int) -> dict[int, int]:
        """See Tags."""
        return {vlan: target for (tap, vlan), target in self._kernel.untagged.items() if tap == index}

    def tagged(self, index: int) -> tuple[int, int]:
        """See Tags."""
        return self._kernel.tagged.get(index, (0, 0))

    def note(self, index: int) -> str:
        """See Tags."""
        led = [(tap, vlan) for tap, vlan in self._kernel.untagged if tap == index]
        if index in self._kernel.tagged:
            led.append((index, -1))
        return next((found for key in led if (found := self._kernel.notes.get(key, ""))), "")

    def untag(self, index: int, vlan: int, target: int, note: str = "") -> None:
        """See Tags."""
        if self._kernel.write("untag", name_of(self._kernel, index), name_of(self._kernel, target)):
            self._kernel.untagged[index, vlan] = target
            self._kernel.notes[index, vlan] = note

    def tag(self, index: int, vlan: int, target: int, note: str = "") -> None:
        """See Tags."""
        if self._kernel.write("tag", name_of(self._kernel, index)):
            self._kernel.tagged[index] = (vlan, target)
            self._kernel.notes[index, -1] = note

    def end_untag(self, index: int, vlan: int) -> None:
        """See Tags."""
        if (index, vlan) in self._kernel.untagged and self._kernel.write("end untag", name_of(self._kernel, index)):
            del self._kernel.untagged[index, vlan]

    def end_tags(self, index: int) -> None:
        """See Tags."""
        if index in self._kernel.tagged and self._kernel.write("end tag", name_of(self._kernel, index)):
            del self._kernel.tagged[index]
