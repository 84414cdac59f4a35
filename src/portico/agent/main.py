# SPDX-License-Identifier: Apache-2.0
"""Entry of `portico agent`."""

from __future__ import annotations

import platform
import signal
import threading
from collections.abc import Callable, Mapping

from portico import __version__, garbage
from portico.agent import speaker, tagging, underlay
from portico.agent.drivers.sysctls import abilities
from portico.agent.explain import explain
from portico.agent.feed import Api, Follower, Reporter
from portico.agent.runtime import Place, Runtime, only_agent
from portico.agent.sight import Sights
from portico.client import Access
from portico.hoststate import Update


def run(place: Place, *, host: str, told: Mapping[str, str], api_url: str, access: Access) -> int:
    """Follow the API and realise what it wants of `host`, until SIGTERM; the data plane then stays as it is.

    `told` are facts about the host that the settings give, and `access` is as whom the agent asks the API.

    Returns the exit code: 0 when asked to stop, 1 when the loop has ended by itself.

    Raises:
        SettingsError: `api_url` is not one.
        OSError: the namespaces cannot be opened; not root?
        Unavailable: another agent runs here.
    """
    api = Api(api_url, access)
    runtime: Runtime
    # Lambdas, for there is no runtime yet.
    reporter = Reporter(
        api,
        host,
        lambda: facts(place, told, runtime),
        lambda: runtime.measures(),  # noqa: PLW0108
        lambda: runtime.metered(),  # noqa: PLW0108
    )
    runtime = Runtime(place, reporter.report)
    sights = Sights(api, host, lambda port_id: explain(place, runtime.wanted(), port_id))

    def offer(update: Update) -> None:
        sights.take(update.looks)
        runtime.offer(update)

    follower = Follower(api, host, offer=offer, connected=runtime.resend)

    def begin() -> None:
        reporter.start()
        follower.start()

    code = serve(place, runtime, begin)
    follower.stop()
    return code


def facts(place: Place, told: Mapping[str, str], runtime: Runtime) -> dict[str, str]:
    """Return what is worth knowing about this host and its agent; what is `told` as empty is found out."""
    found = {f"address_v{version}": underlay.address(version) for version in (4, 6) if not told[f"address_v{version}"]}
    return {
        "version": __version__,
        "kernel": platform.release(),
        "machine": platform.node(),
        "netns": place.netns,
        **told,
        **found,
        **_able({**abilities(), "bgp": speaker.lack(), "bpf": tagging.lacks(), "logging": runtime.lacks_logging}),
        "fast_path": runtime.fast_path(),
        **speaker.facts(speaker.folder(place.run_dir, place.netns), runtime.troubles("speaker", "peer")),
        **{kind: str(count) for kind, count in runtime.counts().items()},
    }


def _able(abilities: Mapping[str, str]) -> dict[str, str]:
    """Return what this host can do, and for each ability that it lacks why."""
    able = " ".join(name for name, reason in abilities.items() if not reason)
    return {"able": able, **{f"lacks_{name}": reason for name, reason in abilities.items() if reason}}


def serve(place: Place, runtime: Runtime, begin: Callable[[], None]) -> int:
    """Run until SIGTERM or SIGINT, holding the right to change the data plane; `begin` is called once it runs.

    Returns the exit code: 0 when asked to stop, 1 when the loop has ended by itself.

    Raises:
        Unavailable: another agent runs here.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with only_agent(place):
        runtime.start()
        begin()
        garbage.collect_less()
        while runtime.alive():
            if stop.wait(0.5):
                runtime.stop()
                return 0
    return 1
