# SPDX-License-Identifier: Apache-2.0
"""`portico network create blue` and its like: the verbs of every collection, from the registry."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from portico.cli import output
from portico.cli.context import Context
from portico.cli.find import find, find_id
from portico.cli.option import Option, Resources, add_filter, add_option, filter_text, option_of, value_of
from portico.errors import BadRequest, PorticoError
from portico.model.load import as_needed
from portico.model.resource import Action, Resource

# What is given without an option where it is not the name.
POSITIONAL = {"subnet": "cidr"}
# What need not be given because it follows from the rest.
DERIVED = {"ip_version"}
# What a person looks for first in a list; others show whatever they have of GENERAL.
COLUMNS = {
    "network": ("id", "name", "status", "mtu", "subnets"),
    "subnet": ("id", "name", "network_id", "cidr", "gateway_ip", "enable_dhcp"),
    "subnetpool": ("id", "name", "prefixes", "default_prefixlen"),
    "address_group": ("id", "name", "addresses", "description"),
    "address_scope": ("id", "name", "ip_version", "shared"),
    "floatingip": ("id", "floating_ip_address", "fixed_ip_address", "port_id", "router_id", "status"),
    "floatingip_pool": ("subnet_id", "subnet_name", "network_id", "cidr"),
    "port_forwarding": (
        *("id", "protocol", "external_port_range", "internal_ip_address", "internal_port_range", "internal_port_id"),
        *("description", "portico:host_addresses"),
    ),
    "port": ("id", "name", "status", "mac_address", "fixed_ips", "device_owner", "binding:host_id"),
    "security_group_rule": (
        *("id", "security_group_id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max"),
        *("remote_ip_prefix", "remote_group_id", "remote_address_group_id"),
    ),
    "router": ("id", "name", "status", "external_gateway_info", "routes"),
    "segment": ("id", "name", "network_id", "network_type"),
    "network_segment_range": (
        *("id", "name", "default", "shared", "project_id", "network_type", "physical_network", "minimum", "maximum"),
    ),
    "default_security_group_rule": (
        *("id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix"),
        *("remote_group_id", "remote_address_group_id", "used_in_default_sg", "used_in_non_default_sg"),
    ),
    "log": ("id", "name", "event", "resource_id", "target_id", "enabled"),
    "metering_label": ("id", "name", "shared", "portico:packets", "portico:bytes"),
    "metering_label_rule": (
        *("id", "metering_label_id", "direction", "excluded"),
        *("remote_ip_prefix", "source_ip_prefix", "destination_ip_prefix"),
    ),
    "metering_count": ("metering_label_id", "router_id", "host", "packets", "bytes", "updated_at"),
    "conntrack_helper": ("id", "helper", "protocol", "port"),
    "ndp_proxy": ("id", "name", "router_id", "ip_address", "port_id"),
    "flavor": ("id", "name", "service_type", "enabled", "service_profiles"),
    "service_profile": ("id", "driver", "enabled", "description"),
    "service_provider": ("service_type", "name", "default"),
    "agent": ("id", "agent_type", "host", "alive", "admin_state_up"),
    "quota": (
        *("project_id", "network", "subnet", "subnetpool", "port"),
        *("security_group", "security_group_rule"),
    ),
    "network_ip_availability": ("network_id", "network_name", "used_ips", "total_ips"),
}
GENERAL = ("id", "name", "status", "state", "description", "project_id")
# Commands beside the collection's own verbs: resource, verb, module, help.
EXTRA = (
    ("port", "plug", "portico.cli.plug", "put a port on this host: a tap for a hypervisor"),
    ("port", "unplug", "portico.cli.unplug", "take a port off its host"),
    ("port", "explain", "portico.cli.explain", "what is wanted of a port, what the kernel has, and why they differ"),
)
NO_HINT = "--no-OPTION sets null, or empties a list. Names stand for ids wherever they are unique."
Run = Callable[["Collection", argparse.Namespace, Context], int]


class Collection:
    """A resource, and those that it may reference: what the verbs need."""

    def __init__(self, resources: Resources, resource: Resource) -> None:
        self.resources = resources
        self.resource = resource

    @property
    def parent(self) -> Option | None:
        """Return the option that says whose part an object is."""
        name = self.resource.parent_key
        return option_of(self.resources, self.resource.attributes[name]) if name else None

    def path(self, arguments: argparse.Namespace, context: Context) -> str:
        """Return the collection as the client names it, inside of the object that was named."""
        parent = self.resource.parent
        if parent is None or self.parent is None:
            return self.resource.collection
        whose = find_id(context.client, parent, getattr(arguments, self.parent.dest))
        return f"{parent.collection}/{quote(whose, safe='')}/{self.resource.collection}"

    def options(self, keep: Callable[[Any], bool]) -> list[Option]:
        """Return the options of the attributes that `keep` accepts."""
        attributes = self.resource.attributes
        return [option_of(self.resources, a, attributes) for a in attributes.values() if keep(a)]

    def body(self, options: list[Option], arguments: argparse.Namespace, context: Context) -> dict[str, Any]:
        """Return what was given, as the API expects it."""
        return {
            option.attribute.name: value_of(self.resources, option, given, _finder(context))
            for option in options
            if (given := getattr(arguments, option.dest)) is not None
        }


def _finder(context: Context) -> Callable[[Resource, str], str]:
    return lambda resource, word: find_id(context.client, resource, word)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the collection that was named."""
    resources = as_needed()
    collection = Collection(resources, resources[parser.get_default("command")])
    parser.description = collection.resource.doc
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    for verb, (add, run_verb, text) in VERBS.items():
        if verb in collection.resource.verbs:
            made = verbs.add_parser(
                WORDS.get(verb, verb), help=text, description=text, aliases=[verb] * (verb in WORDS), allow_abbrev=False
            )
            add(made, collection)
            if collection.parent is not None:
                add_option(made, collection.parent, required=True)
            made.set_defaults(run_verb=run_verb, collection=collection)
    for action in collection.resource.actions:
        made = verbs.add_parser(
            action.name.replace("_", "-"), help=action.doc, description=action.doc, allow_abbrev=False
        )
        _add_action(made, collection, action)
        made.set_defaults(run_verb=partial(_act, action), collection=collection)
    for name, word, module, text in EXTRA:
        if name == collection.resource.name:
            made = verbs.add_parser(word, help=text, description=text, allow_abbrev=False)
            command = importlib.import_module(module)
            command.add_arguments(made)
            made.set_defaults(
                run_verb=lambda _, arguments, context, command=command: command.run(arguments, context),
                collection=collection,
            )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do what the verb says."""
    run_verb: Run = arguments.run_verb
    return run_verb(arguments.collection, arguments, context)


def _add_list(parser: argparse.ArgumentParser, collection: Collection) -> None:
    output.add_arguments(parser)
    parser.add_argument("--sort", metavar="NAME[:desc]", action="append", default=[], help="sort by this attribute")
    parser.add_argument("--long", action="store_true", help="print every attribute")
    group = parser.add_argument_group("filters")
    for option in collection.options(lambda a: a.is_filter):
        add_filter(group, option)


def _list(collection: Collection, arguments: argparse.Namespace, context: Context) -> int:
    options = collection.options(lambda a: a.is_filter)
    query = {
        option.attribute.name: filter_text(collection.resources, option, given, _finder(context))
        for option in options
        if (given := getattr(arguments, option.dest)) is not None
    }
    if arguments.sort:
        keys = [text.partition(":") for text in arguments.sort]
        query |= {"sort_key": [k[0] for k in keys], "sort_dir": [k[2] or "asc" for k in keys]}
    resource = collection.resource
    visible = [a.name for a in resource.attributes.values() if a.is_visible]
    first = COLUMNS.get(resource.name, GENERAL)
    columns = arguments.column or (visible if arguments.long else [name for name in first if name in visible])
    _check_columns(resource, columns)
    found = context.client.list(collection.path(arguments, context), **query)
    if arguments.format in {"json", "yaml"} and not arguments.column:
        columns = visible
    sys.stdout.write(output.render_list(found, columns, arguments.format))
    return 0


def _check_columns(resource: Resource, columns: list[str]) -> None:
    unknown = [name for name in columns if name not in resource.attributes]
    if unknown:
        raise BadRequest(f"-c {unknown[0]}: a {resource.name} has only {', '.join(sorted(resource.attributes))}")


def _add_show(parser: argparse.ArgumentParser, collection: Collection) -> None:
    output.add_arguments(parser)
    parser.add_argument("object", metavar=_object_word(collection), help="name or id")


def _show(collection: Collection, arguments: argparse.Namespace, context: Context) -> int:
    _check_columns(collection.resource, arguments.column)
    where = collection.path(arguments, context)
    return _print(find(context.client, collection.resource, arguments.object, where), arguments)


def _print(item: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    sys.stdout.write(output.render_object(item, arguments.column, arguments.format))
    return 0


def _add_create(parser: argparse.ArgumentParser, collection: Collection) -> None:
    parser.epilog = NO_HINT
    output.add_arguments(parser)
    place = POSITIONAL.get(collection.resource.name, "name")
    for option in collection.options(lambda a: a.allow_post):
        if option.attribute.name == place:
            text = option.attribute.doc.replace("%", "%%")
            parser.add_argument(option.dest, nargs="?", metavar=place.upper(), help=text)
        else:
            add_option(parser, option, required=option.attribute.required and option.attribute.name not in DERIVED)


def _create(collection: Collection, arguments: argparse.Namespace, context: Context) -> int:
    _check_columns(collection.resource, arguments.column)
    body = collection.body(collection.options(lambda a: a.allow_post), arguments, context)
    if collection.resource.name == "subnet" and "ip_version" not in body:
        body |= _ip_version(body, context)
    return _print(context.client.create(collection.path(arguments, context), body), arguments)


def _ip_version(subnet: Mapping[str, Any], context: Context) -> dict[str, int]:
    """Return the ip_version that follows from a subnet's range or from the pool it comes from, if one does."""
    if subnet.get("cidr"):
        return {"ip_version": 6 if ":" in subnet["cidr"] else 4}
    if subnet.get("subnetpool_id"):
        return {"ip_version": context.client.show("subnetpools", subnet["subnetpool_id"])["ip_version"]}
    return {}


