# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus, in a registry of their own. docs/observe.md lists them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from portico import __version__

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# An agent says something every ten seconds; what one said that is silent is no longer so.
SILENT_S = 60.0
MAX_HOSTS = 10_000

_AGENT_MEASURES: Mapping[str, tuple[Literal["counter", "gauge"], str]] = {
    "passes": ("counter", "Comparisons of wanted and actual state that the agent made since its start"),
    "pass_seconds": ("counter", "Time that these took"),
    "errors": ("gauge", "Objects of the host that are not as wanted"),
}


class Reading(NamedTuple):
    """A gauge that is read when somebody asks: its name, what it is, its value now. Those of one name come together."""

    name: str
    text: str
    value: float
    labels: Mapping[str, str] = {}


class Metrics:
    """What is counted of one API server. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.in_flight = 0
        self._requests = Counter(
            "portico_http_requests", "Answers", ("route", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "portico_http_request_seconds",
            "Time until an answer begins",
            ("route", "method"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._transactions = Histogram(
            "portico_store_transaction_seconds",
            "Time that a transaction takes once it has begun",
            ("kind",),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._lock_wait = Histogram(
            "portico_store_lock_wait_seconds",
            "Time that a write waits for those before it",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._syncs = Histogram(
            "portico_backend_sync_seconds",
            "Time that a backend takes for one sync",
            ("backend",),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._errors = Counter(
            "portico_backend_errors", "Syncs of a backend that failed", ("backend",), registry=self.registry
        )
        self._kinds = {kind: self._transactions.labels(kind) for kind in ("read", "write")}
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._agents: dict[str, tuple[float, Mapping[str, float]]] = {}
        self.registry.register(_Called(self._agent_families))
        self.read_from(self._own_readings)

    def _own_readings(self) -> Iterator[Reading]:
        text = "Requests whose answer has not ended, streams too"
        yield Reading("portico_http_requests_in_flight", text, self.in_flight)

    def answered(self, route: str, method: str, status: int, took_s: float) -> None:
        """Count an answer, which began `took_s` after its request."""
        key = route, method, status // 100
        children = self._answers.get(key)
        if children is None:
            # To find children costs as much as to count.
            counter = self._requests.labels(route, method, f"{status // 100}xx")
            children = self._answers[key] = counter, self._seconds.labels(route, method)
        children[0].inc()
        children[1].observe(took_s)

    def transaction(self, kind: str, waited_s: float, took_s: float) -> None:
        """Note a transaction, "read" or "write", committed or not."""
        self._kinds[kind].observe(took_s)
        if kind == "write":
            self._lock_wait.observe(waited_s)

    def synced(self, backend: str, took_s: float, failed: bool) -> None:
        """Note a sync of a backend."""
        self._syncs.labels(backend).observe(took_s)
        errors = self._errors.labels(backend)
        if failed:
            errors.inc()

    def heard(self, host: str, measures: Mapping[str, float]) -> None:
        """Keep what the agent of a host says of itself, until it says something else or falls silent."""
        if measures and (host in self._agents or len(self._agents) < MAX_HOSTS):
            self._agents = {**self._spoken(), host: (time.monotonic(), measures)}

    def _spoken(self) -> dict[str, tuple[float, Mapping[str, float]]]:
        since = time.monotonic() - SILENT_S
        return {host: item for host, item in self._agents.items() if item[0] > since}

    def read_from(self, readings: Callable[[], Iterable[Reading]]) -> None:
        """Call `readings` whenever the metrics are asked for; what cannot be read now is left out."""

        def families() -> Iterator[GaugeMetricFamily]:
            for (name, text, labels), items in groupby(readings(), lambda item: (item.name, item.text, [*item.labels])):
                family = GaugeMetricFamily(name, text, labels=labels)
                for item in items:
                    family.add_metric([*item.labels.values()], item.value)
                yield family

        self.registry.register(_Called(families))

    def _agent_families(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        version = GaugeMetricFamily("portico_info", "Always 1; the labels tell the version", labels=("version",))
        version.add_metric((__version__,), 1)
        yield version
        known = self._spoken()
        for name, (kind, text) in _AGENT_MEASURES.items():
            make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            family = make(f"portico_agent_{name}", text, labels=("host",))
            for host, (_, measures) in known.items():
                if name in measures:
                    family.add_metric((host,), measures[name])
            yield family

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Show them at an address of their own, to whoever can connect; return its port and what ends that.

        Raises:
            OSError: the address cannot be listened on.
        """
        server, thread = start_http_server(port, host, self.registry)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, end


class _Called(Collector):
    """Asks a function for what is only known at the time."""

    def __init__(self, families: Callable[[], Iterable[CounterMetricFamily | GaugeMetricFamily]]) -> None:
        self._families = families

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        return self._families()

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        # The registry would call `collect` to learn names, before there is anything to read.
        return ()
