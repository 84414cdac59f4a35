# SPDX-License-Identifier: Apache-2.0
"""Tracing packets: to each project its own ports, and nothing of what is beyond its sight."""

from __future__ import annotations

import pytest

from portico.api import trace
from portico.broker.status import write_statuses
from portico.contract import ObjectStatus
from portico.errors import NotFound

from .asker import Asker, Row, everything


def told(asker: Asker, source: Row, destination: str) -> Row:
    return trace.read(asker.service, asker.context, {"source": source["id"], "destination": destination})


def test_another_project_s_port_is_no_port_neither_as_source_nor_as_destination(red: Asker, blue: Asker) -> None:
    secret = everything(red)["port"]
    own = blue.create("port", network_id=blue.create("network", name="mine")["id"])
    nothing = "0d6d6f6e-97f4-4c1e-a6f4-0a4d8b0d3c11"
    for source, destination in ((secret, own["id"]), (own, secret["id"])):
        with pytest.raises(NotFound) as refused:
            told(blue, source, destination)
        other = {**source, "id": nothing} if source is secret else source
        with pytest.raises(NotFound) as absent:
            told(blue, other, nothing if destination == secret["id"] else destination)
        assert refused.value.message.replace(secret["id"], nothing) == absent.value.message


def test_an_address_of_another_project_s_port_is_told_like_one_that_nobody_has(
    red: Asker, blue: Asker, root: Asker
) -> None:
    network = root.create("network", name="shared", shared=True)
    root.create("subnet", network_id=network["id"], cidr="192.0.2.0/24", ip_version=4)
    theirs, own = (asker.create("port", network_id=network["id"]) for asker in (red, blue))
    root.update("port", own["id"], **{"binding:host_id": "host-a"})
    write_statuses(blue.service.store, [ObjectStatus("port", own["id"], "ACTIVE", host="host-a")])
    address = theirs["fixed_ips"][0]["ip_address"]
    answers = [told(blue, own, each) for each in (address, "192.0.2.250")]
    assert str(answers[0]).replace(address, "192.0.2.250") == str(answers[1])
    assert theirs["id"] not in str(answers) and "none that is yours to see" in answers[0]["reason"]
