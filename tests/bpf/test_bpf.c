// SPDX-License-Identifier: Apache-2.0
/*
 * The real object in the kernel: the case table of cases.h pushed through ea_packets with BPF_PROG_TEST_RUN, whole
 * and cut, then read back from the maps. Each run has a server port of its own, so that all of them can be told
 * apart in one snapshot. Also: what the verifier says of each program, and limits.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "bpf.h"
#include "egress.skel.h"

#include "answer_cases.h"
#include "cases.h"

/* Instructions the verifier may look at, per program. */
#define VERIFIER_BUDGET 250000

/* A test run's packet must fit a page, with room for the kernel's own. */
#define TEST_RUN_MAX 3000

static int failures, passes;

static void result(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void result(bool ok, const char *fmt, ...)
{
	va_list args;

	printf(ok ? "ok - " : "not ok - ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	passes += ok;
	failures += !ok;
}

/* Why cases may have failed: what the programs counted as lost or given up. */
static void tell_counters(const struct bpf_snapshot *s, bool bad)
{
	for (size_t i = EA_COUNT_FAILED; bad && i < EA_COUNT_MAX; i++)
		if (s->counters[i])
			printf("# counter %zu: %llu\n", i, (unsigned long long)s->counters[i]);
}

/* One connection, as its packets. */
struct conn {
	struct bpf_agent *agent;
	bool v6;
	uint16_t port;   /* the server's */
	uint32_t seq[2]; /* next sequence number: client, server */
};

enum { CLIENT, SERVER };

static size_t put_ip(const struct conn *c, int from, uint8_t *at, size_t payload)
{
	if (c->v6) {
		struct ipv6hdr ip = {.version = 6, .nexthdr = IPPROTO_TCP, .hop_limit = 64};

		ip.payload_len = htons((uint16_t)(sizeof(struct tcphdr) + payload));
		inet_pton(AF_INET6, "2001:db8::1", from == CLIENT ? &ip.saddr : &ip.daddr);
		inet_pton(AF_INET6, "2001:db8::2", from == CLIENT ? &ip.daddr : &ip.saddr);
		memcpy(at, &ip, sizeof(ip));
		return sizeof(ip);
	}
	struct iphdr ip = {.version = 4, .ihl = 5, .protocol = IPPROTO_TCP, .ttl = 64};

	ip.tot_len = htons((uint16_t)(sizeof(ip) + sizeof(struct tcphdr) + payload));
	ip.saddr = htonl(from == CLIENT ? 0xc0000201 : 0xc6336401);
	ip.daddr = htonl(from == CLIENT ? 0xc6336401 : 0xc0000201);
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

static void send_segment(struct conn *c, int from, int flags, const void *data, size_t size)
{
	uint8_t frame[STREAM_MAX + 128] = {0};
	struct ethhdr eth = {.h_proto = htons(c->v6 ? ETH_P_IPV6 : ETH_P_IP)};
	struct tcphdr tcp = {.doff = 5};
	size_t at = sizeof(eth);
	int r;

	memcpy(frame, &eth, sizeof(eth));
	at += put_ip(c, from, frame + at, size);
	tcp.source = htons(from == CLIENT ? 40000 : c->port);
	tcp.dest = htons(from == CLIENT ? c->port : 40000);
	tcp.seq = htonl(c->seq[from]);
	tcp.ack_seq = htonl(c->seq[!from]);
	tcp.fin = !!(flags & FIN);
	tcp.syn = !!(flags & SYN);
	tcp.rst = !!(flags & RST);
	tcp.ack = !!(flags & ACK);
	memcpy(frame + at, &tcp, sizeof(tcp));
	at += sizeof(tcp);
	memcpy(frame + at, data, size);
	r = bpf_agent_packet(c->agent, frame, at + size);
	if (r < 0) {
		fprintf(stderr, "test run failed: %s\n", strerror(-r));
		exit(1);
	}
	c->seq[from] += (uint32_t)size + !!(flags & (SYN | FIN));
}

static void conn_open(struct conn *c)
{
	send_segment(c, CLIENT, SYN, "", 0);
	send_segment(c, SERVER, SYN | ACK, "", 0);
	send_segment(c, CLIENT, ACK, "", 0);
}

static void conn_close(struct conn *c)
{
	send_segment(c, CLIENT, FIN | ACK, "", 0);
	send_segment(c, SERVER, FIN | ACK, "", 0);
}

struct cut {
	size_t head, rest;
};

static void conn_stream(struct conn *c, int from, const void *data, size_t size,
			const struct cut *cut)
{
	for (size_t at = 0, n; at < size; at += n) {
		n = at ? cut->rest : cut->head;
		if (n > size - at)
			n = size - at;
		if (n > TEST_RUN_MAX)
			n = TEST_RUN_MAX;
		/* A retransmission now and then must change nothing. */
		send_segment(c, from, ACK, (const uint8_t *)data + at, n);
		if (at % 5 == 3) {
			c->seq[from] -= (uint32_t)n;
			send_segment(c, from, ACK, (const uint8_t *)data + at, n);
		}
	}
}

/* Every cut a case is tried with: whole, small pieces, and in two at (up to 400) single places. */
static size_t cuts_of(size_t size, struct cut cuts[512])
{
	static const struct cut fixed[] = {{STREAM_MAX, STREAM_MAX}, {1, 1}, {7, 7}, {100, 100}};
	size_t n = 4, step = size / 400 + 1;

	memcpy(cuts, fixed, sizeof(fixed));
	for (size_t at = 1; at < size; at += step)
		cuts[n++] = (struct cut){at, STREAM_MAX};
	return n;
}

static struct bpf_agent *agent_new(void)
{
	struct bpf_options options = {
		.max_destinations = 200000,
		.max_hosts_per_workload = 100000,
		.mesh_port = 15001,
		.packets = true,
	};
	struct bpf_agent *agent;
	char *why = NULL;
	bool adopted;

	if (bpf_agent_open(&options, &agent, &adopted, &why)) {
		printf("not ok - the object loads: %s\n", why ? why : "no memory");
		exit(1);
	}
	return agent;
}

static void key_text(const struct ea_dest_key *key, char out[1200])
{
	if (key->source == EA_SOURCE_IP) {
		*out = 0;
		return;
	}
	if (!key->host_len) {
		strcpy(out, "~");
		return;
	}
	for (size_t i = 0; i < key->host_len; i++)
		out += key->host[i] > ' ' && key->host[i] < 0x7f
			       ? sprintf(out, "%c", key->host[i])
			       : sprintf(out, "\\x%02x", key->host[i]);
}

/* Rows of one port, in order of creation. */
static const struct bpf_dest_row *row_of(const struct bpf_snapshot *s, uint16_t port, size_t index)
{
	for (size_t i = 0; i < s->n_dests; i++)
		if (s->dests[i].key.port == port && index-- == 0)
			return &s->dests[i];
	return NULL;
}

/* Observations in a distribution of times. What they were cannot be known here: unit/test_times.c has a clock. */
static uint64_t observations(const __u64 *buckets, size_t n)
{
	uint64_t sum = 0;

	while (n--)
		sum += *buckets++;
	return sum;
}

static bool times_right(const struct ea_stats *s, uint64_t connects, uint64_t handshakes,
			char why[2048])
{
	uint64_t c = observations(s->connect.n, EA_SHORT_BUCKETS);
	uint64_t h = observations(s->handshake.n, EA_SHORT_BUCKETS);

	if (c == connects && h == handshakes && !s->handshake.sum_ns == !handshakes)
		return true;
	sprintf(why, "%llu connect and %llu handshake times, want %llu and %llu",
		(unsigned long long)c, (unsigned long long)h, (unsigned long long)connects,
		(unsigned long long)handshakes);
	return false;
}

static bool tls_row_right(const struct bpf_snapshot *s, uint16_t port, const struct tls_case *c,
			  size_t size, char why[2048])
{
	const struct bpf_dest_row *row = row_of(s, port, 0);
	char name[1200];

	if (!row || row_of(s, port, 1)) {
		sprintf(why, "%s destinations", row ? "several" : "no");
		return false;
	}
	key_text(&row->key, name);
	if (strcmp(name, c->name) != 0 || row->key.proto != EA_PROTO_TLS) {
		sprintf(why, "host '%s', protocol %u", name, row->key.proto);
		return false;
	}
	if (row->stats.opened != 1 || row->stats.closed != 1 || row->stats.sent != size ||
	    row->stats.received != 0) {
		sprintf(why, "opened %llu closed %llu sent %llu received %llu, want 1 1 %zu 0",
			row->stats.opened, row->stats.closed, row->stats.sent, row->stats.received,
			size);
		return false;
	}
	if (!!(row->stats.facts & EA_FACT_ECH) != c->hello.ech ||
	    !!(row->stats.facts & EA_FACT_ALPN_H2) != c->hello.alpn) {
		sprintf(why, "facts %x", row->stats.facts);
		return false;
	}
	return times_right(&row->stats, 1, 0, why);
}

static void tls_case(const struct tls_case *c, bool v6)
{
	struct bpf_agent *agent = agent_new();
	struct stream s = hello_stream(&c->hello);
	struct bpf_snapshot snapshot;
	struct cut cuts[512];
	size_t n = cuts_of(s.size, cuts), bad = 0;
	char why[2048] = "";

	for (size_t i = 0; i < n; i++) {
		struct conn conn = {agent, v6, (uint16_t)(1000 + i), {0xfffffff0u, 7}};

		conn_open(&conn);
		conn_stream(&conn, CLIENT, s.data, s.size, &cuts[i]);
		conn_close(&conn);
	}
	if (bpf_agent_snapshot(agent, &snapshot)) {
		result(false, "%s: no snapshot", c->title);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!tls_row_right(&snapshot, (uint16_t)(1000 + i), c, s.size, why) && !bad++)
			sprintf(why + strlen(why), " (cut at %zu then %zu)", cuts[i].head,
				cuts[i].rest);
	result(!bad, "tls, %s, %s: %zu of %zu cuts right%s%s", v6 ? "IPv6" : "IPv4", c->title,
	       n - bad, n, bad ? "; first wrong: " : "", bad ? why : "");
	tell_counters(&snapshot, bad);
	bpf_snapshot_done(&snapshot);
	bpf_agent_close(agent);
}

static const char *const methods[EA_METHOD_MAX] = {
	"OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};

static const struct bpf_request_row *request_of(const struct bpf_snapshot *s, uint32_t id,
						int method, unsigned int code)
{
	for (size_t i = 0; i < s->n_requests; i++)
		if (s->requests[i].dest_id == id && s->requests[i].method == method &&
		    s->requests[i].code == code)
			return &s->requests[i];
	return NULL;
}

static const struct bpf_dest_row *host_of(const struct bpf_snapshot *s, uint16_t port,
					  const char *host)
{
	char name[1200];

	for (size_t i = 0; i < s->n_dests; i++) {
		if (s->dests[i].key.port != port || s->dests[i].key.proto != EA_PROTO_HTTP)
			continue;
		key_text(&s->dests[i].key, name);
		if (strcmp(name, host) == 0)
			return &s->dests[i];
	}
	return NULL;
}

/* Each answered request of a destination, the unanswered ones too, took a time. */
static bool durations_right(const struct bpf_snapshot *s, uint32_t id, char why[2048])
{
	for (size_t i = 0; i < s->n_requests; i++) {
		const struct ea_request_stats *q = &s->requests[i].stats;
		uint64_t n = observations(q->duration.n, EA_LONG_BUCKETS);

		if (s->requests[i].dest_id != id || n == q->count)
			continue;
		sprintf(why, "%llu times of %llu requests with code %u", (unsigned long long)n,
			q->count, s->requests[i].code);
		return false;
	}
	return true;
}

/* Every "METHOD host code" of the case is there as often as it should be, and nothing else is. */
static bool http_rows_right(const struct bpf_snapshot *s, uint16_t port, const struct http_case *c,
			    char why[2048])
{
	char answers[1024], *save, *one;
	uint64_t requests = 0, counted = 0, opened = 0;

	strcpy(answers, c->answers);
	for (one = strtok_r(answers, ";", &save); one; one = strtok_r(NULL, ";", &save)) {
		char *host = strchr(one, ' ') + 1, *code = strrchr(one, ' ');
		const struct bpf_dest_row *row;
		int method = 0;

		host[-1] = *code = 0;
		while (strcmp(methods[method], one) != 0)
			method++;
		row = host_of(s, port, host);
		if (!row || !request_of(s, row->id, method, (unsigned int)atoi(code + 1))) {
			sprintf(why, "no %s %s %s", one, host, code + 1);
			return false;
		}
		requests++;
	}
	for (size_t i = 0; i < s->n_dests; i++) {
		if (s->dests[i].key.port != port)
			continue;
		opened += s->dests[i].stats.opened;
		counted += s->dests[i].stats.requests;
		if (!times_right(&s->dests[i].stats, s->dests[i].stats.opened, 0, why) ||
		    !durations_right(s, s->dests[i].id, why))
			return false;
		for (size_t k = 0; k < s->n_requests; k++)
			if (s->requests[k].dest_id == s->dests[i].id)
				counted += s->requests[k].stats.count;
	}
	sprintf(why, "%llu requests and answers in all, want %llu; %llu opened",
		(unsigned long long)counted, (unsigned long long)(2 * requests),
		(unsigned long long)opened);
	return counted == 2 * requests && opened == 1;
}

static void http_case(const struct http_case *c, bool v6)
{
	struct bpf_agent *agent = agent_new();
	size_t size = strlen(c->client), bad = 0, n;
	struct bpf_snapshot snapshot;
	struct cut cuts[512];
	char why[2048] = "";

	n = cuts_of(size + strlen(c->server), cuts);
	for (size_t i = 0; i < n; i++) {
		/* The server's first sequence number on either side of a sign change. */
		struct conn conn = {
			agent, v6, (uint16_t)(1000 + i), {100, i & 1 ? 0xffffff00u : 1000}};

		conn_open(&conn);
		conn_stream(&conn, CLIENT, c->client, size, &cuts[i]);
		conn_stream(&conn, SERVER, c->server, strlen(c->server), &cuts[i]);
		conn_close(&conn);
	}
	if (bpf_agent_snapshot(agent, &snapshot)) {
		result(false, "%s: no snapshot", c->title);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!http_rows_right(&snapshot, (uint16_t)(1000 + i), c, why) && !bad++)
			sprintf(why + strlen(why), " (cut at %zu then %zu)", cuts[i].head,
				cuts[i].rest);
	result(!bad, "http, %s, %s: %zu of %zu cuts right%s%s", v6 ? "IPv6" : "IPv4", c->title,
	       n - bad, n, bad ? "; first wrong: " : "", bad ? why : "");
	tell_counters(&snapshot, bad);
	bpf_snapshot_done(&snapshot);
	bpf_agent_close(agent);
}

/* Names told of while packets are pushed, as "protocol host", ';' between them. */
static void add_name(const struct ea_event *event, void *data)
{
	const struct ea_name_event *e = (const struct ea_name_event *)event;
	char *text = data;
	size_t len = strlen(text);

	if (event->type != EA_EVENT_NAME)
		return;
	snprintf(text + len, 1024 - len, "%s%s %.*s", len ? ";" : "",
		 e->proto == EA_PROTO_TLS ? "tls" : "http", (int)e->host_len, e->host);
}

static void prelude_case(struct bpf_agent *agent, const struct prelude_case *c, bool v6)
{
	struct stream s = prelude_stream(c);
	struct cut cuts[512];
	size_t n = cuts_of(s.size, cuts), bad = 0;
	char why[1200] = "";

	for (size_t i = 0; i < n; i++) {
		struct conn conn = {agent, v6, (uint16_t)(1000 + i), {0xfffffff0u, 7}};
		char names[1024] = "";

		conn_open(&conn);
		conn_stream(&conn, CLIENT, s.data, s.size, &cuts[i]);
		conn_close(&conn);
		bpf_agent_events(agent, add_name, names);
		if (strcmp(names, c->name) != 0 && !bad++)
			snprintf(why, sizeof(why), "; first wrong: '%s' (cut at %zu then %zu)",
				 names, cuts[i].head, cuts[i].rest);
	}
	result(!bad, "before a name, %s, %s: %zu of %zu cuts right%s", v6 ? "IPv6" : "IPv4",
	       c->title, n - bad, n, why);
}

static void preludes(void)
{
	struct bpf_options options = {.max_destinations = 200000,
				      .max_hosts_per_workload = 100000,
				      .mesh_port = 15001,
				      .packets = true,
				      .observe = true};
	struct bpf_agent *agent;
	bool adopted;
	char *why;

	if (bpf_agent_open(&options, &agent, &adopted, &why)) {
		result(false, "before a name: no agent");
		return;
	}
	for (size_t i = 0; i < sizeof(prelude_cases) / sizeof(prelude_cases[0]); i++)
		prelude_case(agent, &prelude_cases[i], i & 1);
	bpf_agent_close(agent);
}

/* An answer whose segment is lost and comes again late: the next request's answer is read all the same. */
static void lost_answer(void)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: lost.example\r\n\r\n";
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n";
	static const char empty[] = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
	static const struct cut whole = {STREAM_MAX, STREAM_MAX};
	struct conn c = {agent_new(), false, 80, {1, 1}};
	struct bpf_snapshot s;
	char body[3000] = {0};
	const struct bpf_dest_row *row;
	char why[2048];
	uint32_t hole;

	conn_open(&c);
	conn_stream(&c, CLIENT, request, sizeof(request) - 1, &whole);
	conn_stream(&c, SERVER, head, sizeof(head) - 1, &whole);
	hole = c.seq[SERVER];
	c.seq[SERVER] += 1000; /* the first third of the body comes last */
	conn_stream(&c, SERVER, body, 2000, &whole);
	c.seq[SERVER] = hole;
	conn_stream(&c, SERVER, body, 1000, &whole);
	c.seq[SERVER] = hole + 3000;
	conn_stream(&c, CLIENT, request, sizeof(request) - 1, &whole);
	c.seq[SERVER] += sizeof(empty) - 1; /* this answer is not seen at all */
	conn_stream(&c, CLIENT, request, sizeof(request) - 1, &whole);
	conn_stream(&c, SERVER, empty, sizeof(empty) - 1, &whole);
	conn_close(&c);
	if (bpf_agent_snapshot(c.agent, &s)) {
		result(false, "lost answer: no snapshot");
		return;
	}
	row = host_of(&s, 80, "lost.example");
	result(row && row->stats.requests == 3 && request_of(&s, row->id, EA_METHOD_GET, 200) &&
		       request_of(&s, row->id, EA_METHOD_GET, 404) && s.n_requests == 2 &&
		       s.counters[EA_COUNT_RESPONSE_LOST] == 1 && durations_right(&s, row->id, why),
	       "http, answers with holes: 200 and 404 of 3 requests paired, 1 counted as lost");
	bpf_snapshot_done(&s);
	bpf_agent_close(c.agent);
}

static uint32_t version_fact(unsigned int version)
{
	return version ? (uint32_t)EA_FACT_SSL30 << (version - 0x300) << EA_FACT_CHOSEN_SHIFT : 0;
}

static bool answer_row_right(const struct bpf_snapshot *s, uint16_t port,
			     const struct answer_case *c)
{
	char why[2048];

	for (size_t i = 0; i < s->n_dests; i++) {
		const struct ea_stats *stats = &s->dests[i].stats;

		if (s->dests[i].key.port == port)
			return stats->handshakes_failed == c->failed && stats->opened == 1 &&
			       times_right(stats, 1, c->version != 0, why) &&
			       stats->facts >> EA_FACT_CHOSEN_SHIFT << EA_FACT_CHOSEN_SHIFT ==
				       version_fact(c->version);
	}
	return false;
}

/* A hello, the server's answer cut in all ways, what the client says to that. */
static void answer_case(const struct answer_case *c, bool v6)
{
	struct stream hello =
		hello_stream(&(struct hello){.sni = "answer.example", .versions = true});
	struct stream server = answer_stream(c->server, c->record);
	struct stream client = answer_stream(c->client, c->record);
	struct bpf_agent *agent = agent_new();
	size_t n, bad = 0, first = 0;
	struct bpf_snapshot s;
	struct cut cuts[512];
	uint64_t ends;

	n = cuts_of(server.size, cuts);
	for (size_t i = 0; i < n; i++) {
		struct conn conn = {agent, v6, (uint16_t)(1000 + i), {0xffffff00u, 0xfffffff0u}};

		conn_open(&conn);
		conn_stream(&conn, CLIENT, hello.data, hello.size, &cuts[0]);
		conn_stream(&conn, SERVER, server.data, server.size, &cuts[i]);
		conn_stream(&conn, CLIENT, client.data, client.size, &cuts[i]);
		conn_close(&conn);
	}
	if (bpf_agent_snapshot(agent, &s)) {
		result(false, "%s: no snapshot", c->title);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!answer_row_right(&s, (uint16_t)(1000 + i), c) && !bad++)
			first = cuts[i].head;
	ends = s.counters[c->failed    ? EA_COUNT_HANDSHAKE_FAILED
			  : c->version ? EA_COUNT_HANDSHAKE_ANSWERED
				       : EA_COUNT_HANDSHAKE_UNREAD];
	result(!bad && ends == n,
	       "answer, %s, %s: %zu of %zu cuts right, %llu counted (first wrong: %zu)",
	       v6 ? "IPv6" : "IPv4", c->title, n - bad, n, (unsigned long long)ends, first);
	tell_counters(&s, bad);
	bpf_snapshot_done(&s);
	bpf_agent_close(agent);
}

static struct bpf_agent *agent_with_room(uint32_t hosts)
{
	struct bpf_options options = {.max_destinations = 65536,
				      .max_hosts_per_workload = hosts,
				      .mesh_port = 15001,
				      .packets = true};
	struct bpf_agent *agent;
	bool adopted;
	char *why;

	if (bpf_agent_open(&options, &agent, &adopted, &why)) {
		fprintf(stderr, "no agent: %s\n", why);
		exit(1);
	}
	return agent;
}

/* One connection to each of so many hosts, as fast as it goes. */
static void many_hosts(struct bpf_agent *agent, int hosts)
{
	static const struct cut whole = {STREAM_MAX, STREAM_MAX};

	for (int i = 0; i < hosts; i++) {
		struct conn c = {agent, i & 1, 443, {1, 1}};
		char name[32];
		struct stream hello;

		sprintf(name, "h%d.example", i);
		hello = hello_stream(&(struct hello){.sni = name});
		conn_open(&c);
		conn_stream(&c, CLIENT, hello.data, hello.size, &whole);
		conn_close(&c);
	}
}

/* More hosts than a workload may have: the rest is one line, and nothing is lost. */
static void folding(void)
{
	struct bpf_agent *agent = agent_with_room(10);
	struct bpf_snapshot s;
	uint64_t opened = 0, other = 0;

	many_hosts(agent, 500);
	if (bpf_agent_snapshot(agent, &s)) {
		result(false, "folding: no snapshot");
		return;
	}
	for (size_t i = 0; i < s.n_dests; i++) {
		opened += s.dests[i].stats.opened;
		if (s.dests[i].key.source == EA_SOURCE_OTHER)
			other += s.dests[i].stats.opened;
	}
	result(opened == 500 && other == 500 - 80 && s.n_dests == 82 &&
		       s.dests[0].id == EA_DEST_OVERFLOW &&
		       s.counters[EA_COUNT_DEST_FOLDED] == other,
	       "500 hosts where 80 have room: %zu rows, %llu opened in all, %llu of them folded",
	       s.n_dests, (unsigned long long)opened, (unsigned long long)other);
	bpf_snapshot_done(&s);
	bpf_agent_close(agent);
}

/* Memory for new destinations must keep up: a table with room takes each that comes. */
static void burst(void)
{
	enum { HOSTS = 60000 };
	struct bpf_agent *agent = agent_with_room(65536);
	struct bpf_snapshot s;
	uint64_t opened = 0;

	many_hosts(agent, HOSTS);
	if (bpf_agent_snapshot(agent, &s)) {
		result(false, "burst: no snapshot");
		return;
	}
	for (size_t i = 0; i < s.n_dests; i++)
		opened += s.dests[i].stats.opened;
	result(opened == HOSTS && s.n_dests == HOSTS + 1 && !s.counters[EA_COUNT_NO_STATS],
	       "%d new hosts in a row: %zu rows, %llu opened in all, %llu counts lost", HOSTS,
	       s.n_dests, (unsigned long long)opened,
	       (unsigned long long)s.counters[EA_COUNT_NO_STATS]);
	bpf_snapshot_done(&s);
	bpf_agent_close(agent);
}

#include "flood_test.h"
#include "leave_test.h"

/* The verifier's own count of instructions, from its log of statistics. */
static void verifier_cost(void)
{
	static char log[1 << 16];
	struct egress_bpf *skel = egress_bpf__open();
	struct bpf_program *prog;
	char *at;
	int r;

	bpf_object__for_each_program(prog, skel->obj)
	{
		char *buffer = calloc(1, sizeof(log));

		bpf_program__set_log_buf(prog, buffer, sizeof(log));
		bpf_program__set_log_level(prog, 4); /* BPF_LOG_STATS */
	}
	r = egress_bpf__load(skel);
	bpf_object__for_each_program(prog, skel->obj)
	{
		size_t size;
		unsigned long n = 0;
		const char *text = bpf_program__log_buf(prog, &size);

		at = text ? strstr(text, "processed ") : NULL;
		if (at)
			n = strtoul(at + 10, NULL, 10);
		result(!r && n && n < VERIFIER_BUDGET, "verifier: %s takes %lu instructions of %d",
		       bpf_program__name(prog), n, VERIFIER_BUDGET);
		free((void *)text);
	}
	egress_bpf__destroy(skel);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("skip - programs in the kernel: needs root\n");
		return 0;
	}
	setlinebuf(stdout);
	libbpf_set_print(NULL);
	verifier_cost();
	for (int v6 = 0; v6 < 2; v6++) {
		for (size_t i = 0; i < sizeof(tls_cases) / sizeof(tls_cases[0]); i++)
			tls_case(&tls_cases[i], v6);
		for (size_t i = 0; i < sizeof(http_cases) / sizeof(http_cases[0]); i++)
			http_case(&http_cases[i], v6);
		for (size_t i = 0; i < ANSWER_CASES; i++)
			answer_case(&answer_cases[i], v6);
	}
	preludes();
	lost_answer();
	folding();
	burst();
	leaving();
	flood();
	return failures ? 1 : 0;
}
