# SPDX-License-Identifier: Apache-2.0
"""The page at /ui/: links of its diagram, what is read from afar, where the focus goes, odd names, more details."""

from __future__ import annotations

import re
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from .test_ui import Open, browser, context, item, open_page, rows, world
from .world import Row, World

__all__ = ["browser", "context", "open_page", "rows", "world"]

# Returns, of a topology drawn so wide: its rows of routers, those of its second lane, the links, and what is wrong:
# points of links that are inside a router or a card, and ends that are at no edge of what they join.
LOOK = """async ([answer, width]) => {
    const { connect, layout } = await import("/ui/js/layout.js");
    const { Topology } = await import("/ui/js/model.js");
    const { linkOf } = await import("/ui/js/way.js");
    const topology = new Topology();
    topology.take(answer);
    const plan = connect(layout(topology, width), topology);
    const boxes = [...plan.cards, ...plan.routers];
    const isInside = ({ x, y }) => (box) =>
        x > box.x + 1 && x < box.x + box.width - 1 && y > box.y + 1 && y < box.y + box.height - 1;
    const isAt = ({ x, y }) => (box) =>
        x > box.x && x < box.x + box.width && Math.min(Math.abs(y - box.y), Math.abs(y - box.y - box.height)) < 0.5;
    const wrong = [];
    for (const { key, ends, from, to } of plan.links) {
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("d", linkOf(from, to));
        const length = path.getTotalLength();
        for (let at = 0; at < length; at += 6) {
            const hit = boxes.find(isInside(path.getPointAtLength(at)));
            if (hit) wrong.push(`${key} passes behind ${hit.key}`);
        }
        const met = [0, length].map((at) => boxes.find(isAt(path.getPointAtLength(at)))?.key);
        if (met.join() !== ends.join()) wrong.push(`${key} joins ${met} in place of ${ends}`);
    }
    const rowsOf = (items) => new Set(items.map((each) => each.y)).size;
    const lane = plan.lanes[1];
    const first = plan.cards.filter((card) => card.y > lane.y && card.y < lane.y + lane.height);
    return { rows: [rowsOf(plan.routers), rowsOf(first)], links: plan.links.length, wrong: [...new Set(wrong)] };
}"""

# Draws a topology in place of what there is; returns at which scale.
DRAW = """async (answer) => {
    const { Diagram } = await import("/ui/js/diagram.js");
    const { Topology } = await import("/ui/js/model.js");
    const topology = new Topology();
    topology.take(answer);
    const element = document.getElementById("diagram");
    const fresh = element.cloneNode(false);
    fresh.setAttribute("class", "diagram");
    element.replaceWith(fresh);
    const diagram = new Diagram(fresh, () => {});
    diagram.draw(topology, []);
    return diagram.zoom.scale();
}"""


def topology(routers: int, networks: int) -> dict[str, Any]:
    """Return an answer of the API: each router joins two networks out of all lanes, which have few or many ports."""

    def network(number: int, backend: str, **values: object) -> Row:
        row = {"id": f"n{number}", "name": f"net-{number}", "status": "ACTIVE", "admin_state_up": True, "mtu": 1500}
        return {**row, "portico:backend": backend, "router:external": False, **values}

    def port(name: str, network_id: str, owner: str, device: str) -> Row:
        fixed = [{"ip_address": "192.0.2.1", "subnet_id": ""}]
        row = {"id": name, "name": "", "status": "ACTIVE", "admin_state_up": True, "network_id": network_id}
        return {**row, "device_owner": owner, "device_id": device, "fixed_ips": fixed, "mac_address": ""}

    outside = [network(number, "bridge", **{"router:external": True}) for number in range(100, 104)]
    inside = [network(number, "routed" if number % 4 == 3 else "bridge") for number in range(networks)]
    ports = [
        port(f"p{number}-{each}", f"n{number}", "docker:endpoint", f"d{number}-{each}")
        for number in range(networks)
        for each in range((3, 0, 40, 150)[number % 3 + (number % 7 == 0)])
    ]
    made = []
    for number in range(routers):
        made.append({"id": f"r{number}", "name": f"r-{number}", "status": "ACTIVE", "admin_state_up": True})
        ports.append(port(f"g{number}", f"n{100 + number % 4}", "network:router_gateway", f"r{number}"))
        places = (number * 5 % networks, (number * 3 + 1) % networks)
        ports += [port(f"i{number}-{each}", f"n{each}", "network:router_interface", f"r{number}") for each in places]
    answer = {"revision": 1, "complete": True, "gone": [], "reasons": {}, "subnets": [], "floatingips": []}
    return {**answer, "networks": [*outside, *inside], "ports": ports, "routers": made}


