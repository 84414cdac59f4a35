# SPDX-License-Identifier: Apache-2.0
"""The API on SQLite and on PostgreSQL: the same measurements on both, and what one has to do with the other.

On SQLite also for a member of a project with a token of Keystone, to whom policy applies.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from itertools import cycle

from bench import api, identity
from bench.figure import Figure, median
from bench.load import Connect, request, send
from bench.running import Site, site
from portico.testing.postgresql import PostgresqlServer

SQLITE, MEMBER, POSTGRESQL = "SQLite", "SQLite, a member with Keystone", "PostgreSQL"
ROUNDS = 7
CREATES = 150
SHOWS = 800
LISTS = 24
ROWS = 1000


def measure() -> list[Figure]:
    """Measure the API on both databases; the bounds of times are SQLite's, for PostgreSQL's there are ratios."""
    with identity.member() as member:
        as_member = [replace(item, database=MEMBER) for item in api.measure(member)]
    with PostgresqlServer(durable=True) as server, site(PORTICO_DATABASE=server.url()) as shared:
        with site() as embedded:
            ratios = [_single_writer(embedded, shared)]
            figures = [replace(item, database=SQLITE) for item in api.measure(embedded)] + as_member
        # A count of mistakes, which has no unit, has the same bound everywhere.
        found = [_unbound(item) if item.unit else item for item in api.measure(shared)]
        figures += [replace(item, database=POSTGRESQL) for item in found]
        return [*figures, *ratios, *_two_processes(shared)]


def _unbound(item: Figure) -> Figure:
    return replace(item, at_most=None, at_least=None)


def _single_writer(embedded: Site, shared: Site) -> Figure:
    """Compare one client's creates, turn and turn about."""
    loads = []
    for portico in (embedded, shared):
        body = {"port": {"network_id": portico.network("10.70.0.0/16")}}
        loads.append((portico.connect, [request("POST", "/v2.0/ports", body)] * CREATES))
    ratios = []
    for _ in range(ROUNDS):
        here, there = (send(connect, requests, 1) for connect, requests in loads)
        if refused := here.refused + there.refused:
            raise RuntimeError(refused[0].decode())
        ratios.append(there.per_second / here.per_second)
    return Figure("create port, one client, on PostgreSQL", median(ratios), "x", at_least=0.5, beside="on SQLite")


def _two_processes(shared: Site) -> list[Figure]:
    """Compare reads of eight clients over two API processes with those over one, turn and turn about."""
    listed = request("GET", f"/v2.0/ports?limit={ROWS}")
    shown = request("GET", f"/v2.0/ports/{shared.call('GET', '/v2.0/ports?limit=1')['ports'][0]['id']}")
    both = _in_turn(shared.connect, shared.another_api())
    figures = []
    for name, raw, count in (("show port", shown, SHOWS), (f"list of {ROWS:,} ports", listed, LISTS)):
        ratios = []
        for _ in range(ROUNDS):
            alone, together = (send(connect, [raw] * count, api.CONCURRENCY) for connect in (shared.connect, both))
            if refused := alone.refused + together.refused:
                raise RuntimeError(refused[0].decode())
            ratios.append(together.per_second / alone.per_second)
        what = f"{name}, {api.CONCURRENCY} at a time, on PostgreSQL with two API processes"
        figures.append(Figure(what, median(ratios), "x", at_least=1.5, beside="with one"))
    return figures


def _in_turn(*connects: Connect) -> Connect:
    """Return what connects to each in turn."""
    turns = cycle(connects)

    def connect() -> socket.socket:
        return next(turns)()

    return connect
