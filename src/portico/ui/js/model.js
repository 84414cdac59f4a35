// SPDX-License-Identifier: Apache-2.0
// What there is, as the API told it, and what follows from it: which port is whose, and where things meet.

import { KINDS, ownerWord, plural, shortId, STATES, stateOf, worst } from "./words.js";

const TOLD = ["network", "subnet", "port", "router", "floatingip"];
const INTERFACE = /^network:router_(interface|centralized_snat)|^network:ha_router/;
const GATEWAY = "network:router_gateway";
// Ports that no packet uses: by one the Docker plugin remembers a network, the other holds a floating IP's address.
const RECORDS = ["docker:network", "network:floatingip"];
const COLLATOR = new Intl.Collator("en", { numeric: true });

export const key = (kind, id) => `${kind}/${id}`;

/** How the page's address ends when an object is shown: ids of workloads are whatever their owners say. */
export const hashOf = (name) => `#${encodeURI(name)}`;

/** The key that the end of an address names; "" if it names none. */
export function nameIn(hash) {
  try {
    return hash.includes("/") ? decodeURI(hash.slice(1)) : "";
  } catch {
    return ""; // a percent sign that encodes nothing
  }
}

export class Topology {
  constructor() {
    this.revision = 0;
    this.reasons = new Map();
    this.backends = [];
    for (const kind of TOLD) this[kind] = new Map();
    this.derive();
  }

  /** Take an answer of /portico/v1/topology: all there is, or what has changed. */
  take(answer) {
    if (answer.complete) {
      for (const kind of TOLD) this[kind].clear();
      this.reasons.clear();
    }
    for (const kind of TOLD) {
      for (const object of answer[KINDS[kind].collection] ?? []) {
        this[kind].set(object.id, object);
        this.reasons.delete(key(kind, object.id));
      }
    }
    for (const [name, reason] of Object.entries(answer.reasons)) this.reasons.set(name, reason);
    for (const name of answer.gone) {
      const [kind, id] = name.split("/");
      this[kind].delete(id);
      this.reasons.delete(name);
    }
    this.revision = answer.revision;
    this.derive();
  }

  /** Take what is known of backends; returns whether anything shown is new. */
  takeBackends(backends) {
    const shown = (each) => [each.name, each.status, each.reason, each.hosts];
    const isNew = JSON.stringify(backends.map(shown)) !== JSON.stringify(this.backends.map(shown));
    this.backends = backends;
    return isNew;
  }

  derive() {
    this.subnetsOf = group(this.subnet.values(), (subnet) => subnet.network_id);
    this.portsOf = new Map(); // network -> ports of workloads
    this.servicesOf = new Map(); // network -> ports of the network itself: DHCP, routers
    this.interfacesOf = new Map(); // router -> its ports
    this.workload = new Map();
    this.floatingOf = group(this.floatingip.values(), (each) => each.floating_network_id);
    this.floatingOfPort = new Map(); // port -> floating IPs that lead to it, or some of their ports
    for (const each of this.floatingip.values()) for (const id of ledTo(each)) add(this.floatingOfPort, id, each);
    for (const port of this.port.values()) {
      const owner = port.device_owner ?? "";
      if (RECORDS.includes(owner)) continue;
      const isService = owner.startsWith("network:");
      add(isService ? this.servicesOf : this.portsOf, port.network_id, port);
      if (INTERFACE.test(owner) || owner === GATEWAY) add(this.interfacesOf, port.device_id, port);
      else if (!isService && port.device_id) this.addWorkload(port, owner);
    }
    for (const [network, ports] of this.portsOf) this.portsOf.set(network, this.inOrder("port", ports));
    for (const subnets of this.subnetsOf.values()) subnets.sort((a, b) => byName(a.cidr, b.cidr));
    this.networks = this.sorted("network");
    this.routers = this.sorted("router");
    this.floatingips = this.sorted("floatingip");
    this.workloads = this.sorted("workload");
  }

  addWorkload(port, owner) {
    const known = this.workload.get(port.device_id);
    if (known) known.ports.push(port);
    else this.workload.set(port.device_id, { id: port.device_id, owner, kind: ownerWord(owner), ports: [port] });
  }

  sorted(kind) {
    return this.inOrder(kind, this[kind].values());
  }

  inOrder(kind, objects) {
    const named = Array.from(objects, (object) => [this.title(kind, object), object]);
    return named.sort((a, b) => byName(a[0], b[0])).map(([, object]) => object);
  }

