// SPDX-License-Identifier: Apache-2.0
//
// The short way of packets that are part of a connection which the rules have let in: from the link they come in at
// straight to the far end of the link they leave by, past bridges, routing, rules and connection tracking.
//
// `from_link` sees what comes in at a link of ours, `to_link` what is about to leave by one. The first notes each packet
// that takes the long way, and gives it the number of the note, which goes with the packet through bridges, veth pairs
// and namespaces (skb->tc_index). The second compares: what came in there as that left here as this. Once both ways of a
// connection have been seen so, the first sends on what comes, changed in the same way. Each connection takes the long
// way again every second, and all do when the agent has changed anything.
//
// docs/design/fast-path.md tells why this is right. Sources: bpf-helpers(7), tc-bpf(8), include/uapi/linux/bpf.h;
// RFC 791, 8200, 9293, 768, 792, 4443 for where the fields are; RFC 1812 section 5.2.4 and 5.3.1 for what a router does.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define INLINE static __always_inline

#define ICMPV6 58
#define CONNECTIONS 32768
#define NOTES 4096
#define LONG_WAY_EACH_NS 1000000000ull
#define HOPS_MAX 8
#define TO_THIS_HOST 0 // PACKET_HOST of linux/if_packet.h

// All fields as they are in the packet; IPv4 addresses are in the first word.
struct tuple {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port; // of an echo: its identifier, twice
	__u16 destination_port;
	__u8 protocol;
	__u8 version;
	__u16 answers; // 1 for an echo reply
};

struct way {
	__u32 link;
	struct tuple tuple;
};

struct macs {
	__u32 words[3];
};

// What of a packet no router and no translation changes, so that it is known again.
struct print {
	__u32 first;
	__u32 second;
};

struct packet {
	struct way way; // the link that it comes in at, or leaves by
	struct macs macs;
	struct print print;
	__u32 hops_left;
	__u32 ends; // it ends a TCP connection
};

struct note {
	struct packet packet;
	__u32 mtu;
	__u32 generation; // in which it came in: what decides of it may be other when it leaves
};

struct flow {
	struct way way; // as it leaves
	struct macs came;
	struct macs leaves;
	__u32 generation;
	__u32 hops;
	__u32 is_answered; // the other way has been seen too
	// Of IPv4, what to add to checksums: for the addresses, for the ports, and to the header's own for all of it.
	__u32 by_addresses;
	__u32 by_ports;
	__u32 by_header;
	__u64 seen_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CONNECTIONS);
	__type(key, struct way);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NOTES);
	__type(key, __u32);
	__type(value, struct note);
} notes SEC(".maps");

// The links whose packets may take the short way, with their MTU.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} links SEC(".maps");

// One number: flows of another one are void, and all are while it is 0.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} generation SEC(".maps");

char LICENSE[] SEC("license") = "Apache-2.0";

INLINE int is_same(const void *one, const void *other, int size)
{
	const __u32 *a = one, *b = other;
	__u32 differs = 0;
#pragma unroll
	for (int i = 0; i < size / 4; i++)
		differs |= a[i] ^ b[i];
	return !differs;
}

INLINE void turn(const struct tuple *tuple, struct tuple *turned)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		turned->source[i] = tuple->destination[i];
		turned->destination[i] = tuple->source[i];
	}
	turned->source_port = tuple->destination_port;
	turned->destination_port = tuple->source_port;
	turned->protocol = tuple->protocol;
	turned->version = tuple->version;
	turned->answers = tuple->protocol == IPPROTO_ICMP || tuple->protocol == ICMPV6 ? !tuple->answers : 0;
}

INLINE int read_transport(__u8 *head, void *end, struct packet *packet)
{
	struct tuple *tuple = &packet->way.tuple;

	if ((void *)(head + 8) > end)
		return 0;
	if (tuple->protocol == IPPROTO_TCP) {
		if ((void *)(head + 20) > end || head[13] & 0x02) // SYN
			return 0;
		packet->ends = head[13] & 0x05; // FIN, RST
		packet->print.first = *(__u32 *)(head + 4);
		packet->print.second = *(__u32 *)(head + 8);
	} else if (tuple->protocol == IPPROTO_UDP) {
		packet->print.second = *(__u16 *)(head + 4);
	} else {
		__u8 request = tuple->version == 4 ? 8 : 128, reply = tuple->version == 4 ? 0 : 129;
		if (tuple->protocol != (tuple->version == 4 ? IPPROTO_ICMP : ICMPV6) || (head[0] != request && head[0] != reply))
			return 0;
		tuple->answers = head[0] == reply;
		packet->print.second = *(__u32 *)(head + 4);
		tuple->source_port = tuple->destination_port = *(__u16 *)(head + 4);
		return 1;
	}
	tuple->source_port = *(__u16 *)head;
	tuple->destination_port = *(__u16 *)(head + 2);
	return 1;
}

