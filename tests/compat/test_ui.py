# SPDX-License-Identifier: Apache-2.0
"""The page at /ui/ in Chromium, against an API as a process of its own."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import bcrypt
import pytest
from axe_playwright_python.sync_playwright import Axe
from bench.browser import chromium
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from .conftest import api
from .world import WHY, Row, World

TIMEOUT_MS = 60_000

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT_MS)
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    """What pages share: a cache, and with it a second each."""
    return browser.new_context(viewport={"width": 1440, "height": 900})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with api(tmp_path_factory.mktemp("api"), "--backends", "bridge,routed") as url, World(url) as made:
        yield made


@pytest.fixture(scope="module")
def rows(world: World) -> dict[str, Row]:
    return world.fill()


@pytest.fixture
def open_page(context: BrowserContext, world: World, rows: dict[str, Row]) -> Iterator[Open]:
    """Open the page; at the end, none may have complained or asked another host for anything."""
    trouble: list[str] = []
    pages: list[Page] = []

    def asked(url: str) -> None:
        if not url.startswith(f"{world.url}/"):
            trouble.append(url)

    def opened(where: str = "", **media: Any) -> Page:
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.emulate_media(**media)
        page.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked(request.url))
        page.goto(f"{world.url}/ui/{where}")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert trouble == []


def item(page: Page, name: str) -> Locator:
    """Return the outline's row that begins with a name."""
    return page.get_by_role("treeitem", name=re.compile(rf"^{name}\b")).first


def test_outline_and_diagram_show_networks_by_backend_with_their_ports(open_page: Open) -> None:
    page = open_page()
    tree = page.get_by_role("tree", name="Topology")
    expect(tree.get_by_role("treeitem", level=1).filter(has_text="bridge")).to_be_visible()
    expect(item(page, "vm")).to_have_text(re.compile("vm.*10.1.0.[0-9]+.*error"))
    expect(item(page, "cache")).to_contain_text("2001:db8:9::")
    expect(item(page, "probe")).to_contain_text("switched off")
    diagram = page.locator("#diagram")
    for words in (
        "External networks · 1 network",
        "edge",
        "bridge · 2 networks",
        "routed · 1 network",
        "blue",
        "web-shop",
    ):
        expect(diagram.get_by_text(words, exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="1 error")).to_be_visible()
    # States differ by shape, not by colour alone.
    shapes = {mark.get_attribute("d") for mark in diagram.locator(".item .state").all()}
    assert len(shapes) == 4


def test_panel_shows_wanted_actual_and_the_last_error(open_page: Open, rows: dict[str, Row]) -> None:
    page = open_page(f"#port/{rows['vm']['id']}")
    panel = page.get_by_role("tabpanel", name="Details")
    expect(panel.get_by_role("heading", name="vm")).to_be_visible()
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("vm")
    expect(panel.get_by_role("region", name="Last error")).to_contain_text(WHY)
    expect(panel.get_by_role("row", name="Host h2")).to_contain_text("agent alive")
    expect(panel.get_by_role("row", name="Traffic carries traffic")).to_contain_text("error (differs)")
    panel.get_by_role("link", name="blue").click()
    expect(panel.get_by_role("row", name="Subnet")).to_contain_text("10.1.0.0/24")
    expect(panel.get_by_role("row", name="Ports 4 ports")).to_contain_text("2 active")
    panel.get_by_role("link", name="edge").click()
    expect(panel.get_by_role("row", name="Way out outside")).to_contain_text("203.0.113.")
    expect(page.locator("#diagram .link.related")).to_have_count(3)
    for _ in range(2):
        page.go_back()
    expect(panel.get_by_role("heading", name="vm")).to_be_visible()
    panel.get_by_text("As the API tells it").click()
    expect(panel.locator("pre")).to_contain_text(rows["vm"]["mac_address"])


