// SPDX-License-Identifier: Apache-2.0
// The topology as a tree: all that the diagram shows, for keyboard and screen reader (WAI-ARIA 1.2, role tree).

import { el, glyph } from "./dom.js";
import { key } from "./model.js";
import { plural, serviceWord, STATES } from "./words.js";

const { d3 } = window;
const FEW = 6; // networks with so few ports are open at first
const TYPING_MS = 600;

export class Outline {
  /** Fill an element with role tree; `onSelect(key)` is called when an object is chosen. */
  constructor(element, onSelect) {
    Object.assign(this, { element, onSelect, rows: [], open: new Map(), selected: "", current: "", typed: "" });
    element.addEventListener("click", (event) => this.clicked(event));
    element.addEventListener("keydown", (event) => this.pressed(event));
    element.addEventListener("focusin", (event) => this.focused(event));
  }

  draw(topology, words) {
    Object.assign(this, { topology, words });
    this.rows = [...this.listed()];
    if (!this.rows.some((row) => row.key === this.current)) this.current = this.rows[0]?.key ?? "";
    const rows = d3.select(this.element).selectAll("[role=treeitem]").data(this.rows, (row) => row.key);
    rows.enter().append(() => el("div", { role: "treeitem" }));
    rows.exit().remove();
    rows.order();
    const outline = this;
    rows.each(function draw(row) {
      outline.show(this, row);
    });
  }

  /** Write a row into its element, if it is not there already: most of a thousand never change. */
  show(element, row) {
    const about = [row.label, row.aside, row.state, row.level, row.isOpen, row.at, row.count].join("\n");
    if (element.about !== about) {
      element.about = about;
      element.replaceChildren(
        el("span", { class: "twisty", "aria-hidden": "true" }),
        row.state ? glyph(row.state) : "",
        el("span", { class: "label" }, row.label),
        el("span", { class: "aside" }, row.aside),
        row.state ? el("span", { class: "hidden" }, ` ${STATES[row.state].word}`) : "",
      );
      const attributes = { "aria-level": row.level, "aria-posinset": row.at, "aria-setsize": row.count, "data-level": row.level };
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (row.isOpen === undefined) element.removeAttribute("aria-expanded");
      else element.setAttribute("aria-expanded", row.isOpen);
      element.classList.toggle("group", row.level === 1);
    }
    element.setAttribute("aria-selected", row.key === this.selected);
    element.tabIndex = row.key === this.current ? 0 : -1;
  }

  *listed() {
    const { topology } = this;
    const groups = topology.backendNames().map((name) => {
      const backend = topology.backends.find((each) => each.name === name);
      const networks = topology.networks.filter((each) => (each["portico:backend"] ?? "") === name);
      return { key: key("backend", name), name: name && key("backend", name), label: name || "no backend", state: backend && topology.state("backend", backend),
        aside: plural(networks.length, "network"), items: networks.map((each) => this.networkRow(each)), isOpen: true };
    });
    const lists = [["router", "Routers", topology.routers, true], ["floatingip", "Floating IPs", topology.floatingips, true],
      ["workload", "Workloads", topology.workloads, false]];
    for (const [kind, label, objects, isOpen] of lists) {
      const items = objects.map((object) => this.row(kind, object, kind === "workload" ? object.ports : []));
      if (items.length > 0) groups.push({ key: `group/${kind}`, label, aside: items.length.toLocaleString("en"), items, isOpen });
    }
    yield* this.level(groups, 1);
  }

  row(kind, object, ports = [], isOpen = false) {
    const { topology } = this;
    const aside = kind === "workload" ? object.kind : topology.summary(kind, object);
    const label = topology.title(kind, object);
    return { key: key(kind, object.id), name: key(kind, object.id), kind, object, label, aside: aside === label ? "" : aside, state: topology.state(kind, object), isOpen,
      items: ports.map((port) => this.portRow(port, key(kind, object.id))) };
  }

  /** A port stands below its network and its workload: two rows of one object. */
  portRow(port, parent) {
    const row = this.row("port", port);
    const owner = port.device_owner ?? "";
    const own = owner.startsWith("network:") && !port.name ? { label: serviceWord(owner), aside: row.label } : {};
    return { ...row, ...own, key: `${parent}>${row.key}` };
  }

  networkRow(network) {
    const { topology } = this;
    const ports = [...(topology.portsOf.get(network.id) ?? []), ...(topology.servicesOf.get(network.id) ?? [])];
    return this.row("network", network, ports, ports.length <= FEW);
  }

