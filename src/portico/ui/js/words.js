// SPDX-License-Identifier: Apache-2.0
// What things are called, and how their states look: a shape and a word each, so that nobody needs the colour.

export const KINDS = {
  network: { word: "Network", collection: "networks" },
  subnet: { word: "Subnet", collection: "subnets" },
  port: { word: "Port", collection: "ports" },
  router: { word: "Router", collection: "routers" },
  floatingip: { word: "Floating IP", collection: "floatingips" },
  workload: { word: "Workload" },
  backend: { word: "Backend" },
  host: { word: "Host" },
};

// Shapes within a circle of radius 5 about the origin.
export const STATES = {
  ACTIVE: { word: "active", tone: "ok", shape: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z" },
  DOWN: {
    word: "down",
    tone: "idle",
    shape: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0zM-2.7 0a2.7 2.7 0 1 1 5.4 0a2.7 2.7 0 1 1 -5.4 0z",
  },
  BUILD: { word: "being made", tone: "idle", shape: "M0 -4.5a4.5 4.5 0 1 0 0 9zM1.4 -4.3l0 1.8a2.7 2.7 0 0 1 0 5l0 1.8a4.5 4.5 0 0 0 0 -8.6z" },
  ERROR: { word: "error", tone: "bad", shape: "M0 -5.2L5.4 4.4L-5.4 4.4zM-0.8 -1.9L-0.8 1.2L0.8 1.2L0.8 -1.9zM-0.8 2L-0.8 3.4L0.8 3.4L0.8 2z" },
  OFF: { word: "switched off", tone: "idle", shape: "M-4.5 -1.3h9v2.6h-9z" },
};

const SAME = { UP: "ACTIVE", ok: "ACTIVE", starting: "BUILD", failing: "ERROR" };

/** The key in STATES of an object. */
export function stateOf(object) {
  if (object.admin_state_up === false) return "OFF";
  const status = SAME[object.status] ?? object.status;
  return status in STATES ? status : "BUILD";
}

/** The worst of several states, which is what stands for all. */
export function worst(states) {
  const order = ["ERROR", "DOWN", "BUILD", "OFF", "ACTIVE"];
  return order.find((state) => states.includes(state)) ?? "ACTIVE";
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** What uses a port, in a person's words. */
export function ownerWord(owner) {
  if (owner.startsWith("docker:")) return "container";
  if (owner.startsWith("compute:")) return "virtual machine";
  return owner || "workload";
}

/** What a port of the network itself serves. */
export function serviceWord(owner) {
  return owner === "network:dhcp" ? "DHCP" : owner.replace("network:", "").replaceAll("_", " ");
}

/** An id as its own program shows it: Docker prints the first 12 letters of one. */
export function shortId(owner, id) {
  return owner.startsWith("docker:") ? id.slice(0, 12) : id;
}

export function ago(timestamp) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(timestamp)) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}
