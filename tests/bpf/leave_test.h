/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destinations that leave, in the kernel: taken out of use, added to others, given back; while traffic goes on. Part of
 * test_bpf.c, whose connections and results it uses.
 */
#ifndef LEAVE_TEST_H
#define LEAVE_TEST_H

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static bool snap(struct bpf_agent *agent, struct bpf_snapshot *s)
{
	if (!bpf_agent_snapshot(agent, s))
		return true;
	result(false, "leaving: no snapshot");
	return false;
}

static struct ea_dest_key remainder_of(const struct bpf_dest_row *row)
{
	return (struct ea_dest_key){.cgroup_id = row->key.cgroup_id,
				    .proto = row->key.proto,
				    .source = EA_SOURCE_OTHER,
				    .internal = row->key.internal};
}

/* Whoever has found a destination by its old key is done with it. */
static void wait_for_programs(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(1000000);
}

/* Retire all that are in use, then fold all that are out of use. Returns the failures. */
static int leave_all(struct bpf_agent *agent)
{
	struct bpf_snapshot s;
	int bad = 0;

	for (int step = 0; step < 2; step++) {
		if (!snap(agent, &s))
			return 1;
		for (size_t i = 0; i < s.n_dests; i++) {
			const struct bpf_dest_row *row = &s.dests[i];
			struct ea_dest_key to = remainder_of(row);

			if (row->key.source == EA_SOURCE_OTHER)
				continue;
			if (!step)
				bad += !!bpf_agent_retire(agent, row);
			else
				bad += !!bpf_agent_fold(agent, &s, row, &to, 0);
		}
		bpf_snapshot_done(&s);
		wait_for_programs();
	}
	return bad;
}

/* What was folded for want of room has room again, as often as destinations leave. */
static void leave_gives_back(void)
{
	struct bpf_agent *agent = agent_with_room(10);
	uint64_t opened = 0;
	struct bpf_snapshot s;
	int bad = 0;

	for (int round = 0; round < 3; round++) {
		many_hosts(agent, 70);
		bad += leave_all(agent);
	}
	many_hosts(agent, 70);
	if (!snap(agent, &s))
		return;
	for (size_t i = 0; i < s.n_dests; i++)
		opened += s.dests[i].stats.opened;
	result(!bad && opened == 280 && s.n_dests == 72 && !s.n_strays && s.n_addresses == 70 &&
		       !s.counters[EA_COUNT_DEST_FOLDED],
	       "leaving: 3 times 70 hosts leave and 70 have room again: %zu rows, %llu opened in "
	       "all, %d failures",
	       s.n_dests, (unsigned long long)opened, bad);
	bpf_snapshot_done(&s);
	bpf_agent_close(agent);
}

static const struct bpf_dest_row *named(const struct bpf_snapshot *s, const char *host)
{
	for (size_t i = 0; i < s->n_dests; i++)
		if (strcmp((const char *)s->dests[i].key.host, host) == 0)
			return &s->dests[i];
	return NULL;
}

static bool leave_host(struct bpf_agent *agent, const char *host, const struct ea_dest_key *to)
{
	struct bpf_snapshot s;
	bool good = snap(agent, &s) && named(&s, host) && !bpf_agent_retire(agent, named(&s, host));

	if (good)
		good = bpf_agent_retire(agent, named(&s, host)) == -ENOENT;
	bpf_snapshot_done(&s);
	wait_for_programs();
	good = good && snap(agent, &s) && named(&s, host) && named(&s, host)->key.retired &&
	       !bpf_agent_fold(agent, &s, named(&s, host), to, EA_FACT_ORIGINATED);
	bpf_snapshot_done(&s);
	return good;
}

static const char leave_request[] = "GET / HTTP/1.1\r\nHost: %s\r\n\r\n";
static const char leave_answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static void ask(struct conn *c, const char *host)
{
	static const struct cut whole = {STREAM_MAX, STREAM_MAX};
	char text[128];

	conn_stream(c, CLIENT, text, (size_t)sprintf(text, leave_request, host), &whole);
}

static void answer(struct conn *c)
{
	static const struct cut whole = {STREAM_MAX, STREAM_MAX};

	conn_stream(c, SERVER, leave_answer, sizeof(leave_answer) - 1, &whole);
}