def test_no_link_passes_behind_anything_that_it_does_not_join(open_page: Open) -> None:
    page = open_page()
    for routers, networks, width in ((1, 2, 700), (9, 14, 700), (9, 30, 1500)):
        found = page.evaluate(LOOK, [topology(routers, networks), width])
        assert found["wrong"] == [], (routers, networks, width)
        assert found["links"] >= 2 * routers
        if routers > 8 and width < 1500:
            assert min(found["rows"]) > 1, "else nothing could be in the way"


def test_names_can_be_read_however_much_there_is_and_marks_tell_what_they_are(open_page: Open) -> None:
    page = open_page()
    diagram = page.locator("#diagram")
    heights, scales = [], []
    for answer in (topology(1, 2), topology(9, 30)):
        scales.append(page.evaluate(DRAW, answer))
        box = diagram.locator(".card > .title").get_by_text("net-0", exact=True).bounding_box()
        assert box is not None
        heights.append(box["height"])
    expect(diagram).to_have_class(re.compile(r"\bfar\b"))
    assert scales[0] == 1 and heights[1] > 1.5 * scales[1] * heights[0]
    tip = diagram.locator("> title")
    diagram.locator("[data-key='port/p2-7'] .state").hover()
    expect(tip).to_have_text("192.0.2.1 · active")
    diagram.locator("[data-key='router/r0'] .title").hover()
    expect(tip).to_have_text("r-0 · 2 networks · active")


def test_a_trace_begins_at_the_port_that_is_selected_and_axe_finds_nothing(
    open_page: Open, rows: dict[str, Row]
) -> None:
    page = open_page(f"#port/{rows['web']['id']}", reduced_motion="reduce")
    expect(page.get_by_role("heading", name="web")).to_be_visible()
    page.get_by_role("tab", name="Trace").click()
    source = page.get_by_label("From port")
    expect(source).to_have_value("web")
    item(page, "api").click()
    page.get_by_role("tab", name="Trace").click()
    expect(source).to_have_value("web")
    page.get_by_label("To port or address").fill("probe")
    page.get_by_role("button", name="Trace").click()
    expect(page.locator("#trace-result").get_by_role("listitem").last).to_contain_text("probe")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []


def test_the_focus_goes_where_a_link_leads_and_stays_while_things_change(
    open_page: Open, world: World, rows: dict[str, Row]
) -> None:
    page = open_page(f"#port/{rows['vm']['id']}")
    panel, focused = page.get_by_role("tabpanel", name="Details"), page.locator(":focus")
    panel.get_by_role("link", name="blue").press("Enter")
    expect(focused).to_have_text("blue")
    expect(focused).to_have_role("heading")
    page.keyboard.press("Tab")
    expect(focused).to_have_attribute("href", f"#router/{rows['edge']['id']}")
    raw = panel.get_by_text("As the API tells it")
    title, link = panel.get_by_role("heading", name="blue"), panel.get_by_role("link", name="spare")
    for note, target in (("first", raw), ("second", title), ("third", link)):
        target.focus()
        world.update("networks", rows["blue"], description=note)
        expect(panel.locator("pre")).to_contain_text(note)
        expect(target).to_be_focused()
    page.get_by_role("tab", name="Trace").click()
    page.get_by_label("From port").fill("web")
    page.get_by_label("To port or address").fill("probe")
    page.get_by_role("button", name="Trace").press("Enter")
    page.locator("#trace-result").get_by_role("link", name="edge").first.press("Enter")
    expect(focused).to_have_text("edge")
    expect(focused).to_have_role("heading")


