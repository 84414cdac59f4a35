// SPDX-License-Identifier: Apache-2.0
// All about one object: what is wanted, what is, why they differ, and where to go on from there.

import { get, getIfThere } from "./api.js";
import { aspects } from "./aspects.js";
import { badge, el, glyph } from "./dom.js";
import { hashOf, ledTo } from "./model.js";
import { related } from "./related.js";
import { KINDS, serviceWord, STATES } from "./words.js";

const MOST_LINKS = 24;

export class Panel {
  constructor(element, topology, onSelect) {
    Object.assign(this, { element, topology, onSelect, name: "", details: {} });
  }

  /** Show an object at once as far as it is known, then all that the API tells of it. */
  async show(name) {
    if (name !== this.name) this.details = {};
    this.name = name;
    this.draw();
    const [kind, object] = this.found();
    this.shown = object;
    if (!object) return;
    try {
      const details = await read(kind, object);
      if (this.name !== name) return;
      this.details = details;
    } catch (error) {
      if (this.name !== name) return;
      this.details = { trouble: error.message };
    }
    this.draw();
  }

  /** Show what has changed of the same object. */
  refresh() {
    const [, object] = this.found();
    if (this.name && object !== this.shown) this.show(this.name);
    else this.draw();
  }

  found() {
    return [this.name.split("/")[0], this.topology.find(this.name)];
  }

  draw() {
    const [kind, object] = this.found();
    if (object) this.fill(...this.parts(kind, object, this.element.querySelector("details")?.open));
    else if (!this.name) this.fill(el("p", { class: "empty" }, "Choose something in the outline or the diagram."), legend());
    else this.fill(el("p", { class: "empty" }, this.topology.revision ? "It is gone, or not for you to see." : "Reading…"));
  }

  /** Put other content in, unless it is the same, and leave the focus where it is. */
  fill(...parts) {
    const made = el("div", {}, ...parts);
    if (made.innerHTML === this.element.innerHTML) return;
    const focused = document.activeElement;
    const isInside = focused !== this.element && this.element.contains(focused);
    const href = isInside && focused.getAttribute("href");
    this.element.replaceChildren(...made.childNodes);
    if (!isInside) return;
    (this.element.querySelector(href ? `a[href="${CSS.escape(href)}"]` : focused.localName) ?? this.element).focus();
  }

  parts(kind, object, isRawOpen) {
    const { topology, details } = this;
    const state = topology.state(kind, object);
    const reason = object.reason || topology.reasons.get(this.name) || "";
    return [
      el("header", {},
        el("p", { class: "eyebrow" }, KINDS[kind].word),
        el("h2", { id: "panel-title", tabindex: "-1" }, topology.title(kind, object)),
        el("p", { class: "line" }, badge(state), " ", el("span", { class: "muted" }, topology.summary(kind, object)))),
      this.why(state, reason || pending(kind, object)),
      this.table(aspects(topology, kind, details.object ?? object, details)),
      ...this.lists(kind, object),
      details.trouble && el("p", { class: "why bad" }, details.trouble),
      details.object && el("details", { open: isRawOpen }, el("summary", {}, "As the API tells it"),
        el("pre", { tabindex: "0" }, JSON.stringify(details.object, null, 2))),
    ].filter(Boolean);
  }

  why(state, reason) {
    if (!reason) return null;
    return el("section", { class: `why ${STATES[state].tone}`, "aria-label": "Last error" },
      glyph(state), el("div", {}, el("h3", {}, state === "ERROR" ? "Last error" : "Why"), el("p", {}, reason)));
  }

  table(rows) {
    if (rows.length === 0) return null;
    const line = ({ aspect, wanted, actual, isSame }) =>
      el("tr", { class: isSame === false ? "differs" : null },
        el("th", { scope: "row" }, aspect),
        actual ? el("td", {}, wanted) : el("td", { colspan: 2 }, wanted),
        actual && el("td", {}, actual, isSame === false && el("span", { class: "hidden" }, " (differs)")));
    return el("table", {},
      el("caption", { class: "hidden" }, "Wanted and actual"),
      el("thead", {}, el("tr", {}, ...["Aspect", "Wanted", "Actual"].map((word) => el("th", { scope: "col" }, word)))),
      el("tbody", {}, ...rows.map(line)));
  }

  lists(kind, object) {
    return Object.entries(related(this.topology, kind, object)).filter(([, keys]) => keys.length > 0).map(([word, keys]) => {
      const more = keys.length - MOST_LINKS;
      return el("section", {}, el("h3", {}, keys.length > 1 ? `${word} (${keys.length.toLocaleString("en")})` : word),
        el("ul", { class: "links" }, ...keys.slice(0, MOST_LINKS).map((each) => el("li", {}, this.link(each))),
          more > 0 && el("li", { class: "muted" }, `and ${more.toLocaleString("en")} more, in the outline`)));
    });
  }

  link(name) {
    const [kind, object] = [name.split("/")[0], this.topology.find(name)];
    const state = this.topology.state(kind, object);
    const title = this.topology.title(kind, object);
    const owner = object.device_owner ?? "";
    const words = kind === "port" && !object.name && owner.startsWith("network:")
      ? `${serviceWord(owner)} ${title}` : title;
    return el("a", { href: hashOf(name), onclick: (event) => {
      event.preventDefault();
      this.onSelect(name);
    } }, glyph(state), words, el("span", { class: "hidden" }, ` ${STATES[state].word}`));
  }
}

/** Why an object is not active when nobody has given a reason. */
function pending(kind, object) {
  if (object.admin_state_up === false) return "It is switched off, as wanted.";
  if (kind === "port" && object.status === "DOWN" && !object["binding:host_id"]) return "It is on no host yet.";
  if (kind === "floatingip" && ledTo(object).length === 0) return "It leads to no port.";
  return "";
}

function legend() {
  const marks = Object.keys(STATES).map((state) => el("li", { class: STATES[state].tone }, glyph(state), STATES[state].word));
  return el("section", {}, el("h3", {}, "Marks"), el("ul", { class: "legend" }, ...marks));
}

/** Read what the topology does not hold of an object; by lists, to which what has just gone is no fault. */
async function read(kind, object) {
  const { collection } = KINDS[kind];
  if (!collection) return {};
  const host = kind === "port" ? object["binding:host_id"] : "";
  const [answer, agents] = await Promise.all([
    get(`/v2.0/${collection}?id=${object.id}`),
    host ? getIfThere(`/v2.0/agents?host=${encodeURIComponent(host)}`) : null,
  ]);
  const [found] = answer[collection];
  const forwards = found?.port_forwardings?.length > 0;
  const forwardings = forwards ? await getIfThere(`/v2.0/${collection}/${object.id}/port_forwardings`) : null;
  return { object: found, agent: agents?.agents[0], forwardings: forwardings?.port_forwardings };
}