def _add_set(parser: argparse.ArgumentParser, collection: Collection) -> None:
    parser.epilog = NO_HINT
    output.add_arguments(parser)
    parser.add_argument("object", metavar=_object_word(collection), help="name or id")
    for option in _set_options(collection):
        add_option(parser, option)


def _set_options(collection: Collection) -> list[Option]:
    return collection.options(lambda a: a.allow_put or (a.name == "tags" and collection.resource.tags))


def _set(collection: Collection, arguments: argparse.Namespace, context: Context) -> int:
    resource = collection.resource
    _check_columns(resource, arguments.column)
    body = collection.body(_set_options(collection), arguments, context)
    if not body:
        raise BadRequest(f"{resource.name} {arguments.object}: nothing to set was given")
    where = collection.path(arguments, context)
    object_id = find_id(context.client, resource, arguments.object, where)
    tags = body.pop("tags", None)
    if body:
        context.client.update(where, object_id, body)
    if tags is not None and resource.tags:
        context.client.put_json(f"{resource.path}/{quote(object_id, safe='')}/tags", {"tags": tags})
    return _print(context.client.show(where, object_id), arguments)


def _add_action(parser: argparse.ArgumentParser, collection: Collection, action: Action) -> None:
    output.add_arguments(parser)
    parser.add_argument("object", metavar=_object_word(collection), help="name or id")
    for option in _takes(collection, action):
        add_option(parser, option, required=option.attribute.required)