def test_a_floating_ip_is_tied_to_its_port_by_its_router(open_page: Open, world: World, rows: dict[str, Row]) -> None:
    page, floating = open_page(), rows["floating"]
    forwarding = {"protocol": "tcp", "external_port": 8080, "internal_port": 80, "internal_port_id": rows["api"]["id"]}
    spare = world.create("floatingips", floating_network_id=rows["outside"]["id"])
    address = {**forwarding, "internal_ip_address": rows["api"]["fixed_ips"][0]["ip_address"]}
    path = f"/v2.0/floatingips/{spare['id']}/port_forwardings"
    assert world.http.post(path, json={"port_forwarding": address}).status_code == 201
    item(page, floating["floating_ip_address"]).click()
    expect(page.get_by_role("row", name=f"Leads to {floating['fixed_ip_address']}")).to_contain_text("active")
    expect(page.locator("#diagram .tie")).to_have_attribute("d", re.compile("M[^M]*C[^M]*C[^M]*"))
    item(page, spare["floating_ip_address"]).click()
    expect(page.get_by_role("row", name="tcp 8080")).to_contain_text(f"{address['internal_ip_address']}:80")
    expect(item(page, spare["floating_ip_address"])).to_contain_text("1 port forwarding")
    expect(page.locator("#diagram .tie")).to_have_attribute("d", re.compile("M[^M]*C[^M]*C[^M]*"))
    panel = page.get_by_role("tabpanel", name="Details")
    panel.get_by_role("link", name="api").click()
    panel.get_by_role("link", name=spare["floating_ip_address"]).click()
    world.http.delete(f"{path}/{world.http.get(path).json()['port_forwardings'][0]['id']}")
    expect(panel).to_contain_text("It leads to no port.")
    world.delete("floatingips", spare)
    expect(page.get_by_text("It is gone")).to_be_visible()


def test_what_changes_is_seen_without_a_reload(open_page: Open, world: World, rows: dict[str, Row]) -> None:
    page = open_page()
    made = world.port(rows["shop"], "late")
    expect(item(page, "late")).to_contain_text("down")
    item(page, "late").click()
    world.report("h1", [(made, "active", "")])
    expect(page.locator(".panel .badge")).to_have_text("active")
    expect(page.locator(f"#diagram [data-key='port/{made['id']}'] .state.ok")).to_be_visible()
    world.report("h1", [(made, "error", "the link is gone")])
    expect(page.get_by_role("region", name="Last error")).to_contain_text("the link is gone")
    world.update("ports", made, name="renamed")
    expect(page.get_by_role("heading", name="renamed")).to_be_visible()
    world.delete("ports", made)
    expect(page.get_by_text("It is gone")).to_be_visible()
    expect(item(page, "renamed")).to_have_count(0)


def test_search_finds_by_name_address_host_and_state(open_page: Open, rows: dict[str, Row]) -> None:
    page = open_page()
    search = page.get_by_role("searchbox")
    for words, name in (("VM h2", "vm"), (rows["cache"]["mac_address"], "cache"), ("port error", "vm")):
        search.fill(words)
        expect(page.locator("#status")).to_contain_text("1 port")
        expect(item(page, name)).to_be_visible()
        expect(item(page, "api")).to_have_count(0)
    expect(page.locator("#diagram .item.found")).to_have_count(1)
    search.press("Enter")
    expect(page.get_by_role("heading", name="vm")).to_be_visible()
    search.fill("no such thing")
    expect(page.locator("#status")).to_have_text("Nothing found")
    search.press("Escape")
    expect(item(page, "api")).to_be_visible()
    page.get_by_role("button", name="1 switched off").click()
    expect(item(page, "probe")).to_be_visible()
    expect(item(page, "api")).to_have_count(0)


def test_everything_can_be_reached_with_the_keyboard(open_page: Open) -> None:
    page = open_page()
    focused = page.locator(":focus")
    for name in ("Skip to the outline", "Search names, addresses, hosts, states", "bridge"):
        page.keyboard.press("Tab")
        expect(focused).to_have_accessible_name(re.compile(f"^{name}"))
    for keys, name in (
        (["ArrowDown"], "blue"),
        (["ArrowRight"], "api"),
        (["ArrowLeft"], "blue"),
        (["ArrowLeft", "s"], "shop"),
        (["End"], "Workloads"),
        (["Home"], "bridge"),
        (["ArrowDown", "ArrowRight", "ArrowRight", "v", "m"], "vm"),
    ):
        for key in keys:
            page.keyboard.press(key)
        expect(focused).to_have_accessible_name(re.compile(f"^{name}"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="vm")).to_be_visible()
    expect(focused).to_have_attribute("aria-selected", "true")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(focused).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("heading", name="vm")).to_be_visible()


