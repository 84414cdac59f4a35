# SPDX-License-Identifier: Apache-2.0
"""How the route of a request is found."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Match, Route
from starlette.types import Scope

from portico.api.app import routes
from portico.api.route import Branches
from portico.store.store import Store

from .conftest import MakeApi

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")


def scope(method: str, path: str) -> Scope:
    return {"type": "http", "method": method, "path": path}


def by_trying_all(every: list[Route], asked: Scope) -> tuple[Match, Route | None]:
    found = [(one.matches(asked)[0], one) for one in every]
    for wanted in (Match.FULL, Match.PARTIAL):
        for match, one in found:
            if match is wanted:
                return match, one
    return Match.NONE, None


def test_each_request_finds_the_route_that_trying_all_of_them_finds(store: Store, make_api: MakeApi) -> None:
    every = routes(make_api(store))
    branches = Branches(every)
    paths = [re.sub(r"\{[^}]*\}", "x", one.path) for one in every]
    asked = [*paths, *(f"{path}/" for path in paths), *(f"{path}/x/y" for path in paths), "/v2.0/nothing", "/x", ""]
    for path in asked:
        for method in METHODS:
            match, found = branches.matches(scope(method, path))
            assert (match, found.get("route")) == by_trying_all(every, scope(method, path)), f"{method} {path}"


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_what_is_no_request_has_no_route(store: Store, make_api: MakeApi, kind: str) -> None:
    assert Branches(routes(make_api(store))).matches({**scope("GET", "/v2.0/ports"), "type": kind}) == (Match.NONE, {})
