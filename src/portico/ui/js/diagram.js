// SPDX-License-Identifier: Apache-2.0
// The picture of the topology. It repeats what the outline says, for those who see it: the outline is for the keyboard.

import { connect, layout } from "./layout.js";
import { related, ties } from "./related.js";
import { linkOf, wayOf } from "./way.js";
import { plural, STATES, stateOf } from "./words.js";

const { d3 } = window;
const SCALES = [0.12, 4];
const STEP = 1.35;
const WIDTHS = [1, 1.25, 1.6, 2, 2.6];
const CHANGED_MS = 1500;
const FAR = 0.62; // below this scale names are all that could be read
const ROUTER_TEXT = 78; // what a router's text leaves free, left and right
const TONES = ["ok", "idle", "bad"];
const pencil = document.createElement("canvas").getContext("2d");

/** Cut a text to a width in pixels. */
function cut(text, width, font) {
  pencil.font = font;
  if (pencil.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && pencil.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

/** Of layouts of several widths, the one that can be shown largest. */
function bestOf(topology, width, height) {
  const plans = WIDTHS.map((factor) => layout(topology, width * factor));
  const scale = (plan) => Math.min(1, width / plan.width, height / plan.height);
  return connect(plans.reduce((best, plan) => (scale(plan) > scale(best) * 1.02 ? plan : best)), topology);
}

export class Diagram {
  /** Draw into an `svg` element; `onSelect(key)` is called when something is clicked. */
  constructor(element, onSelect) {
    this.svg = d3.select(element);
    this.element = element;
    this.view = this.svg.append("g");
    for (const layer of ["lanes", "links", "titles", "cards", "routers", "ties", "trace"]) this.view.append("g").attr("class", layer);
    this.zoom = d3.behavior.zoom().scaleExtent(SCALES).on("zoom", () => this.moved());
    this.svg.call(this.zoom).on("dblclick.zoom", null);
    // One for all: what has a thousand marks is to have no thousand more elements.
    const tip = this.svg.append("title");
    this.svg.on("mouseover", () => tip.text(this.aboutOf(d3.event.target.closest?.("[data-key]")?.getAttribute("data-key") ?? "")));
    this.svg.on("click", () => {
      const hit = d3.event.target.closest?.("[data-key]");
      if (hit && !d3.event.defaultPrevented) onSelect(hit.getAttribute("data-key"));
    });
    this.states = new Map();
    this.traced = { hops: [], passes: true };
    const style = getComputedStyle(element);
    this.fonts = { strong: `600 14px ${style.fontFamily}`, far: `600 24px ${style.fontFamily}`, small: `12px ${style.fontFamily}`, plain: `13px ${style.fontFamily}` };
    this.isMoved = false; // until then all of it is in view, whatever comes and goes
    this.isFar = false;
  }

  /** What a pointer that rests on something is told. */
  aboutOf(name) {
    const object = this.topology?.find(name);
    if (!object) return "";
    const kind = name.split("/")[0];
    const [title, summary] = [this.topology.title(kind, object), this.topology.summary(kind, object)];
    return [title, summary === title ? "" : summary, STATES[this.topology.state(kind, object)].word].filter(Boolean).join(" · ");
  }

  /** Note that somebody has chosen what to look at. */
  moved() {
    this.isMoved = true;
    this.move();
  }

  move() {
    this.view.attr("transform", `translate(${this.zoom.translate()})scale(${this.zoom.scale()})`);
    const isFar = this.zoom.scale() < FAR;
    if (isFar === this.isFar) return;
    this.isFar = isFar;
    this.svg.classed("far", isFar);
    this.names();
  }

  /** Write the names of networks and routers, as much of them as fits. */
  names() {
    const font = this.isFar ? this.fonts.far : this.fonts.strong;
    const name = (kind, object, room) => cut(this.topology.title(kind, object), room, font);
    say(this.view.selectAll(".card").select(".title"), (card) => name("network", card.network, card.width - 46));
    say(this.view.selectAll(".router").select(".title"), (item) => name("router", item.router, item.width - ROUTER_TEXT));
  }

  /** Show everything, as large as it may be. */
  fit() {
    const { width, height } = this.element.getBoundingClientRect();
    const scale = Math.max(SCALES[0], Math.min(1, width / this.plan.width, height / this.plan.height));
    this.zoom.scale(scale).translate([Math.max(0, (width - this.plan.width * scale) / 2), 0]);
    this.isMoved = false;
    this.move();
  }

  zoomBy(factor) {
    const { width, height } = this.element.getBoundingClientRect();
    const [before, [x, y]] = [this.zoom.scale(), this.zoom.translate()];
    const scale = Math.min(SCALES[1], Math.max(SCALES[0], before * factor));
    const about = (middle, at) => middle - ((middle - at) * scale) / before;
    this.zoom.scale(scale).translate([about(width / 2, x), about(height / 2, y)]);
    this.moved();
  }

  zoomIn() {
    this.zoomBy(STEP);
  }

  zoomOut() {
    this.zoomBy(1 / STEP);
  }

  /** Bring an object into view if it is not. */
  reveal(name) {
    const place = this.plan?.places.get(name);
    if (!place) return;
    const { width, height } = this.element.getBoundingClientRect();
    const [scale, [x, y]] = [this.zoom.scale(), this.zoom.translate()];
    const [left, top] = [place.x * scale + x, place.y * scale + y];
    if (left > 24 && left < width - 24 && top > 24 && top < height - 24) return;
    this.zoom.translate([width / 2 - place.x * scale, height / 2 - place.y * scale]);
    this.moved();
  }

  draw(topology, words) {
    this.topology = topology;
    this.words = words;
    const { width, height } = this.element.getBoundingClientRect();
    this.plan = bestOf(topology, width, height);
    this.lanes();
    this.links();
    this.cards();
    this.routers();
    this.names();
    if (!this.isMoved) this.fit();
    this.mark();
    this.way();
  }

  lanes() {
    const lanes = join(this.view.select(".lanes"), this.plan.lanes, "lane", (made) => made.append("rect").attr("rx", 14));
    write(lanes, { transform: (lane) => `translate(${lane.x},${lane.y})`, "data-key": (lane) => (lane.backend ? lane.key : null) });
    write(lanes.select("rect"), { width: (lane) => this.plan.width - 2 * lane.x, height: (lane) => lane.height });
    const titles = join(this.view.select(".titles"), this.plan.lanes, "lane-title", (made) => made.append("text"));
    write(titles, { transform: (lane) => `translate(${lane.x + 14},${lane.y + 25})` });
    say(titles.select("text"), (lane) => {
      const state = lane.backend && stateOf(lane.backend) !== "ACTIVE" ? ` — ${lane.backend.status}` : "";
      return `${lane.title}${state} · ${plural(lane.count, "network")}`;
    });
  }

  links() {
    const links = join(this.view.select(".links"), this.plan.links, "link", (made) => made.append("path"));
    for (const tone of TONES) links.classed(tone, (link) => STATES[stateOf(link.object)].tone === tone);
    write(links.select("path"), { d: (link) => linkOf(link.from, link.to) });
  }

  cards() {
    const cards = join(this.view.select(".cards"), this.plan.cards, "card", (made) => {
      made.append("rect").attr("rx", 10);
      made.append("path").attr({ class: "state", "fill-rule": "evenodd", transform: "translate(20,24)scale(1.15)" });
      made.append("text").attr({ x: 34, y: 29, class: "title" });
      made.append("text").attr({ x: 14, y: 51, class: "meta" });
      made.append("g").attr("class", "items");
    });
    write(cards, { transform: (card) => `translate(${card.x},${card.y})`, "data-key": (card) => card.key });
    write(cards.select("rect"), { width: (card) => card.width, height: (card) => card.height });
    this.showState(cards.select("path.state"), (card) => stateOf(card.network), (card) => card.key);
    say(cards.select(".meta"), (card) => cut(this.metaOf(card), card.width - 28, this.fonts.small));
    const diagram = this;
    cards.select(".items").each(function items(card) {
      diagram.items(d3.select(this), card);
    });
  }

  metaOf({ network, items }) {
    const state = stateOf(network);
    const troubled = items.filter((item) => stateOf(item.object) === "ERROR").length;
    return [
      state === "ACTIVE" ? "" : STATES[state].word,
      troubled ? `${troubled} in error` : "",
      this.topology.summary("network", network),
    ].filter(Boolean).join(" · ");
  }

  items(group, card) {
    const items = join(group, card.items, "item", (made) => {
      made.append("rect").attr({ class: "hit", rx: 5 });
      made.append("path").attr({ class: "state", "fill-rule": "evenodd" });
      made.filter((item) => item.isLine).append("text").attr({ class: "name", x: 16, y: 4.5 });
      made.filter((item) => item.isLine).append("text").attr({ class: "address", y: 4.5, "text-anchor": "end" });
    }, (item) => `${item.isLine} ${item.key}`);
    write(items, { transform: (item) => `translate(${item.x},${item.y})`, "data-key": (item) => item.key });
    write(items.select(".hit"), {
      x: (item) => (item.isLine ? -11 : -7.5),
      y: (item) => (item.isLine ? -12 : -7.5),
      width: (item) => (item.isLine ? card.width - 14 : 15),
      height: (item) => (item.isLine ? 24 : 15),
    });
    this.showState(items.select("path.state"), (item) => stateOf(item.object), (item) => item.key);
    const lines = items.filter((item) => item.isLine);
    write(lines.select(".address"), { x: card.width - 36 });
    say(lines.select(".address"), (item) => cut(this.asideOf(item), 124, this.fonts.small));
    say(lines.select(".name"), (item) => {
      const aside = this.asideOf(item);
      pencil.font = this.fonts.small;
      const room = card.width - 62 - Math.min(124, pencil.measureText(aside).width);
      return cut(this.topology.title(item.kind, item.object), room, this.fonts.plain);
    });
    items.classed("found", (item) => this.words.length > 0 && this.topology.matches(item.kind, item.object, this.words));
  }

  /** What stands at the end of a line: an address, or that something is not as it should be. */
  asideOf({ kind, object }) {
    const state = stateOf(object);
    if (state !== "ACTIVE" && kind === "port") return STATES[state].word;
    const summary = this.topology.summary(kind, object);
    return summary === this.topology.title(kind, object) ? "" : summary;
  }

  routers() {
    const routers = join(this.view.select(".routers"), this.plan.routers, "router", (made) => {
      made.append("rect").attr("rx", 30);
      made.append("path").attr({ class: "state", "fill-rule": "evenodd", transform: "translate(28,30)scale(1.15)" });
      made.append("text").attr({ x: 44, y: 27, class: "title" });
      made.append("text").attr({ x: 44, y: 45, class: "meta" });
    });
    write(routers, { transform: (item) => `translate(${item.x},${item.y})`, "data-key": (item) => item.key });
    write(routers.select("rect"), { width: (item) => item.width, height: (item) => item.height });
    this.showState(routers.select("path.state"), (item) => stateOf(item.router), (item) => item.key);
    say(routers.select(".meta"), (item) => cut(`router · ${this.topology.summary("router", item.router)}`, item.width - ROUTER_TEXT, this.fonts.small));
  }

  /** Give marks their shapes, and let those that have changed be seen for a moment. */
  showState(marks, state, name) {
    const { states } = this;
    marks.each(function note(item) {
      const [before, now] = [states.get(name(item)), state(item)];
      if (before === now && this.hasAttribute("d")) return;
      states.set(name(item), now);
      this.setAttribute("d", STATES[now].shape);
      this.setAttribute("class", `state ${STATES[now].tone}`);
      if (before === undefined || before === now) return;
      this.classList.add("changed");
      setTimeout(() => this.classList.remove("changed"), CHANGED_MS);
    });
  }

  select(kind, object, name) {
    this.selected = object ? { kind, object, name } : null;
    this.mark();
  }

  /** Mark what is selected and what belongs to it, and what a search has not found. */
  mark() {
    const { topology, selected, words } = this;
    if (!topology) return;
    const name = selected?.name;
    const belongs = new Set(selected ? Object.values(related(topology, selected.kind, selected.object)).flat() : []);
    this.svg.classed("searching", words.length > 0);
    this.view.selectAll("[data-key]").each(function mark() {
      const own = this.getAttribute("data-key");
      this.classList.toggle("selected", own === name);
      this.classList.toggle("related", belongs.has(own));
    });
    this.view.selectAll(".link").classed("related", (link) => link.key === name || link.ends.includes(name));
    this.view.selectAll(".card").classed("found", (card) =>
      words.length > 0 && topology.matches("network", card.network, words));
    this.view.selectAll(".router").classed("found", (item) => words.length > 0 && topology.matches("router", item.router, words));
    const tied = selected ? ties(topology, selected.kind, selected.object) : [];
    this.lines(".ties", "tie", tied.map((keys) => wayOf(this.plan.places, keys, true)));
  }

  /** Draw the way of a packet: `hops` are keys, the last one is where it ends. */
  trace(hops, passes) {
    this.traced = { hops, passes };
    this.way();
  }

  way() {
    const { hops, passes } = this.traced;
    this.lines(".trace", "way", [wayOf(this.plan.places, hops, passes)]);
    this.view.select(".trace").classed("stopped", !passes);
  }

  lines(layer, name, paths) {
    const lines = this.view.select(layer).selectAll(`path.${name}`).data(paths.filter(Boolean));
    lines.enter().append("path").attr("class", name);
    lines.exit().remove();
    lines.attr("d", (path) => path);
  }
}

/** Set attributes where they differ: writing the same again would have the browser draw all of it anew. */
function write(selection, values) {
  selection.each(function set(item) {
    for (const [name, value] of Object.entries(values)) {
      const wanted = typeof value === "function" ? value(item) : value;
      if (wanted === null) this.removeAttribute(name);
      else if (this.getAttribute(name) !== String(wanted)) this.setAttribute(name, wanted);
    }
  });
}

function say(selection, words) {
  selection.each(function set(item) {
    const text = words(item);
    if (this.textContent !== text) this.textContent = text;
  });
}

/** Join data to groups of a class by key; `fill` gives new ones their parts. */
function join(parent, items, name, fill, keyOf = (item) => item.key) {
  const groups = parent.selectAll(`g.${name}`).data(items, keyOf);
  const made = groups.enter().append("g").attr("class", name);
  fill(made);
  groups.exit().remove();
  groups.order();
  return groups;
}
