// SPDX-License-Identifier: Apache-2.0
// Where things stand in the diagram. Pure: the same topology and width give the same places.
//
// From top to bottom: external networks, routers, then a lane for each backend with its networks. A network is a card;
// with few ports these are lines in it, with many a field of marks. Links never pass behind a router or a card: what
// seems to end at one does.

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
const ROUTER_LINK = (LINK * CARD) / ROUTER.width; // right of a router's name, and above that of a card
const BETWEEN = 56; // room for links above and below routers,
const FOR_EACH = 7; // and for those of each router,
const MOST_ROOM = 160; // up to this
const ASIDE = 8; // how far from a box a link turns
const STEPS = [0, 4, -4]; // apart are links that pass the same gap from several rows,
const EITHER = 2; // and those that go up from those that go down
const TRUNK = 5; // left of the lanes so many links to lower ones are told apart

export function layout(topology, width) {
  const plan = { width: Math.max(width, 2 * CARD), height: 0, lanes: [], cards: [], routers: [], links: [], places: new Map(), groups: [] };
  const outside = topology.networks.filter((network) => network["router:external"]);
  const between = Math.min(MOST_ROOM, BETWEEN + topology.routers.length * FOR_EACH);
  let y = GAP;
  if (outside.length > 0) y = row(plan, topology, { key: "external", title: "External networks" }, outside, y) + between;
  if (topology.routers.length > 0) y = routers(plan, topology, y) + between;
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
  return plan;
}

/** Add the links to a plan. */
export function connect(plan, topology) {
  const lower = plan.groups.filter((group) => group.isInside);
  for (const group of plan.groups) channels(group, lower.includes(group) ? lower[0] : group);
  links(plan, topology);
  return plan;
}

/** Put networks side by side, in as many rows as they need; returns where the lane ends. */
function row(plan, topology, lane, networks, top) {
  let [x, y, tallest] = [GAP + PAD, top + LANE_HEAD, 0];
  const boxes = [];
  for (const network of networks) {
    const card = size(topology, network);
    if (x > GAP + PAD && x + card.width > plan.width - GAP) [x, y, tallest] = [GAP + PAD, y + tallest + GAP, 0];
    boxes.push(place(plan, topology, network, { ...card, x, y }));
    x += card.width + GAP;
    tallest = Math.max(tallest, card.height);
    plan.width = Math.max(plan.width, x + GAP);
  }
  const bottom = y + tallest + PAD;
  plan.lanes.push({ ...lane, count: networks.length, x: GAP, y: top, height: bottom - top });
  plan.groups.push({ boxes, top, bottom, isInside: lane.key !== "external" });
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
    plan.places.set(item.key, { x: card.x + x, y: card.y + y, isItem: true, isLine: item.isLine, box: around });
    return item;
  });
  plan.cards.push({ ...card, key: name, network, items });
  plan.places.set(name, { x: around.link, y: card.y, isCard: true, box: around });
  return around;
}

function routers(plan, topology, top) {
  let [x, y] = [GAP + PAD, top];
  const boxes = [];
  for (const router of topology.routers) {
    if (x > GAP + PAD && x + ROUTER.width > plan.width - GAP) [x, y] = [GAP + PAD, y + ROUTER.height + GAP];
    const name = key("router", router.id);
    plan.routers.push({ key: name, router, x, y, ...ROUTER });
    const around = box({ x, y, ...ROUTER }, ROUTER_LINK);
    boxes.push(around);
    plan.places.set(name, { x: x + ROUTER.width / 2, y: y + ROUTER.height / 2, box: around });
    x += ROUTER.width + GAP;
  }
  plan.groups.push({ boxes, top, bottom: y + ROUTER.height, isInside: false });
  return y + ROUTER.height;
}

/** The edges of something, and at which part of its width links end. */
function box({ x, y, width, height }, part) {
  return { top: y, bottom: y + height, left: x, right: x + width, link: x + part * width, above: [], below: [] };
}

/**
 * Note by which points links leave each box of a group, so that none passes behind another one: `above` and `below`.
 * What comes from above to a lane that is not the first one passes left of those before.
 */
function channels(group, first) {
  for (const [at, own] of group.boxes.entries()) {
    const row = group.boxes.filter((other) => other.top === own.top);
    const over = group.boxes.filter((other) => other.top < own.top);
    own.group = group;
    const under = group.boxes.filter((other) => other.top > own.top);
    own.above = channel(own, over, own.top - ASIDE, group.top - ASIDE, -EITHER);
    own.below = channel(own, under, Math.max(...row.map((other) => other.bottom)) + ASIDE, group.bottom + ASIDE, EITHER);
    if (first === group) continue;
    const [x, y] = [GAP - ASIDE - (at % TRUNK) * (ASIDE / 2), group.top - ASIDE];
    const turn = own.above.at(-1) ?? { x: own.link, y };
    own.above = [...own.above.slice(0, -1), turn, { x, y }, { x, y: first.top - ASIDE }];
  }
}

/** The points from a box past others to the edge of its group: along a gap beside it, or left of all of them. */
function channel(own, others, turn, edge, aside) {
  const isFree = (x) => others.every((other) => x < other.left || x > other.right);
  if (isFree(own.link)) return others.length > 0 ? [{ x: own.link, y: edge }] : [];
  const step = aside + STEPS[new Set(others.map((other) => other.top)).size % STEPS.length];
  const x = [own.right + GAP / 2, own.left - GAP / 2].find(isFree) ?? GAP + PAD / 2;
  return [{ x: own.link, y: turn }, { x: x + step, y: turn }, { x: x + step, y: edge }];
}

function links(plan, topology) {
  for (const { key: name, router } of plan.routers) {
    const here = plan.places.get(name).box;
    for (const port of topology.interfacesOf.get(router.id) ?? []) {
      const there = plan.places.get(key("network", port.network_id))?.box;
      const ends = [name, key("network", port.network_id)];
      if (there) plan.links.push({ key: key("port", port.id), ends, from: here, to: there, object: port });
    }
    for (const id of topology.exitsOf(router)) {
      const there = plan.places.get(key("network", id))?.box;
      const ends = [name, key("network", id)];
      const isKnown = plan.links.some((each) => each.ends[0] === ends[0] && each.ends[1] === ends[1]);
      if (there && !isKnown) plan.links.push({ key: `${name}>${id}`, ends, from: here, to: there, object: router });
    }
  }
}