// Returns 0 for what always takes the long way: tagged or for several, options, fragments, all but TCP, UDP and echo, and
// what begins a connection.
INLINE int read(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tuple *tuple = &packet->way.tuple;
	__u8 *head = data;

	if (skb->vlan_present || data + 34 > end || head[0] & 1)
		return 0;
	packet->way.link = skb->ifindex;
#pragma unroll
	for (int i = 0; i < 3; i++)
		packet->macs.words[i] = *(__u32 *)(head + 4 * i);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (head[14] != 0x45 || *(__u16 *)(head + 20) & bpf_htons(0x3fff))
			return 0;
		tuple->version = 4;
		tuple->protocol = head[23];
		tuple->source[0] = *(__u32 *)(head + 26);
		tuple->destination[0] = *(__u32 *)(head + 30);
		packet->hops_left = head[22];
		packet->print.first = *(__u16 *)(head + 18);
		return read_transport(head + 34, end, packet);
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || data + 54 > end)
		return 0;
	tuple->version = 6;
	tuple->protocol = head[20];
#pragma unroll
	for (int i = 0; i < 4; i++) {
		tuple->source[i] = *(__u32 *)(head + 22 + 4 * i);
		tuple->destination[i] = *(__u32 *)(head + 38 + 4 * i);
	}
	packet->hops_left = head[21];
	return read_transport(head + 54, end, packet);
}

INLINE __u32 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

