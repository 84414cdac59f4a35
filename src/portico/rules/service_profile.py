# SPDX-License-Identifier: Apache-2.0
"""Service profiles, and the service providers that they name: the ways to have a router. Errors are Neutron's."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from portico.errors import BadRequest, Conflict, NotFound
from portico.model.show import show, some
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

ROUTERS = "L3_ROUTER_NAT"
DEFAULT = "by-networks"
# What `distributed` is of a router that each provider makes: null where its networks decide.
PROVIDERS: Mapping[str, bool | None] = {DEFAULT: None, "distributed": True, "centralized": False}
_NEUTRONS = "neutron.services.l3_router.service_providers."
# Names of what Neutron has for the same, as profiles of tools and templates have them.
_SAME = {f"{_NEUTRONS}dvr.DvrDriver": "distributed", f"{_NEUTRONS}single_node.SingleNodeDriver": "centralized"}


def providers() -> list[Row]:
    """Return the service providers as the API lists them."""
    return [{"service_type": ROUTERS, "name": name, "default": name == DEFAULT} for name in PROVIDERS]


def provider_of(driver: str) -> str:
    """Return the service provider that the `driver` of a profile means.

    Raises:
        NotFound: there is none.
    """
    name = _SAME.get(driver, driver)
    if name not in PROVIDERS:
        raise NotFound(
            f"Service Profile driver {show(driver)} could not be found. It is none of {', '.join(PROVIDERS)}.",
            type="ServiceProfileDriverNotFound",
        )
    return name


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a profile that no flavor has yet.

    Raises:
        BadRequest: it has neither driver nor metainfo.
        NotFound: its driver is no service provider.
    """
    _check(body)
    return tx.insert("service_profile", {**body, "id": str(uuid.uuid4())})


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a profile.

    Raises:
        BadRequest: it would have neither driver nor metainfo.
        Conflict: a flavor has it.
        NotFound: the driver is no service provider.
    """
    _check({**row, **changes})
    _refuse_used(tx, row)
    return tx.update("service_profile", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a profile.

    Raises:
        Conflict: a flavor has it.
    """
    _refuse_used(tx, row)
    tx.delete("service_profile", row)


def _check(row: Row) -> None:
    if row["driver"]:
        provider_of(row["driver"])
    elif not row["metainfo"]:
        raise BadRequest("Service Profile needs either a driver or metainfo.", type="ServiceProfileEmpty")


def _refuse_used(tx: Transaction, row: Row) -> None:
    flavors = [flavor["id"] for flavor in tx.find("flavor") if row["id"] in flavor["service_profiles"]]
    if flavors:
        raise Conflict(
            f"Service Profile {row['id']} is used by some service instance: flavor {some(flavors)}.",
            type="ServiceProfileInUse",
        )
