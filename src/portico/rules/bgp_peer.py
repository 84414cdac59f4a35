# SPDX-License-Identifier: Apache-2.0
"""BGP peers: routers outside that the hosts speak with. Errors are those of neutron-dynamic-routing."""

from __future__ import annotations

import re
import uuid
from ipaddress import ip_address

from portico.errors import BadRequest, NotFound
from portico.rules import bgp_speaker
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

# The kernel signs with at most so many octets (TCP_MD5SIG_MAXKEYLEN in linux/tcp.h).
MAX_PASSWORD = 80
# What every BGP daemon's configuration can hold between quotation marks.
_PASSWORD = re.compile(r"[ !#-\[\]-~]+")


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a peer that no speaker speaks with yet. A password without a use for it is not kept.

    Raises:
        BadRequest: remote_as is missing, peer_ip is no router's, or the password is missing or cannot be used.
    """
    bgp_speaker.require(body, "remote_as", "'None' is not an integer")
    address = ip_address(body["peer_ip"])
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise bgp_speaker.invalid(f"peer_ip '{address}' is no address that a router outside can have")
    if body["auth_type"] == "md5":
        _check_password(body.get("password"))
    else:
        body["password"] = None
    return tx.insert("bgp_peer", {**body, "id": str(uuid.uuid4())})


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a peer. A password of null changes nothing: `openstack bgp peer set` sends it whenever it is given none.

    Raises:
        BadRequest: the password cannot be used.
        Conflict: a host would speak with two peers of the same address.
        NotFound: a password is given, and the peer has none.
    """
    if changes.get("password") is None:
        changes.pop("password", None)
    elif row["auth_type"] == "md5":
        _check_password(changes["password"])
    else:
        raise NotFound(f"BGP peer {row['id']} not authenticated.", type="BgpPeerNotAuthenticated")
    if "portico:hosts" in changes:
        for speaker in tx.find("bgp_speaker"):
            if row["id"] in speaker["peers"]:
                bgp_speaker.check_peer(tx, speaker, {**row, **changes})
    return tx.update("bgp_peer", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a peer; speakers speak with it no more."""
    bgp_speaker.forget(tx, "peers", row["id"])
    tx.delete("bgp_peer", row)


def _check_password(password: str | None) -> None:
    """Refuse what cannot be a key, without telling it."""
    if not password:
        raise BadRequest(
            "A password must be supplied when using auth_type md5.", type="InvalidBgpPeerMd5Authentication"
        )
    if len(password) > MAX_PASSWORD or not _PASSWORD.fullmatch(password):
        raise bgp_speaker.invalid(
            f"password is not of 1 to {MAX_PASSWORD} printable ASCII characters without quotation mark and backslash"
        )