/* To a key that is nobody's, then to one that is somebody's: all counters, answered requests, addresses, facts. */
static void leave_with_all(void)
{
	struct conn c = {agent_with_room(10), false, 80, {1, 1}};
	struct ea_dest_key to = {.cgroup_id = EA_CGROUP_OURS | 7,
				 .port = 80,
				 .proto = EA_PROTO_HTTP,
				 .source = EA_SOURCE_HTTP,
				 .host_len = 5,
				 .host = "to.it"};
	const struct bpf_dest_row *row;
	const struct bpf_request_row *q;
	struct bpf_snapshot s;
	bool good;

	for (int i = 0; i < 2; i++) {
		conn_open(&c);
		ask(&c, "from.it");
		answer(&c);
		conn_close(&c);
		good = leave_host(c.agent, "from.it", &to);
		if (!good)
			break;
	}
	if (!snap(c.agent, &s))
		return;
	row = named(&s, "to.it");
	q = row ? request_of(&s, row->id, EA_METHOD_GET, 200) : NULL;
	result(good && row && row->stats.opened == 2 && row->stats.closed == 2 &&
		       row->stats.requests == 2 && row->stats.facts & EA_FACT_ORIGINATED && q &&
		       q->stats.count == 2 && s.n_requests == 1 && s.n_addresses == 1 &&
		       s.addresses[0].dest_id == row->id && !s.n_strays && s.n_dests == 2,
	       "leaving: two rows under the key of another workload are one, with all they had");
	bpf_snapshot_done(&s);
	bpf_agent_close(c.agent);
}

/* An answer to a request whose destination has left: found, and counted where the node's overflow is. */
static void leave_stray(void)
{
	struct conn c = {agent_with_room(10), false, 80, {1, 1}};
	const struct bpf_request_row *q;
	struct ea_dest_key to;
	struct bpf_snapshot s;
	bool good;

	conn_open(&c);
	ask(&c, "first.example");
	answer(&c);
	ask(&c, "second.example");
	if (!snap(c.agent, &s))
		return;
	to = remainder_of(named(&s, "second.example"));
	bpf_snapshot_done(&s);
	good = leave_host(c.agent, "second.example", &to);
	answer(&c);
	conn_close(&c);
	if (!snap(c.agent, &s))
		return;
	good = good && s.n_strays == 1 && !bpf_agent_fold_stray(c.agent, &s, s.strays[0]);
	bpf_snapshot_done(&s);
	if (!snap(c.agent, &s))
		return;
	q = request_of(&s, EA_DEST_OVERFLOW, EA_METHOD_GET, 200);
	result(good && !s.n_strays && s.dests[0].id == EA_DEST_OVERFLOW && q &&
		       q->stats.response_bytes == sizeof(leave_answer) - 1 && q->stats.count == 1,
	       "leaving: an answer that comes later is in the overflow, %llu bytes",
	       q ? (unsigned long long)q->stats.response_bytes : 0);
	bpf_snapshot_done(&s);
	bpf_agent_close(c.agent);
}

/* ---- while traffic goes on ---- */

enum { BUSY_THREADS = 2, BUSY_CONNECTIONS = 15000, BUSY_HOSTS = 16 };

struct busy {
	struct bpf_agent *agent;
	uint16_t port;
	uint64_t sent;
	atomic_int *running;
};

static void *busy_thread(void *data)
{
	static const struct cut whole = {STREAM_MAX, STREAM_MAX};
	struct busy *b = data;

	for (unsigned int i = 0; i < BUSY_CONNECTIONS; i++) {
		struct conn c = {b->agent, false, b->port, {1, 1}};
		struct stream hello;
		char name[32];

		sprintf(name, "h%u.example", i * 7 % BUSY_HOSTS);
		hello = hello_stream(&(struct hello){.sni = name});
		conn_open(&c);
		conn_stream(&c, CLIENT, hello.data, hello.size, &whole);
		conn_close(&c);
		b->sent += hello.size;
	}
	atomic_fetch_sub(b->running, 1);
	return NULL;
}