def test_axe_finds_nothing_in_light_and_dark(open_page: Open, rows: dict[str, Row]) -> None:
    page = open_page(f"#port/{rows['vm']['id']}", reduced_motion="reduce")
    expect(page.get_by_role("row", name="Host h2")).to_be_visible()
    page.get_by_role("searchbox").fill("vm")
    expect(page.locator("#status")).to_contain_text("1 port")
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", ground))) < 64) == (scheme == "dark")
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []


def test_no_mark_moves_for_who_wants_less_motion(open_page: Open, world: World, rows: dict[str, Row]) -> None:
    page = open_page(reduced_motion="reduce")
    page.evaluate(
        """([selector, timeout_ms]) => {
            window.motion = new Promise((resolve) => {
                const look = ([{ target }]) => {
                    if (target.classList.contains("changed")) resolve(getComputedStyle(target).animationName);
                };
                const watched = { attributes: true, attributeFilter: ["class"] };
                new MutationObserver(look).observe(document.querySelector(selector), watched);
                setTimeout(resolve, timeout_ms, "no change was seen");
            });
        }""",
        [f"#diagram [data-key='port/{rows['web']['id']}'] .state", TIMEOUT_MS],
    )
    world.report("h1", [(rows["web"], "waiting", "")])
    assert page.evaluate("window.motion") == "none"
    world.report("h1", [(rows["web"], "active", "")])