def _takes(collection: Collection, action: Action) -> list[Option]:
    return [option_of(collection.resources, attribute) for attribute in action.takes.values()]


def _act(action: Action, collection: Collection, arguments: argparse.Namespace, context: Context) -> int:
    resource = collection.resource
    if action.reads:
        return _tell(action, collection, arguments, context)
    _check_columns(resource, arguments.column)
    body = collection.body(_takes(collection, action), arguments, context)
    object_id = find_id(context.client, resource, arguments.object)
    given = {resource.name: body} if action.wrapped else body
    context.client.put_json(f"{resource.path}/{quote(object_id, safe='')}/{action.name}", given)
    return _print(context.client.show(resource.collection, object_id), arguments)


def _tell(action: Action, collection: Collection, arguments: argparse.Namespace, context: Context) -> int:
    """Print the list that an action gives which only reads."""
    resource = collection.resource
    object_id = find_id(context.client, resource, arguments.object)
    found = context.client.get_json(f"{resource.path}/{quote(object_id, safe='')}/{action.name}")[action.gives]
    columns = arguments.column or list(dict.fromkeys(name for item in found for name in item))
    sys.stdout.write(output.render_list(found, columns, arguments.format))
    return 0


def _add_delete(parser: argparse.ArgumentParser, collection: Collection) -> None:
    parser.add_argument("objects", nargs="+", metavar=_object_word(collection), help="names or ids")


def _delete(collection: Collection, arguments: argparse.Namespace, context: Context) -> int:
    """Delete every object that can be; what cannot be is told, each in a line."""
    failed = 0
    where = collection.path(arguments, context)
    for word in arguments.objects:
        try:
            object_id = find_id(context.client, collection.resource, word, where)
            context.client.delete(where, object_id)
        except PorticoError as error:
            sys.stderr.write(f"portico: {error.message}\n")
            failed = 1
    return failed


def _object_word(collection: Collection) -> str:
    return collection.resource.name.upper().replace("_", "-")


# The wire's word is "update"; people type "set". Both are taken.
WORDS = {"update": "set"}
VERBS: dict[str, tuple[Callable[[argparse.ArgumentParser, Collection], None], Run, str]] = {
    "list": (_add_list, _list, "print many"),
    "show": (_add_show, _show, "print one"),
    "create": (_add_create, _create, "make one and print it"),
    "update": (_add_set, _set, "change one and print it"),
    "delete": (_add_delete, _delete, "delete some"),
}
