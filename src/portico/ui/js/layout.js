// SPDX-License-Identifier: Apache-2.0
// Where things stand in the diagram. Pure: the same topology and width give the same places.
//
// From top to bottom: external networks, routers, then a lane for each backend with its networks. A network is a card;
// with few ports these are lines in it, with many a field of marks.

import { key } from "./model.js";

const CARD = 264;
const HEAD = 66;
const LINE = 26;
const CELL = 15;
const MOST_LINES = 6;
const FEWEST_COLUMNS = 16;
const MOST_COLUMNS = 46;
const PAD = 12;
const GAP = 24;
const LANE_HEAD = 38;
const ROUTER = { width: 208, height: 60 };
const LINK = 0.7; // right of the middle, where no lane has its title
const ROUTER_LINK = 0.88; // right of a router's name
const BETWEEN = 56; // room for links between rows

export function layout(topology, width) {
  const plan = { width: Math.max(width, 2 * CARD), height: 0, lanes: [], cards: [], routers: [], links: [], places: new Map() };
  const outside = topology.networks.filter((network) => network["router:external"]);
  let y = GAP;
  if (outside.length > 0) y = row(plan, topology, { key: "external", title: "External networks" }, outside, y) + BETWEEN;
  if (topology.routers.length > 0) y = routers(plan, topology, y) + BETWEEN;
  const order = new Map(topology.routers.flatMap((router, at) => topology.networksOf(router.id).map((id) => [id, at])));
  for (const name of topology.backendNames()) {
    const inside = topology.networks.filter((each) => !each["router:external"] && (each["portico:backend"] ?? "") === name);
    if (inside.length === 0) continue;
    const joined = (network) => order.get(network.id) ?? Infinity;
    inside.sort((a, b) => (joined(a) === joined(b) ? 0 : joined(a) - joined(b)));
    const backend = topology.backends.find((each) => each.name === name);
    const lane = { key: key("backend", name), title: name || "no backend", backend };
    y = row(plan, topology, lane, inside, y) + GAP;
  }
  plan.height = y + GAP;
  links(plan, topology);
  return plan;
}

/** Put networks side by side, in as many rows as they need; returns where the lane ends. */
function row(plan, topology, lane, networks, top) {
  let [x, y, tallest] = [GAP + PAD, top + LANE_HEAD, 0];
  for (const network of networks) {
    const card = size(topology, network);
    if (x > GAP + PAD && x + card.width > plan.width - GAP) [x, y, tallest] = [GAP + PAD, y + tallest + GAP, 0];
    place(plan, topology, network, { ...card, x, y });
    x += card.width + GAP;
    tallest = Math.max(tallest, card.height);
    plan.width = Math.max(plan.width, x + GAP);
  }
  const bottom = y + tallest + PAD;
  plan.lanes.push({ ...lane, count: networks.length, x: GAP, y: top, height: bottom - top });
  return bottom;
}

/** What stands in a network's card: ports of workloads, and floating IPs if it is external. */
function inside(topology, network) {
  const floating = (topology.floatingOf.get(network.id) ?? []).map((object) => ({ kind: "floatingip", object }));
  return [...floating, ...(topology.portsOf.get(network.id) ?? []).map((object) => ({ kind: "port", object }))];
}

function size(topology, network) {
  const items = inside(topology, network);
  if (items.length <= MOST_LINES) {
    return { items, columns: 0, width: CARD, height: HEAD + items.length * LINE + (items.length > 0 ? PAD : 0) };
  }
  const columns = Math.min(MOST_COLUMNS, Math.max(FEWEST_COLUMNS, Math.ceil(Math.sqrt(items.length * 2))));
  const rows = Math.ceil(items.length / columns);
  return { items, columns, width: Math.max(CARD, columns * CELL + 2 * PAD), height: HEAD + rows * CELL + PAD + 4 };
}

function place(plan, topology, network, card) {
  const name = key("network", network.id);
  const around = box(card, LINK);
  const items = card.items.map(({ kind, object }, at) => {
    const [x, y] = card.columns
      ? [PAD + ((at % card.columns) + 0.5) * CELL, HEAD + (Math.floor(at / card.columns) + 0.5) * CELL]
      : [PAD + 6, HEAD + (at + 0.5) * LINE];
    const item = { key: key(kind, object.id), kind, object, x, y, isLine: card.columns === 0 };
    plan.places.set(item.key, { x: card.x + x, y: card.y + y, isLine: item.isLine, card: around });
    return item;
  });
  plan.cards.push({ ...card, key: name, network, items });
  plan.places.set(name, { x: around.link, y: card.y, isCard: true, ...around });
}

function routers(plan, topology, top) {
  let [x, y] = [GAP + PAD, top];
  for (const router of topology.routers) {
    if (x > GAP + PAD && x + ROUTER.width > plan.width - GAP) [x, y] = [GAP + PAD, y + ROUTER.height + GAP];
    const name = key("router", router.id);
    plan.routers.push({ key: name, router, x, y, ...ROUTER });
    plan.places.set(name, { x: x + ROUTER.width / 2, y: y + ROUTER.height / 2, ...box({ x, y, ...ROUTER }, ROUTER_LINK) });
    x += ROUTER.width + GAP;
  }
  return y + ROUTER.height;
}

/** The edges of something, and at which part of its width links end. */
function box({ x, y, width, height }, part) {
  return { top: y, bottom: y + height, left: x, link: x + part * width };
}

function links(plan, topology) {
  for (const { key: name, router } of plan.routers) {
    const here = plan.places.get(name);
    for (const port of topology.interfacesOf.get(router.id) ?? []) {
      const there = plan.places.get(key("network", port.network_id));
      if (there) plan.links.push(link(key("port", port.id), name, key("network", port.network_id), here, there, port));
    }
    for (const id of topology.exitsOf(router)) {
      const there = plan.places.get(key("network", id));
      const ends = [name, key("network", id)];
      const isKnown = plan.links.some((each) => each.ends[0] === ends[0] && each.ends[1] === ends[1]);
      if (there && !isKnown) plan.links.push(link(`${name}>${id}`, ...ends, here, there, router));
    }
  }
}

function link(name, from, to, here, there, object) {
  const isUp = there.bottom < here.top;
  const source = { x: here.link, y: isUp ? here.top : here.bottom };
  const target = { x: there.link, y: isUp ? there.bottom : there.top };
  return { key: name, ends: [from, to], source, target, object };
}
