// SPDX-License-Identifier: Apache-2.0
// Asks the API whether a packet passes, and shows where it goes and what stops it.

import { get, request } from "./api.js";
import { byId, el, glyph } from "./dom.js";
import { addresses, hashOf } from "./model.js";

const PATH = "/portico/v1/trace";
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const VERDICTS = {
  pass: { word: "passes", state: "ACTIVE" },
  drop: { word: "dropped", state: "ERROR" },
  missing: { word: "missing", state: "DOWN" },
};

/** Whether this server can trace. */
export async function canTrace() {
  const { paths } = await get("/openapi.json");
  return PATH in paths;
}

function isWorkloads(port) {
  return !(port.device_owner ?? "").startsWith("network:");
}

export class Trace {
  /** `onPath(hops, passes)` draws a way; `onSelect(key)` goes to an object. */
  constructor(topology, { onPath, onSelect }) {
    Object.assign(this, { topology, onPath, onSelect });
    byId("trace-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    byId("trace-protocol").addEventListener("change", (event) => {
      byId("trace-port").disabled = event.target.value === "icmp";
    });
    for (const id of ["trace-source", "trace-destination"]) {
      byId(id).addEventListener("focus", () => this.offer());
    }
  }

  /** Offer ports by their names, as far as there are any. */
  offer() {
    const named = [...this.topology.port.values()].filter(isWorkloads);
    byId("trace-ports").replaceChildren(...named.map((port) =>
      el("option", { value: port.name || addresses(port)[0] || port.id }, addresses(port).join(", "))));
  }

  /** Take a port for the sender, by a word that means no other one, unless there is one already. */
  from(port) {
    if (!port || !isWorkloads(port) || byId("trace-source").value) return;
    byId("trace-source").value = [port.name, ...addresses(port)].find((word) => word && this.portOf(word)) ?? port.id;
  }

  /** The id of the port that a person means by a name, an address or an id; null if there is none or more. */
  portOf(text) {
    const means = (port) => port.id === text || port.name === text || addresses(port).includes(text);
    const found = [...this.topology.port.values()].filter(means);
    return found.length === 1 ? found[0].id : null;
  }

  async run() {
    const [source, destination] = ["trace-source", "trace-destination"].map((id) => byId(id).value.trim());
    const from = this.portOf(source);
    if (!from) {
      this.say(`${source}: is the name, address or id of no port, or of several.`);
      return;
    }
    const protocol = byId("trace-protocol").value;
    const body = { source: from, destination: this.portOf(destination) ?? destination, protocol };
    if (protocol !== "icmp") body.port = Number(byId("trace-port").value);
    this.say("Asking…");
    try {
      this.show(await (await request(PATH, { method: "POST", body })).json());
    } catch (error) {
      this.say(error.message);
    }
  }

  say(words) {
    this.onPath([], true);
    byId("trace-result").replaceChildren(el("p", {}, words));
  }

  show({ passes, reason, hops }) {
    this.onPath(hops.map((hop) => hop.object), passes);
    const state = passes ? "ACTIVE" : "ERROR";
    const why = reason && `${this.titleOf(hops.at(-1).object)}: ${this.readable(reason)}`;
    byId("trace-result").replaceChildren(
      el("div", { class: `why ${passes ? "ok" : "bad"}` }, glyph(state),
        el("div", {}, el("h3", {}, passes ? "The packet passes" : "The packet does not pass"), why && el("p", { title: reason }, why))),
      el("ol", { class: "hops" }, ...hops.map((hop) => this.hop(hop))),
    );
  }

  hop({ object: name, what, verdict, why }) {
    const { word, state } = VERDICTS[verdict] ?? VERDICTS.missing;
    const title = this.titleOf(name);
    const label = this.topology.find(name) ? el("a", { href: hashOf(name), onclick: (event) => {
      event.preventDefault();
      this.onSelect(name);
    } }, title) : el("strong", {}, title);
    return el("li", {}, glyph(state), el("div", {},
      el("p", {}, label, el("span", { class: "muted" }, ` ${this.readable(what)}`)),
      el("p", { class: "muted", title: why || null }, why ? `${word}: ${this.readable(why)}` : word)));
  }

  titleOf(name) {
    const object = this.topology.find(name);
    return object ? this.topology.title(name.split("/")[0], object) : name.split("/").slice(1).join("/");
  }

  /** Put names in the place of ids, and short ids where there is no name. */
  readable(text) {
    return text.replace(UUID, (id) => {
      const kind = ["network", "subnet", "port", "router"].find((each) => this.topology[each].has(id));
      return kind ? this.topology.title(kind, this.topology[kind].get(id)) : id.slice(0, 8);
    });
  }
}
