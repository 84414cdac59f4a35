// SPDX-License-Identifier: Apache-2.0
// What belongs to an object: to be shown with it, and to go on to.

import { key, ledTo } from "./model.js";

/** Keys of what belongs to an object, by the words that say how. */
export function related(topology, kind, object) {
  const keys = (name, ids) => ids.filter((id) => id && topology[name].has(id)).map((id) => key(name, id));
  const ids = (items) => (items ?? []).map((item) => item.id);
  switch (kind) {
    case "network": {
      const routers = topology.routers.filter((router) =>
        [...topology.networksOf(router.id), ...topology.exitsOf(router)].includes(object.id));
      return {
        Routers: keys("router", ids(routers)),
        Ports: keys("port", ids(topology.portsOf.get(object.id))),
        "Floating IPs": keys("floatingip", ids(topology.floatingOf.get(object.id))),
        "Its own ports": keys("port", ids(topology.servicesOf.get(object.id))),
      };
    }
    case "port":
      return {
        Network: keys("network", [object.network_id]),
        Workload: keys("workload", [object.device_id]),
        Router: keys("router", [object.device_id]),
        "Floating IPs": keys("floatingip", ids(topology.floatingOfPort.get(object.id))),
      };
    case "router":
      return {
        Networks: keys("network", topology.networksOf(object.id)),
        "Way out": keys("network", topology.exitsOf(object)),
        Interfaces: keys("port", ids(topology.interfacesOf.get(object.id))),
      };
    case "floatingip":
      return {
        "Leads to": keys("port", ledTo(object)),
        Router: keys("router", [object.router_id]),
        Network: keys("network", [object.floating_network_id]),
      };
    case "workload":
      return {
        Ports: keys("port", ids(object.ports)),
        Networks: keys("network", [...new Set(object.ports.map((port) => port.network_id))]),
      };
    case "backend":
      return { Networks: keys("network", ids(topology.networks.filter((each) => each["portico:backend"] === object.name))) };
    default:
      return {};
  }
}

/** Chains of keys along which the diagram draws a tie while the object is selected. */
export function ties(topology, kind, object) {
  if (kind === "floatingip") return ledTo(object).map((port) => chain(object, port));
  const workload = kind === "workload" ? object : kind === "port" ? topology.workload.get(object.device_id) : null;
  const floating = kind === "port" ? topology.floatingOfPort.get(object.id) ?? [] : [];
  const [first, ...others] = workload?.ports ?? [];
  return [...others.map((port) => [key("port", first.id), key("port", port.id)]), ...floating.map((each) => chain(each, object.id))];
}

/** From a floating IP by its router to a port. */
function chain({ id, router_id: router }, port) {
  return [key("floatingip", id), ...(router ? [key("router", router)] : []), key("port", port)];
}
