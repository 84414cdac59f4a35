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
	struct tuple tuple;
	struct macs macs;
	struct print print;
	__u32 hops_left;
	__u32 transport_at;
	__u32 ends; // it ends a TCP connection
};

struct note {
	struct way way;
	struct macs macs;
	struct print print;
	__u32 hops_left;
	__u32 mtu;
};

struct flow {
	struct tuple tuple; // as it leaves
	struct macs came;
	struct macs leaves;
	__u32 link;
	__u32 generation;
	__u32 hops;
	__u32 is_answered; // the other way has been seen too
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

INLINE int read_transport(void *data, void *end, struct packet *packet)
{
	struct tuple *tuple = &packet->tuple;
	__u8 *head = data + packet->transport_at;

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
	struct tuple *tuple = &packet->tuple;
	__u8 *head = data;

	if (skb->vlan_present || data + 34 > end || head[0] & 1)
		return 0;
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
		packet->transport_at = 34;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (data + 54 > end)
			return 0;
		tuple->version = 6;
		tuple->protocol = head[20];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			tuple->source[i] = *(__u32 *)(head + 22 + 4 * i);
			tuple->destination[i] = *(__u32 *)(head + 38 + 4 * i);
		}
		packet->hops_left = head[21];
		packet->transport_at = 54;
	} else {
		return 0;
	}
	return read_transport(data, end, packet);
}

// Of IPv4, the address at `at` in the frame and the port at `port_at`. As a rule one side alone is another one.
INLINE void translate(struct __sk_buff *skb, __u8 protocol, __u32 at, __u32 port_at, __u32 from, __u32 to,
		      __u16 from_port, __u16 to_port)
{
	__u32 sum_at = protocol == IPPROTO_TCP ? 50 : 40;
	__u64 how = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (from != to) {
		bpf_l3_csum_replace(skb, 24, from, to, 4);
		bpf_l4_csum_replace(skb, sum_at, from, to, how | BPF_F_PSEUDO_HDR | 4);
		bpf_skb_store_bytes(skb, at, &to, 4, 0);
	}
	if (from_port != to_port) {
		bpf_l4_csum_replace(skb, sum_at, from_port, to_port, how | 2);
		bpf_skb_store_bytes(skb, port_at, &to_port, 2, 0);
	}
}

// A bridge changes nothing, routers the MAC addresses and how far it may still go, and some of them the addresses.
INLINE int send_on(struct __sk_buff *skb, const struct packet *packet, const struct flow *flow)
{
	if (flow->hops) {
		__u8 hops_left = packet->hops_left - flow->hops;
		if (packet->tuple.version == 4) {
			const struct tuple *is = &packet->tuple, *be = &flow->tuple;
			__u16 protocol = is->protocol << 8;
			translate(skb, is->protocol, 26, 34, is->source[0], be->source[0], is->source_port, be->source_port);
			translate(skb, is->protocol, 30, 36, is->destination[0], be->destination[0], is->destination_port,
				  be->destination_port);
			bpf_l3_csum_replace(skb, 24, packet->hops_left | protocol, hops_left | protocol, 2);
			bpf_skb_store_bytes(skb, 22, &hops_left, 1, 0);
		} else {
			bpf_skb_store_bytes(skb, 21, &hops_left, 1, 0);
		}
		bpf_skb_store_bytes(skb, 0, &flow->leaves, sizeof(struct macs), 0);
	}
	bpf_skb_change_type(skb, TO_THIS_HOST);
	return bpf_redirect_peer(flow->link, 0);
}

INLINE void forget_both(struct way *way, const struct flow *flow)
{
	struct way back = {.link = flow->link};

	turn(&flow->tuple, &back.tuple);
	bpf_map_delete_elem(&flows, &back);
	bpf_map_delete_elem(&flows, way);
}

INLINE void take_note(struct __sk_buff *skb, const struct way *way, const struct packet *packet)
{
	__u32 *mtu = bpf_map_lookup_elem(&links, &way->link), number = bpf_get_prandom_u32() % NOTES;
	struct note *note = bpf_map_lookup_elem(&notes, &number);

	if (!mtu || !note || !number)
		return;
	note->way = *way;
	note->macs = packet->macs;
	note->print = packet->print;
	note->hops_left = packet->hops_left;
	note->mtu = *mtu;
	skb->tc_index = number;
}

SEC("tc") int from_link(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct way way = {.link = skb->ifindex};
	__u32 zero = 0, *current = bpf_map_lookup_elem(&generation, &zero);

	skb->tc_index = 0;
	if (!current || !*current || !read(skb, &packet))
		return TC_ACT_UNSPEC;
	way.tuple = packet.tuple;
	struct flow *flow = bpf_map_lookup_elem(&flows, &way);
	if (packet.ends) {
		if (flow)
			forget_both(&way, flow);
		return TC_ACT_UNSPEC;
	}
	if (flow && flow->generation == *current && bpf_ktime_get_coarse_ns() - flow->seen_ns < LONG_WAY_EACH_NS) {
		if (!flow->is_answered)
			return TC_ACT_UNSPEC;
		if (packet.hops_left > flow->hops && is_same(&packet.macs, &flow->came, sizeof(struct macs)))
			return send_on(skb, &packet, flow);
	}
	take_note(skb, &way, &packet);
	return TC_ACT_UNSPEC;
}

// The same packet, by all that nobody on its way changes? IPv6 and echoes are not translated here.
INLINE int is_noted(const struct note *note, const struct packet *packet)
{
	__u32 hops = note->hops_left - packet->hops_left;

	if (hops > HOPS_MAX || !is_same(&note->print, &packet->print, sizeof(struct print)))
		return 0;
	if (is_same(&note->way.tuple, &packet->tuple, sizeof(struct tuple)))
		return hops || is_same(&note->macs, &packet->macs, sizeof(struct macs));
	return hops && packet->tuple.version == 4 && note->way.tuple.version == 4 &&
	       packet->tuple.protocol == note->way.tuple.protocol && packet->tuple.protocol != IPPROTO_ICMP;
}

INLINE void learn(const struct note *note, const struct packet *packet, __u32 link, __u32 current)
{
	struct way way = note->way, back = {.link = link};
	struct tuple turned = {};
	struct flow flow = {
		.tuple = packet->tuple,
		.came = note->macs,
		.leaves = packet->macs,
		.link = link,
		.generation = current,
		.hops = note->hops_left - packet->hops_left,
		.seen_ns = bpf_ktime_get_coarse_ns(),
	};

	turn(&packet->tuple, &back.tuple);
	turn(&way.tuple, &turned);
	struct flow *other = bpf_map_lookup_elem(&flows, &back);
	if (other && other->generation == current && other->link == way.link &&
	    is_same(&other->tuple, &turned, sizeof(struct tuple)))
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
	if (note.mtu <= *mtu && is_noted(&note, &packet))
		learn(&note, &packet, link, *current);
	return TC_ACT_UNSPEC;
}