  /** The object behind "kind/id", or undefined. */
  find(name) {
    const at = name.indexOf("/");
    const [kind, id] = [name.slice(0, at), name.slice(at + 1)];
    if (kind === "backend") return this.backends.find((each) => each.name === id);
    return Object.hasOwn(KINDS, kind) ? this[kind]?.get(id) : undefined;
  }

  /** Names of backends in use or on offer, in the server's order. */
  backendNames() {
    const used = this.networks.map((network) => network["portico:backend"] ?? "");
    return [...new Set([...this.backends.map((each) => each.name), ...used])].filter((name) => used.includes(name));
  }

  title(kind, object) {
    if (kind === "floatingip") return object.floating_ip_address;
    if (kind === "subnet") return object.name || object.cidr;
    if (kind === "backend") return object.name;
    if (kind === "workload") {
      return object.ports.map((port) => port.name).find((name) => name) ?? shortId(object.owner, object.id);
    }
    return object.name || (kind === "port" && addresses(object)[0]) || object.id.slice(0, 13);
  }

  state(kind, object) {
    if (kind === "workload") return worst(object.ports.map(stateOf));
    return stateOf(object);
  }

  /** One line under the title. */
  summary(kind, object) {
    switch (kind) {
      case "network":
        return [(this.subnetsOf.get(object.id) ?? []).map((each) => each.cidr).join(", ") || "no subnet",
          ...this.contents(object)].join(" · ");
      case "port":
        return addresses(object).join(", ") || "no address";
      case "router":
        return plural(this.networksOf(object.id).length, "network");
      case "floatingip":
        if (object.port_id) return `to ${object.fixed_ip_address}`;
        return object.port_forwardings?.length > 0 ? plural(object.port_forwardings.length, "port forwarding") : "not in use";
      case "workload":
        return `${object.kind} · ${plural(object.ports.length, "port")}`;
      default:
        return "";
    }
  }

  contents(network) {
    const ports = this.portsOf.get(network.id)?.length ?? 0;
    const floating = this.floatingOf.get(network.id)?.length ?? 0;
    return [ports > 0 || !network["router:external"] ? plural(ports, "port") : "",
      floating > 0 ? plural(floating, "floating IP") : ""].filter(Boolean);
  }

  /** Ids of the networks that a router joins, without those that are only its way out. */
  networksOf(routerId) {
    const inside = (this.interfacesOf.get(routerId) ?? []).filter((port) => port.device_owner !== GATEWAY);
    return [...new Set(inside.map((port) => port.network_id))];
  }

  /** Ids of the external networks by which a router leads out. */
  exitsOf(router) {
    const told = router.external_gateway_info?.network_id;
    const ports = (this.interfacesOf.get(router.id) ?? []).filter((port) => port.device_owner === GATEWAY);
    return [...new Set([...(told ? [told] : []), ...ports.map((port) => port.network_id)])];
  }

  /** Whether every word of a search is somewhere in what people know an object by. */
  matches(kind, object, words) {
    if (words.length === 0) return true;
    const text = this.textOf(kind, object);
    return words.every((word) => text.includes(word));
  }

  textOf(kind, object) {
    const state = STATES[this.state(kind, object)].word;
    const parts = [kind, this.title(kind, object), object.id, state, this.summary(kind, object)];
    if (kind === "port") {
      const host = object["binding:host_id"];
      parts.push(object.mac_address, object.device_id, ownerWord(object.device_owner ?? ""), host);
      parts.push(...(this.floatingOfPort.get(object.id) ?? []).map((each) => each.floating_ip_address));
    }
    if (kind === "network") parts.push(object["portico:backend"], object["router:external"] ? "external" : "");
    return parts.join(" ").toLowerCase();
  }
}

/** The ids of the ports that a floating IP leads to, as a whole or by port forwardings. */
export function ledTo(floating) {
  if (floating.port_id) return [floating.port_id];
  return [...new Set((floating.port_forwardings ?? []).map((each) => each.internal_port_id))];
}

export function addresses(port) {
  return (port.fixed_ips ?? []).map((fixed) => fixed.ip_address);
}

function byName(a, b) {
  return COLLATOR.compare(a, b);
}

function add(map, name, item) {
  const known = map.get(name);
  if (known) known.push(item);
  else map.set(name, [item]);
}

function group(items, name) {
  const map = new Map();
  for (const item of items) if (name(item)) add(map, name(item), item);
  return map;
}
