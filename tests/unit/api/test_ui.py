# SPDX-License-Identifier: Apache-2.0
"""The page's files as they are served, and the topology that it reads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from portico.api import topology
from portico.api.app import make_app
from portico.api.ui import pages
from portico.broker.status import write_statuses
from portico.contract import ObjectStatus
from portico.identity.http_basic import HttpBasic
from portico.store.store import Store

from .asker import Asker, Row
from .conftest import MakeApi

UI = Path(__file__).parents[3] / "src/portico/ui"
WRITTEN = sorted(path for path in UI.rglob("*") if path.suffix in {".js", ".css", ".html"})


@pytest.fixture(scope="module")
def app(lasting_store: Store, make_api: MakeApi) -> Starlette:
    return make_app(make_api(lasting_store))


def get(app: Starlette, path: str, **headers: str) -> httpx.Response:
    """Ask over a socket of TCP, as browsers do."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:9696") as client:
            return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return asyncio.run(ask())


def test_the_page_and_all_that_it_names_are_served(app: Starlette) -> None:
    assert get(app, "/ui").headers["location"] == "/ui/"
    page = get(app, "/ui/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert {"d3.js", "js/main.js", "style.css", "icon.svg"} <= set(named)
    for name in named:
        assert get(app, f"/ui/{name}").status_code == 200, name
    # What is not named there is loaded late, one file after the other.
    assert {f"js/{path.name}" for path in (UI / "js").iterdir()} <= set(named)
    assert pages()["js/main.js"].media_type.startswith("text/javascript")


def test_nothing_else_is_served(app: Starlette) -> None:
    for name in ("nothing.js", "../api/app.py", "%2e%2e/api/app.py", "js", "__init__.py", "js/../../errors.py"):
        assert get(app, f"/ui/{name}").status_code == 404, name


def test_a_file_that_is_known_is_not_sent_again(app: Starlette) -> None:
    first = get(app, "/ui/js/main.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = get(app, "/ui/js/main.js", if_none_match=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert get(app, "/ui/js/main.js", if_none_match='"other"').status_code == 200


def test_a_browser_is_told_to_run_and_to_ask_nothing_else(app: Starlette) -> None:
    for path in ("/ui/", "/ui/d3.js", "/ui/icon.svg"):
        headers = get(app, path).headers
        policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"


def test_only_the_files_are_for_everybody(lasting_store: Store, make_api: MakeApi, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    app = make_app(make_api(lasting_store), HttpBasic(tmp_path / "users", ()))
    assert get(app, "/ui").status_code == 307
    assert get(app, "/ui/").status_code == get(app, "/ui/js/main.js").status_code == 200
    for path in ("/portico/v1/topology", "/openapi.json", "/v2.0/ports"):
        refused = get(app, path)
        assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_files_are_short_licensed_and_name_no_other_host(path: Path) -> None:
    text = path.read_text()
    assert "SPDX-License-Identifier: Apache-2.0" in text
    assert len(text.splitlines()) <= 400
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert re.findall(r"innerHTML =[^=]|insertAdjacentHTML|document\.write|\beval\(|style=\"", text) == []


def test_the_picture_in_the_repository_is_small() -> None:
    assert 20_000 < (UI.parents[2] / "docs/img/ui.png").stat().st_size < 150_000


def test_the_topology_tells_all_then_what_changed(api: Asker) -> None:
    network = api.network("10.0.0.0/24", name="blue")
    kept, gone = api.port(network, name="kept"), api.port(network, name="gone")
    whole = api.get("/portico/v1/topology")
    assert whole["complete"] and whole["gone"] == []
    assert {port["name"] for port in whole["ports"]} == {"kept", "gone"}
    assert [each["cidr"] for each in whole["subnets"]] == ["10.0.0.0/24"]
    for name in ("network", "port"):
        assert set(whole[f"{name}s"][0]) - {"tenant_id"} == set(topology.FIELDS[name])

    api.update("ports", kept, name="renamed")
    api.delete("ports", gone)
    changes = api.get(f"/portico/v1/topology?since={whole['revision']}")
    assert not changes["complete"] and changes["networks"] == []
    assert [port["name"] for port in changes["ports"]] == ["renamed"]
    assert changes["gone"] == [f"port/{gone['id']}"]
    nothing = api.get(f"/portico/v1/topology?since={changes['revision']}")
    assert (nothing["revision"], nothing["ports"], nothing["gone"]) == (changes["revision"], [], [])


def test_the_topology_tells_why_something_is_not_active(store: Store, make_api: MakeApi) -> None:
    with Asker(make_app(make_api(store))) as api:
        port = api.port(api.network("10.0.0.0/24"))
        before = api.get("/portico/v1/topology")["revision"]
        write_statuses(store, [ObjectStatus("port", port["id"], "ERROR", "the link is gone")])
        for path in ("/portico/v1/topology", f"/portico/v1/topology?since={before}"):
            assert api.get(path)["reasons"] == {f"port/{port['id']}": "the link is gone"}
        write_statuses(store, [ObjectStatus("port", port["id"], "ACTIVE", "")])
        assert api.get("/portico/v1/topology")["reasons"] == {}


def test_the_topology_is_told_whole_when_changes_are_unknown_or_many(
    api: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = api.network("10.0.0.0/24")
    revision = api.get("/portico/v1/topology")["revision"]
    assert api.get(f"/portico/v1/topology?since={revision + 7}")["complete"]
    monkeypatch.setattr(topology, "MAX_CHANGES", 2)
    for _ in range(3):
        api.port(network)
    assert api.get(f"/portico/v1/topology?since={revision}")["complete"]
    assert api.ask("GET", "/portico/v1/topology?since=x").error == (400, "HTTPBadRequest")


def pages_of(api: Asker, search: str | None) -> Iterator[Row]:
    """Yield the pages of the topology, from the one that `search` asks for on."""
    while search is not None:
        page = api.get(f"/portico/v1/topology{search}")
        yield page
        links = page.get("topology_links", [])
        search = f"?{urlsplit(links[0]['href']).query}" if links else None


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_the_whole_comes_in_pages(api: Asker, limit: int) -> None:
    network = api.network("10.0.0.0/24")
    for _ in range(4):
        api.port(network)
    (whole,) = pages_of(api, "")
    pages = list(pages_of(api, f"?limit={limit}"))
    sizes = [sum(len(page[f"{kind}s"]) for kind in topology.FIELDS) for page in pages]
    assert sizes == [limit] * (6 // limit) + ([6 % limit] if 6 % limit else [])
    assert [page["complete"] for page in pages] == [True] + [False] * (len(pages) - 1)
    assert {page["revision"] for page in pages} == {whole["revision"]}
    for kind in topology.FIELDS:
        assert [row for page in pages for row in page[f"{kind}s"]] == whole[f"{kind}s"]


def test_a_page_is_never_longer_than_a_list(store: Store, make_api: MakeApi) -> None:
    made = make_api(store)
    made.service = msgspec.structs.replace(made.service, page_max=2)
    with Asker(make_app(made)) as api:
        api.port(api.network("10.0.0.0/24"))
        for search in ("", "?limit=0", "?limit=9"):
            sizes = [sum(len(page[f"{kind}s"]) for kind in topology.FIELDS) for page in pages_of(api, search)]
            assert sizes == [2, 1]


def test_what_changes_between_pages_comes_with_the_next_changes(api: Asker) -> None:
    network = api.network("10.0.0.0/24")
    ports = {api.port(network)["id"] for _ in range(6)}
    known: dict[str, str] = {}
    for page in pages_of(api, "?limit=2"):
        is_first = not known
        known |= {port["id"]: port["name"] for port in page["ports"]}
        if known and is_first:
            told, begins = next(iter(known)), parse_qs(urlsplit(page["topology_links"][0]["href"]).query)["marker"][0]
            late, *_ = ports - known.keys() - {begins.removeprefix("port/")}
            api.update("ports", {"id": told}, name="told")
            api.delete("ports", {"id": begins.removeprefix("port/")})
            api.update("ports", {"id": late}, name="late")
            made = api.port(network, name="made")["id"]
    assert ports - known.keys() == {begins.removeprefix("port/")} and known[told] == ""
    changes = api.get(f"/portico/v1/topology?since={page['revision']}")
    known |= {port["id"]: port["name"] for port in changes["ports"]}
    assert changes["gone"] == [begins]
    assert {name: each for each, name in known.items() if name} == {"told": told, "late": late, "made": made}


@pytest.mark.parametrize("search", ["marker=1", "marker=wheel/1", "marker=port/%00", "limit=x", "revision=x"])
def test_what_is_no_page_is_refused(api: Asker, search: str) -> None:
    assert api.ask("GET", f"/portico/v1/topology?{search}").status == 400
