# SPDX-License-Identifier: Apache-2.0
"""Flavors: what projects choose from, and the service profiles that say how it is had. Errors are Neutron's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from portico.errors import BadRequest, Conflict, NotFound, Unavailable
from portico.model.show import show, some
from portico.rules import lookup, service_profile
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

# Neutron takes the types of all services that it has loaded. Its own tests make flavors of flavors.
SERVICE_TYPES = (service_profile.ROUTERS, "FLAVORS")


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a flavor.

    Raises:
        BadRequest: there are no flavors of its service type.
        NotFound: there is no such profile.
    """
    if body["service_type"] not in SERVICE_TYPES:
        raise _bad_type(body["service_type"], f"It is neither {' nor '.join(SERVICE_TYPES)}.")
    _require(tx, body["service_profiles"])
    return tx.insert("flavor", {**body, "id": str(uuid.uuid4())})


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a flavor; routers that were made with it stay as they are.

    Raises:
        NotFound: there is no such profile.
    """
    _require(tx, changes.get("service_profiles", ()))
    return tx.update("flavor", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a flavor.

    Raises:
        Conflict: a router was made with it.
    """
    if routers := tx.find("router", flavor_id=row["id"]):
        named = some([router["id"] for router in routers])
        raise Conflict(f"Flavor {row['id']} is used by some service instance: router {named}.", type="FlavorInUse")
    tx.delete("flavor", row)


def add_profile(tx: Transaction, row: Row, profile_id: str) -> Row:
    """Give a flavor one more profile, which counts after those that it has.

    Raises:
        Conflict: it has it already.
        NotFound: there is no such profile.
    """
    if profile_id in row["service_profiles"]:
        raise Conflict(
            f"Service Profile {profile_id} is already associated with flavor {row['id']}.",
            type="FlavorServiceProfileBindingExists",
        )
    _require(tx, [profile_id])
    return tx.update("flavor", row, {"service_profiles": [*row["service_profiles"], profile_id]})


def remove_profile(tx: Transaction, row: Row, profile_id: str) -> Row:
    """Take a profile away from a flavor.

    Raises:
        NotFound: it has not got it.
    """
    if profile_id not in row["service_profiles"]:
        raise _no_profile(f"Service Profile {show(profile_id)} is not associated with flavor {row['id']}.")
    return tx.update("flavor", row, {"service_profiles": [one for one in row["service_profiles"] if one != profile_id]})


def provider_for_router(tx: Transaction, context: Context, flavor_id: str) -> str:
    """Return the service provider by which a router of a flavor is to be had.

    Raises:
        BadRequest: the flavor is not one of routers.
        NotFound: there is no such flavor, it has no profile, or the profile that counts names no provider.
        Unavailable: the flavor is disabled, or all of its profiles are.
    """
    flavor = lookup.visible(tx, context, "flavor", flavor_id)
    if flavor["service_type"] != service_profile.ROUTERS:
        raise _bad_type(flavor["service_type"], f"Flavor {flavor_id} is none of {service_profile.ROUTERS}.")
    if not flavor["service_profiles"]:
        raise _no_profile(f"No Service Profile is associated with flavor {flavor_id}.")
    if not flavor["enabled"]:
        raise Unavailable(f"Flavor is not enabled: {flavor_id}.", type="FlavorDisabled")
    enabled = {row["id"]: row for row in tx.get_many("service_profile", flavor["service_profiles"]) if row["enabled"]}
    profile = next((enabled[one] for one in flavor["service_profiles"] if one in enabled), None)
    if profile is None:
        raise Unavailable(
            f"Service Profile is not enabled: {some(flavor['service_profiles'])} of flavor {flavor_id}.",
            type="ServiceProfileDisabled",
        )
    return service_profile.provider_of(profile["driver"])


def _require(tx: Transaction, profiles: Sequence[str]) -> None:
    """Refuse profiles that are not there."""
    for profile_id in profiles:
        lookup.get(tx, "service_profile", profile_id)


def _no_profile(message: str) -> NotFound:
    return NotFound(message, type="FlavorServiceProfileBindingNotFound")


def _bad_type(service_type: str, rule: str) -> BadRequest:
    return BadRequest(f"Invalid service type: {show(service_type)}. {rule}", type="InvalidServiceType")