INLINE __u64 becomes(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

INLINE __u32 ports_of(const struct tuple *tuple)
{
	return tuple->source_port | (__u32)tuple->destination_port << 16;
}

// The header itself is written here; of what is behind it only the kernel knows whether its checksum is complete yet.
INLINE void translate(struct __sk_buff *skb, __u8 *head, const struct flow *flow)
{
	const struct tuple *be = &flow->way.tuple;
	__u32 sum_at = be->protocol == IPPROTO_TCP ? 50 : 40;
	__u64 how = be->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	*(__u32 *)(head + 26) = be->source[0];
	*(__u32 *)(head + 30) = be->destination[0];
	*(__u16 *)(head + 34) = be->source_port;
	*(__u16 *)(head + 36) = be->destination_port;
	if (flow->by_addresses)
		bpf_l4_csum_replace(skb, sum_at, 0, flow->by_addresses, how | BPF_F_PSEUDO_HDR);
	if (flow->by_ports)
		bpf_l4_csum_replace(skb, sum_at, 0, flow->by_ports, how);
}

// A bridge changes nothing, routers the MAC addresses and how far it may still go, and some of them the addresses.
INLINE int send_on(struct __sk_buff *skb, const struct flow *flow)
{
	__u8 *head = (void *)(long)skb->data, version = flow->way.tuple.version;

	if (flow->hops) {
		if ((void *)(head + 38) > (void *)(long)skb->data_end)
			return TC_ACT_UNSPEC;
#pragma unroll
		for (int i = 0; i < 3; i++)
			*(__u32 *)(head + 4 * i) = flow->leaves.words[i];
		if (version == 6) {
			head[21] -= flow->hops;
		} else {
			head[22] -= flow->hops;
			*(__u16 *)(head + 24) = ~folded((__u16)~*(__u16 *)(head + 24) + flow->by_header);
			if (flow->by_addresses | flow->by_ports)
				translate(skb, head, flow);
		}
	}
	bpf_skb_change_type(skb, TO_THIS_HOST);
	return bpf_redirect_peer(flow->way.link, 0);
}

INLINE void forget_both(const struct way *way, const struct flow *flow)
{
	struct way back = {.link = flow->way.link};

	turn(&flow->way.tuple, &back.tuple);
	bpf_map_delete_elem(&flows, &back);
	bpf_map_delete_elem(&flows, way);
}

INLINE void take_note(struct __sk_buff *skb, const struct packet *packet, __u32 current)
{
	__u32 *mtu = bpf_map_lookup_elem(&links, &packet->way.link), number = bpf_get_prandom_u32() % NOTES;
	struct note *note = bpf_map_lookup_elem(&notes, &number);

	if (!mtu || !note || !number)
		return;
	note->packet = *packet;
	note->mtu = *mtu;
	note->generation = current;
	skb->tc_index = number;
}

SEC("tc") int from_link(struct __sk_buff *skb)
{
	struct packet packet = {};
	__u32 zero = 0, *current = bpf_map_lookup_elem(&generation, &zero);

	skb->tc_index = 0;
	if (!current || !*current || !read(skb, &packet))
		return TC_ACT_UNSPEC;
	struct flow *flow = bpf_map_lookup_elem(&flows, &packet.way);
	if (packet.ends) {
		if (flow)
			forget_both(&packet.way, flow);
		return TC_ACT_UNSPEC;
	}
	if (flow && flow->generation == *current && bpf_ktime_get_coarse_ns() - flow->seen_ns < LONG_WAY_EACH_NS) {
		if (!flow->is_answered)
			return TC_ACT_UNSPEC;
		if (packet.hops_left > flow->hops && is_same(&packet.macs, &flow->came, sizeof(struct macs)))
			return send_on(skb, flow);
	}
	take_note(skb, &packet, *current);
	return TC_ACT_UNSPEC;
}

// The same packet, by all that nobody on its way changes? IPv6 and echoes are not translated here.
INLINE int is_noted(const struct packet *noted, const struct packet *packet)
{
	const struct tuple *was = &noted->way.tuple, *is = &packet->way.tuple;
	__u32 hops = noted->hops_left - packet->hops_left;

	if (hops > HOPS_MAX || !is_same(&noted->print, &packet->print, sizeof(struct print)))
		return 0;
	if (is_same(was, is, sizeof(struct tuple)))
		return hops || is_same(&noted->macs, &packet->macs, sizeof(struct macs));
	return hops && is->version == 4 && was->version == 4 && is->protocol == was->protocol && is->protocol != IPPROTO_ICMP;
}

// Ones' complement: RFC 1071 and 1624.
INLINE void sum_up(struct flow *flow, const struct tuple *was)
{
	const struct tuple *is = &flow->way.tuple;
	__u64 addresses = becomes(was->source[0], is->source[0]) + becomes(was->destination[0], is->destination[0]);

	if (is->version != 4)
		return;
	flow->by_header = folded(addresses + (__u16)~bpf_htons(flow->hops << 8));
	if (is_same(was, is, sizeof(struct tuple)))
		return;
	flow->by_addresses = folded(addresses);
	flow->by_ports = folded(becomes(ports_of(was), ports_of(is)));
}

INLINE void learn(const struct note *note, const struct packet *packet, __u32 current)
{
	struct way way = note->packet.way, back = {.link = packet->way.link};
	struct tuple turned = {};
	struct flow flow = {
		.way = packet->way,
		.came = note->packet.macs,
		.leaves = packet->macs,
		.generation = current,
		.hops = note->packet.hops_left - packet->hops_left,
		.seen_ns = bpf_ktime_get_coarse_ns(),
	};

	sum_up(&flow, &way.tuple);
	turn(&packet->way.tuple, &back.tuple);
	turn(&way.tuple, &turned);
	struct flow *other = bpf_map_lookup_elem(&flows, &back);
	if (other && other->generation == current && other->way.link == way.link &&
	    is_same(&other->way.tuple, &turned, sizeof(struct tuple)))
		flow.is_answered = other->is_answered = 1;
	bpf_map_update_elem(&flows, &way, &flow, BPF_ANY);
}

SEC("tc") int to_link(struct __sk_buff *skb)
{
	struct packet packet = {};
	__u32 zero = 0, link = skb->ifindex, number = skb->tc_index;

	if (!number)
		return TC_ACT_UNSPEC;
	skb->tc_index = 0;
	struct note *found = bpf_map_lookup_elem(&notes, &number);
	__u32 *current = bpf_map_lookup_elem(&generation, &zero), *mtu = bpf_map_lookup_elem(&links, &link);
	if (!found || !current || !*current || !mtu || !read(skb, &packet) || packet.ends)
		return TC_ACT_UNSPEC;
	struct note note = *found; // another processor may write it meanwhile
	if (note.mtu <= *mtu && note.generation == *current && is_noted(&note.packet, &packet))
		learn(&note, &packet, note.generation);
	return TC_ACT_UNSPEC;
}