def test_names_and_ids_are_text_whatever_their_letters(open_page: Open, world: World) -> None:
    network = world.network("<script>alert(1)</script>", "10.3.0.0/24")
    devices = {"odd-a": "50%", "odd-b": "a>b", "odd-c": "%41 #?/x", "<img src=x onerror=alert(1)>": "<b>x</b>"}
    ports = [world.port(network, name, device_id=device) for name, device in devices.items()]
    page = open_page()
    heading = page.get_by_role("tabpanel", name="Details").get_by_role("heading", level=2)
    page.get_by_role("treeitem", level=1, name=re.compile("^Workloads")).press("Enter")
    for name in devices:
        page.get_by_role("treeitem", level=2, name=re.compile(f"^{re.escape(name)}")).click()
        expect(heading).to_have_text(name)
        expect(page.locator("#panel .eyebrow")).to_have_text("Workload")
        expect(page.get_by_role("treeitem", selected=True)).to_contain_text(name)
    page.go_back()
    expect(heading).to_have_text("odd-c")
    page.reload()  # the address alone names it
    expect(heading).to_have_text("odd-c")
    page.get_by_role("link", name="<script>").click()
    expect(heading).to_have_text(network["name"])
    for nothing in ("port/%", "constructor/x"):
        expect(open_page(f"#{nothing}").get_by_role("treeitem", name=re.compile("^blue"))).to_be_visible()
    for port in ports:
        world.delete("ports", port)
    world.delete("networks", network)


def test_what_is_renamed_or_goes_is_told_and_the_focus_stays(
    open_page: Open, world: World, rows: dict[str, Row]
) -> None:
    made = world.port(rows["shop"], "short-lived")
    page = open_page(f"#port/{made['id']}")
    panel = page.get_by_role("tabpanel", name="Details")
    panel.get_by_role("link", name="shop", exact=False).first.focus()
    world.update("ports", made, name="renamed")
    expect(page).to_have_title("renamed · Portico")
    world.delete("ports", made)
    expect(page.get_by_text("It is gone")).to_be_visible()
    expect(panel).to_be_focused()
    expect(page).to_have_title("Portico")
    expect(page.locator("#announcement")).to_contain_text("is gone")


def test_every_gateway_of_a_router_and_every_subport_of_a_trunk_is_shown(
    open_page: Open, world: World, rows: dict[str, Row]
) -> None:
    other = world.network("beyond", "198.51.100.0/24", **{"router:external": True})
    router = world.create("routers", name="two-ways")
    gateways = [{"network_id": rows["outside"]["id"]}, {"network_id": other["id"], "enable_snat": False}]
    body = {"router": {"external_gateways": gateways}}
    assert world.http.put(f"/v2.0/routers/{router['id']}/add_external_gateways", json=body).status_code == 200
    page = open_page(f"#router/{router['id']}")
    panel = page.get_by_role("tabpanel", name="Details")
    for way, nat in (("outside 203.0.113.", "on"), ("beyond 198.51.100.", "off")):
        expect(panel.get_by_role("row", name=f"Way out {way}")).to_be_visible()
        expect(panel.get_by_role("row", name=f"Source NAT {nat}")).to_be_visible()
    sub = world.port(rows["shop"], "sub", host="", device_id="")
    item_of_trunk = {"port_id": sub["id"], "segmentation_type": "vlan", "segmentation_id": 7}
    trunk = world.create("trunks", port_id=rows["spare"]["id"], sub_ports=[item_of_trunk])
    page = open_page(f"#port/{rows['spare']['id']}")
    expect(page.get_by_role("tabpanel", name="Details").get_by_role("row", name="VLAN 7 sub")).to_be_visible()
    for collection, row in (("trunks", trunk), ("ports", sub), ("routers", router), ("networks", other)):
        world.delete(collection, row)


def test_what_is_chosen_shows_where_the_system_has_its_own_colours(open_page: Open, rows: dict[str, Row]) -> None:
    page = open_page(f"#port/{rows['web']['id']}", forced_colors="active")
    expect(page.get_by_role("treeitem", selected=True)).to_have_css("outline-style", "solid")
    expect(page.get_by_role("tab", name="Trace")).to_be_visible()
    lines = page.evaluate(
        "[...document.querySelectorAll('[role=tab]')].map((tab) => getComputedStyle(tab).borderBottomColor)"
    )
    assert len(set(lines)) == 2
