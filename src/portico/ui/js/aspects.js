// SPDX-License-Identifier: Apache-2.0
// What is wanted of an object beside what is: the rows of the panel's table.

import { addresses, ledTo } from "./model.js";
import { ago, ownerWord, plural, shortId, STATES, stateOf } from "./words.js";

const row = (aspect, wanted, actual = "", isSame = null) => ({ aspect, wanted, actual, isSame });
const onOff = (object) => (object.admin_state_up === false ? "switched off" : "carries traffic");

function carries(object) {
  const state = stateOf(object);
  return row("Traffic", onOff(object), STATES[state].word, state === "ACTIVE" || state === "OFF");
}

function ofPort(topology, port, { agent }) {
  const network = topology.network.get(port.network_id);
  const host = port["binding:host_id"];
  const plug = port["binding:vif_type"];
  const link = port["binding:vif_details"] ?? {};
  const alive = agent ? `agent ${agent.alive ? "alive" : "silent"}, ${ago(agent.heartbeat_timestamp)}` : "";
  const owner = port.device_owner ?? "";
  return [
    carries(port),
    row("Network", network ? topology.title("network", network) : port.network_id),
    row("Addresses", addresses(port).join(", ") || "none"),
    row("MAC address", port.mac_address),
    row("Host", host || "none", host ? alive || "no agent known" : "not plugged", agent ? agent.alive : null),
    plug && host && row("Plugged", port["binding:profile"]?.plug || "as fits", `${plug} ${link.link ?? link.tap_name ?? ""}`.trim(), plug !== "binding_failed"),
    row("Used by", [ownerWord(owner), shortId(owner, port.device_id ?? "")].filter(Boolean).join(" ")),
    ...(port.trunk_details?.sub_ports ?? []).map((each) => row(`VLAN ${each.segmentation_id}`, titleOf(topology, each.port_id))),
    port.security_groups && row("Filter", port.port_security_enabled === false ? "none"
      : plural(port.security_groups.length, "security group")),
  ];
}

function titleOf(topology, id) {
  const port = topology.port.get(id);
  return port ? topology.title("port", port) : id;
}

function ofNetwork(topology, network) {
  const ports = topology.portsOf.get(network.id) ?? [];
  const up = ports.filter((port) => stateOf(port) === "ACTIVE").length;
  const backend = topology.backends.find((each) => each.name === network["portico:backend"]);
  const state = backend ? stateOf(backend) : "";
  return [
    carries(network),
    row("Backend", network["portico:backend"], backend && (backend.reason || STATES[state].word), backend && state === "ACTIVE"),
    row("Kind", network["provider:network_type"]),
    row("MTU", String(network.mtu)),
    ...(topology.subnetsOf.get(network.id) ?? []).map((subnet) => row(
      subnet.name ? `Subnet ${subnet.name}` : "Subnet", subnet.cidr,
      [subnet.gateway_ip && `gateway ${subnet.gateway_ip}`, subnet.enable_dhcp && "DHCP"].filter(Boolean).join(", "))),
    row("Ports", plural(ports.length, "port"), `${up.toLocaleString("en")} active`, up === ports.length),
  ];
}

function ofRouter(topology, router) {
  const ports = topology.interfacesOf.get(router.id) ?? [];
  const up = ports.filter((port) => stateOf(port) === "ACTIVE").length;
  const gateways = router.external_gateways ?? [router.external_gateway_info].filter(Boolean);
  return [
    carries(router),
    row("Interfaces", plural(ports.length, "interface"), `${up} active`, up === ports.length),
    gateways.length === 0 && row("Way out", "none"),
    ...gateways.flatMap((each) => wayOut(topology, each)),
    ...(router.routes ?? []).map((route) => row("Route", route.destination, `via ${route.nexthop}`)),
  ];
}

function wayOut(topology, { network_id: id, enable_snat: translates, external_fixed_ips: fixed }) {
  const network = topology.network.get(id);
  return [
    row("Way out", network ? topology.title("network", network) : id, (fixed ?? []).map((each) => each.ip_address).join(", ")),
    row("Source NAT", translates === false ? "off" : "on"),
  ];
}

function ofFloating(topology, floating, { forwardings }) {
  const [state, ports] = [stateOf(floating), ledTo(floating).length];
  return [
    row("Leads to", floating.fixed_ip_address || (ports > 0 ? plural(ports, "port") : "nothing"), STATES[state].word, ports > 0 ? state === "ACTIVE" : null),
    ...(forwardings ?? []).map((each) => row(
      `${each.protocol} ${each.external_port ?? each.external_port_range}`,
      `${each.internal_ip_address}:${each.internal_port ?? each.internal_port_range}`,
      (each["portico:host_addresses"] ?? []).length ? `on host at ${each["portico:host_addresses"].join(", ")}` : "")),
  ];
}

function ofWorkload(topology, workload) {
  return workload.ports.map((port) => {
    const network = topology.network.get(port.network_id);
    return row(network ? topology.title("network", network) : "network", addresses(port).join(", "),
      STATES[stateOf(port)].word, stateOf(port) === "ACTIVE");
  });
}

function ofBackend(_topology, backend) {
  return [
    row("Syncs", "in time", backend.status, backend.status === "ok"),
    row("Network types", backend.network_types.join(", ") || "any"),
    row("Holds", plural(backend.networks, "network"), plural(backend.ports, "port")),
    ...backend.hosts.map((each) => row(`Host ${each.host}`, "able", each.able ? "able" : each.reason, each.able)),
  ];
}

const OF = { port: ofPort, network: ofNetwork, router: ofRouter, floatingip: ofFloating, workload: ofWorkload, backend: ofBackend };

/** Rows of aspect, wanted and actual; `isSame` false where they differ. */
export function aspects(topology, kind, object, details) {
  return (OF[kind]?.(topology, object, details) ?? []).filter(Boolean);
}