def test_a_lost_connection_is_told_and_taken_up_again(
    context: BrowserContext, world: World, rows: dict[str, Row]
) -> None:
    page = context.new_page()
    page.goto(f"{world.url}/ui/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.route("**/portico/v1/**", lambda route: route.abort())
    world.update("ports", rows["api"], description="anything")
    expect(page.get_by_text("Connection lost", exact=True)).to_be_visible()
    expect(page.locator("#status")).to_have_text("Connection lost: the server does not answer")
    page.unroute("**/portico/v1/**")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.close()


def test_a_topology_that_comes_in_pages_is_shown_whole(context: BrowserContext, world: World, open_page: Open) -> None:
    whole = open_page().locator("#diagram .item").count()
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    asked: list[str] = []

    def three_at_once(route: Route) -> None:
        url = route.request.url
        asked.append(url)
        route.continue_(url=url if "limit=" in url else f"{url}?limit=3")

    page.route(re.compile("/portico/v1/topology"), three_at_once)
    page.goto(f"{world.url}/ui/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.locator("#diagram .item")).to_have_count(whole)
    assert whole > 3 and len(asked) > whole // 3
    page.close()


def test_a_trace_is_told_hop_by_hop_and_drawn(open_page: Open, rows: dict[str, Row]) -> None:
    page = open_page()
    page.get_by_role("tab", name="Trace").click()
    source, destination = page.get_by_label("From port"), page.get_by_label("To port or address")
    result, ask = page.locator("#trace-result"), page.get_by_role("button", name="Trace")
    source.fill("web")
    destination.fill("web-shop")
    ask.click()
    expect(result.get_by_role("heading")).to_have_text("The packet passes")
    expect(result.get_by_role("listitem").filter(has_text="edge")).to_contain_text("passes: ")
    expect(page.locator("#diagram .trace:not(.stopped) .way")).to_have_attribute("d", re.compile("C.*C"))
    page.get_by_label("Protocol").select_option("icmp")
    destination.fill("vm")
    ask.click()
    expect(result.get_by_role("heading")).to_have_text("The packet does not pass")
    # They are on two hosts, which this kind of network does not join.
    expect(result.get_by_role("listitem").last).to_contain_text(re.compile("^blue .*missing: "))
    expect(page.locator("#diagram .stopped .way")).to_have_attribute("d", re.compile("l16 16m0 -16l-16 16$"))
    result.get_by_role("link", name="blue").last.click()
    expect(page.get_by_role("heading", name="blue")).to_be_visible()
    page.get_by_role("tab", name="Trace").click()
    source.fill("nobody")
    ask.click()
    expect(result).to_contain_text("nobody: is the name, address or id of no port")


def test_the_pictures_of_the_documentation_are_of_this_page(
    open_page: Open, rows: dict[str, Row], tmp_path: Path
) -> None:
    folder = Path(os.environ.get("PORTICO_UI_PICTURES") or tmp_path)
    page = open_page(f"#port/{rows['vm']['id']}", reduced_motion="reduce")
    page.set_viewport_size({"width": 1320, "height": 760})
    expect(page.get_by_role("row", name="Host h2")).to_be_visible()
    expect(page.get_by_role("tab", name="Trace")).to_be_visible()
    expect(page.locator("#diagram").get_by_text("cache", exact=True)).to_be_in_viewport(ratio=1)
    page.screenshot(path=folder / "ui.png")
    page = open_page(f"#port/{rows['web']['id']}", reduced_motion="reduce", color_scheme="dark")
    page.set_viewport_size({"width": 1320, "height": 760})
    page.get_by_role("tab", name="Trace").click()
    page.get_by_label("To port or address").fill("probe")
    page.get_by_role("button", name="Trace").click()
    expect(page.locator("#trace-result").get_by_role("heading")).to_have_text("The packet does not pass")
    expect(page.locator("#trace-result .why")).to_contain_text("probe: admin_state_up is false")
    # Out of one card, along two links, and into another one, where a cross ends it.
    way = re.compile(r"^M[^M]*C[^M]*C[^M]*M[\d. ]+l16 16m0 -16l-16 16$")
    expect(page.locator("#diagram .stopped .way")).to_have_attribute("d", way)
    page.screenshot(path=folder / "ui-trace.png")
    assert all((folder / name).stat().st_size > 20_000 for name in ("ui.png", "ui-trace.png"))


def test_a_thousand_ports_are_shown(open_page: Open, world: World) -> None:
    big = world.network("big", "10.64.0.0/16")
    world.ports(big, 1000)
    page = open_page()
    assert page.locator(f"#diagram [data-key='network/{big['id']}'] .item").count() == 1000
    assert page.evaluate("performance.getEntriesByName('portico:drawn')[0].startTime") < TIMEOUT_MS
    item(page, "big").press("ArrowRight")
    expect(page.get_by_role("treeitem", name=re.compile("^app-999"))).to_have_attribute("aria-posinset", "1000")
    world.delete("ports", world.http.get("/v2.0/ports?name=app-7").json()["ports"][0])
    expect(page.get_by_role("treeitem", name=re.compile("^big"))).to_contain_text("999 ports")


def test_a_password_is_asked_for_by_the_browser(browser: Browser, tmp_path: Path) -> None:
    lines = [f"{name}:{bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode()}\n" for name in ("root", "alice")]
    (tmp_path / "users").write_text("".join(lines))
    options = ["--auth", "http_basic", "--http-basic-file", str(tmp_path / "users"), "--http-basic-admins", "root"]
    with api(tmp_path, *options) as url:
        for name, state in (("root", "Live"), ("alice", "Read every 5 s")):
            page = browser.new_page(http_credentials={"username": name, "password": name})
            page.goto(f"{url}/ui/")
            expect(page.locator("#connection")).to_have_text(state)
            expect(page.get_by_text("Nothing here yet")).to_be_visible()
            page.close()


def test_a_token_is_asked_for_by_the_page(browser: Browser, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    (tmp_path / "password").write_text("secret")
    options = ["--auth", "keystone", "--keystone-auth-url", nobody, "--keystone-username", "portico"]
    with api(tmp_path, *options, "--keystone-password-file", str(tmp_path / "password")) as url:
        page = browser.new_page()
        page.goto(f"{url}/ui/")
        token = page.get_by_label("Token of Keystone")
        expect(token).to_be_focused()
        token.fill("a-token-of-mine")
        with page.expect_request("**/portico/v1/topology") as asked:
            token.press("Enter")
        assert asked.value.headers["x-auth-token"] == "a-token-of-mine"
        # Nobody answers at Keystone's address: not the token is at fault, but the connection.
        expect(page.locator("#connection")).to_have_text("Connection lost")
        page.close()