/* Whatever is out of use and closed goes to its remainder, or back to where it was. */
static unsigned int fold_some(struct bpf_agent *agent, unsigned int *seed)
{
	unsigned int n = 0;
	struct bpf_snapshot s;

	if (!snap(agent, &s))
		return 0;
	for (size_t i = 0; i < s.n_dests; i++) {
		const struct bpf_dest_row *row = &s.dests[i];
		struct ea_dest_key to = row->key;

		if (!row->key.retired || row->stats.opened != row->stats.closed)
			continue;
		to.retired = 0;
		if (rand_r(seed) & 1)
			to = remainder_of(row);
		n += !bpf_agent_fold(agent, &s, row, &to, 0);
	}
	bpf_snapshot_done(&s);
	return n;
}

static void retire_some(struct bpf_agent *agent, unsigned int *seed)
{
	struct bpf_snapshot s;

	if (!snap(agent, &s))
		return;
	for (size_t i = 0; i < s.n_dests; i++)
		if (s.dests[i].id != EA_DEST_OVERFLOW && s.dests[i].key.source != EA_SOURCE_OTHER &&
		    !s.dests[i].key.retired && rand_r(seed) & 1)
			bpf_agent_retire(agent, &s.dests[i]);
	bpf_snapshot_done(&s);
}

static void leave_busy_told(struct bpf_agent *agent, uint64_t sent_want, unsigned int moves)
{
	const uint64_t want = (uint64_t)BUSY_THREADS * BUSY_CONNECTIONS;
	uint64_t opened = 0, closed = 0, sent = 0;
	struct bpf_snapshot s;

	if (!snap(agent, &s))
		return;
	for (size_t i = 0; i < s.n_dests; i++) {
		opened += s.dests[i].stats.opened;
		closed += s.dests[i].stats.closed;
		sent += s.dests[i].stats.sent;
	}
	result(opened == want && closed == want && sent == sent_want && moves > 100 &&
		       !s.n_strays && s.n_dests <= 2 * BUSY_HOSTS + 2,
	       "leaving while %d threads connect: %u moves, %llu of %llu opened, %llu closed, %llu "
	       "of %llu bytes, %zu strays",
	       BUSY_THREADS, moves, (unsigned long long)opened, (unsigned long long)want,
	       (unsigned long long)closed, (unsigned long long)sent, (unsigned long long)sent_want,
	       s.n_strays);
	bpf_snapshot_done(&s);
}

static void leave_busy(void)
{
	struct bpf_agent *agent = agent_with_room(1000);
	struct busy busy[BUSY_THREADS];
	pthread_t threads[BUSY_THREADS];
	atomic_int running = BUSY_THREADS;
	unsigned int seed = 1, moves = 0;
	uint64_t sent = 0;

	for (int i = 0; i < BUSY_THREADS; i++) {
		busy[i] = (struct busy){agent, (uint16_t)(443 + i), 0, &running};
		if (pthread_create(&threads[i], NULL, busy_thread, &busy[i]))
			exit(1);
	}
	while (atomic_load(&running)) {
		retire_some(agent, &seed);
		wait_for_programs();
		moves += fold_some(agent, &seed);
	}
	for (int i = 0; i < BUSY_THREADS; i++) {
		pthread_join(threads[i], NULL);
		sent += busy[i].sent;
	}
	leave_busy_told(agent, sent, moves);
	bpf_agent_close(agent);
}

/* ---- identities ---- */

static int add_up(uint64_t id, const struct ea_identity *identity, void *data)
{
	*(uint64_t *)data += id * identity->size;
	return 0;
}

static void identities_kept(void)
{
	struct bpf_agent *agent = agent_with_room(10);
	struct ea_identity identity = {.size = 3};
	uint64_t sum = 0;
	int bad = 0;

	for (uint64_t id = 1; id <= 1000; id++)
		bad += !!bpf_agent_identity_put(agent, id, &identity);
	for (uint64_t id = 2; id <= 1000; id += 2)
		bpf_agent_identity_forget(agent, id);
	bad += !!bpf_agent_identities(agent, add_up, &sum);
	result(!bad && sum == 3 * 250000,
	       "identities: 500 of 1000 are there when half are forgotten");
	bpf_agent_close(agent);
}

static void leaving(void)
{
	leave_gives_back();
	leave_with_all();
	leave_stray();
	leave_busy();
	identities_kept();
}

#endif