  *level(items, level) {
    const shown = this.words.length > 0 ? items.filter((item) => this.isFound(item)) : items;
    for (const [at, item] of shown.entries()) {
      const isOpen = item.items?.length > 0 ? this.isOpen(item) : undefined;
      yield { ...item, level, at: at + 1, count: shown.length, isOpen };
      if (isOpen) yield* this.level(item.items, level + 1);
    }
  }

  isOpen(item) {
    if (this.words.length > 0 && item.items.some((each) => this.isFound(each))) return true;
    return this.open.get(item.key) ?? item.isOpen;
  }

  isFound(item) {
    if (item.kind && this.topology.matches(item.kind, item.object, this.words)) return true;
    return item.items?.some((each) => this.isFound(each)) ?? false;
  }

  /** The key of the first object that a search has found. */
  firstFound() {
    const found = this.rows.find((row) => row.kind && this.topology.matches(row.kind, row.object, this.words));
    return found?.name ?? "";
  }

  select(name) {
    this.unfold(name);
    const row = name && this.rows.find((each) => each.name === name);
    this.selected = row?.key ?? "";
    if (row) this.current = row.key;
    if (this.topology) this.draw(this.topology, this.words);
    if (row) this.elementOf(row.key)?.scrollIntoView({ block: "nearest" });
  }

  /** Open what an object is below. */
  unfold(name) {
    const [kind, id] = name.split("/");
    const network = this.topology?.network.get(kind === "port" ? this.topology.port.get(id)?.network_id : id);
    if (network) this.open.set(key("backend", network["portico:backend"] ?? ""), true);
    if (network && kind === "port") this.open.set(key("network", network.id), true);
    else if (kind !== "network") this.open.set(`group/${kind}`, true);
    if (this.topology) this.draw(this.topology, this.words);
  }

  elementOf(name) {
    return this.element.children[this.rows.findIndex((row) => row.key === name)];
  }

  rowOf(event) {
    const element = event.target.closest("[role=treeitem]");
    return element ? this.rows[Array.prototype.indexOf.call(this.element.children, element)] : null;
  }

  clicked(event) {
    const row = this.rowOf(event);
    if (!row) return;
    if (event.target.classList.contains("twisty") || !row.name) this.toggle(row, !row.isOpen);
    else this.choose(row);
    this.focus(row.key);
  }

  choose(row) {
    this.selected = row.key;
    this.onSelect(row.name);
  }

  focused(event) {
    const row = this.rowOf(event);
    if (row && row.key !== this.current) this.focus(row.key);
  }

  focus(name) {
    const before = this.elementOf(this.current);
    if (before) before.tabIndex = -1;
    this.current = name;
    const element = this.elementOf(name);
    if (!element) return;
    element.tabIndex = 0;
    element.focus();
  }

  toggle(row, isOpen) {
    if (row.isOpen === undefined) return;
    this.open.set(row.key, isOpen);
    this.draw(this.topology, this.words);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.rows.findIndex((row) => row.key === this.current);
    const row = this.rows[at];
    if (!row) return;
    const to = (index) => this.rows[index] && this.focus(this.rows[index].key);
    const keys = {
      ArrowDown: () => to(at + 1),
      ArrowUp: () => to(at - 1),
      Home: () => to(0),
      End: () => to(this.rows.length - 1),
      ArrowRight: () => (row.isOpen === false ? this.toggle(row, true) : row.isOpen && to(at + 1)),
      ArrowLeft: () => (row.isOpen ? this.toggle(row, false) : to(this.parentOf(at))),
      Enter: () => (row.name ? this.choose(row) : this.toggle(row, !row.isOpen)),
      " ": () => keys.Enter(),
    };
    if (keys[event.key]) {
      this.typed = "";
      keys[event.key]();
    } else if (event.key.length === 1) this.typeAhead(event.key, at);
    else return;
    event.preventDefault();
  }

  parentOf(at) {
    let above = at - 1;
    while (above >= 0 && this.rows[above].level >= this.rows[at].level) above -= 1;
    return above;
  }

  typeAhead(letter, at) {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => (this.typed = ""), TYPING_MS);
    this.typed += letter.toLowerCase();
    const from = this.typed.length > 1 ? at : at + 1;
    const turned = [...this.rows.slice(from), ...this.rows.slice(0, from)];
    const found = turned.find((row) => row.label.toLowerCase().startsWith(this.typed));
    if (found) this.focus(found.key);
  }
}
