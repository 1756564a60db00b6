// SPDX-License-Identifier: Apache-2.0
/*
 * egress-agent replay: a capture through the classifier.
 *
 * Owns: the frames an engine is fed with, and the output. Captured segments are put in order (stream.c), wrapped into
 * plain Ethernet frames and pushed through the engine, which sees each connection as its sender's own hook would.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"
#include "commands.h"
#include "engine.h"
#include "fragment.h"
#include "log.h"
#include "model.h"
#include "stream.h"
#include "util.h"

enum { OUTPUT_TSV, OUTPUT_JSON, OUTPUT_TABLE };
enum { USE_AUTO, USE_BPF, USE_NATIVE };

struct replay_options {
	int output;
	int engine;
};

#define ADDRESS_TEXT_MAX 46
#define HEADERS_MAX      74 /* Ethernet, IPv6, TCP */
#define SEGMENT_MAX      (ENGINE_FRAME_MAX - HEADERS_MAX)

/*
 * The last answer's bytes, kept for more of them, as a receiver's card does: a call costs more than the bytes. What a
 * client sends is never kept, for a name is said to be of the packet that completed it.
 */
struct kept {
	struct stream_segment segment; /* size 0: nothing is kept */
	uint8_t data[SEGMENT_MAX];
};

struct replay {
	const struct replay_options *options;
	struct engine *engine;
	struct fragments *fragments;
	struct streams *streams;
	int error;                            /* the first one; nothing more is pushed */
	const struct stream_segment *segment; /* being pushed */
	struct kept kept;
	uint64_t names;
};

static void put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static size_t put_ip(uint8_t *p, const struct stream_end *from, const struct stream_end *to,
		     size_t tcp)
{
	put16(p - 2, from->family == 4 ? 0x0800 : 0x86dd);
	if (from->family == 4) {
		p[0] = 0x45;
		put16(p + 2, (unsigned int)(20 + tcp));
		p[9] = 6;
		memcpy(p + 12, from->ip + 12, 4);
		memcpy(p + 16, to->ip + 12, 4);
		return 20;
	}
	p[0] = 0x60;
	put16(p + 4, (unsigned int)tcp);
	p[6] = 6;
	memcpy(p + 8, from->ip, 16);
	memcpy(p + 24, to->ip, 16);
	return 40;
}

/* `size` bytes of the segment's, as a frame of their own. True if no more of this connection is wanted. */
static bool push(struct replay *r, const struct stream_segment *g, size_t size)
{
	uint8_t frame[ENGINE_FRAME_MAX];
	bool decided = false;
	size_t at = 14;
	int e;

	if (r->error)
		return true;
	memset(frame, 0, HEADERS_MAX);
	at += put_ip(frame + at, g->from, g->to, 20 + size);
	put16(frame + at, g->from->port);
	put16(frame + at + 2, g->to->port);
	put32(frame + at + 4, g->seq);
	put32(frame + at + 8, g->ack);
	frame[at + 12] = 5 << 4;
	frame[at + 13] = g->flags;
	at += 20;
	if (size)
		memcpy(frame + at, g->data, size);
	e = engine_push(r->engine, frame, at + size, &decided);
	if (e < 0)
		r->error = e;
	return decided || e < 0;
}

/* Larger segments than an engine takes go in parts, a FIN with the last one. */
static bool push_segment(struct replay *r, const struct stream_segment *segment)
{
	struct stream_segment g = *segment;
	bool decided = false;

	r->segment = segment;
	g.flags &= (uint8_t)~STREAM_FIN;
	while (g.size > SEGMENT_MAX && !decided) {
		decided = push(r, &g, SEGMENT_MAX);
		g.data += SEGMENT_MAX;
		g.size -= SEGMENT_MAX;
		g.seq += SEGMENT_MAX;
	}
	g.flags = segment->flags;
	return decided || push(r, &g, g.size);
}

/* True if the segment could be kept, alone or behind what is. */
static bool keep(struct kept *k, const struct stream_segment *g)
{
	size_t size = k->segment.size;

	if (!g->answer || !g->size || g->flags & ~STREAM_ACK || size + g->size > SEGMENT_MAX)
		return false;
	if (size && (k->segment.from != g->from || k->segment.seq + (uint32_t)size != g->seq))
		return false;
	if (!size)
		k->segment = *g;
	k->segment.data = k->data;
	k->segment.size = size + g->size;
	memcpy(k->data + size, g->data, g->size);
	return true;
}

static bool on_segment(const struct stream_segment *segment, void *ctx)
{
	struct replay *r = ctx;

	if (keep(&r->kept, segment))
		return false;
	/* What is kept goes first, whosesoever it is. If it decides, its connection's next segment says so again. */
	if (r->kept.segment.size)
		push_segment(r, &r->kept.segment);
	r->kept.segment.size = 0;
	return keep(&r->kept, segment) ? false : push_segment(r, segment);
}

/* Printable ASCII as it is, the rest as \xHH. out has room for 4 times the name. */
static void name_escape(const struct ea_name_event *e, char *out)
{
	for (size_t i = 0; i < e->host_len; i++) {
		unsigned char c = e->host[i];

		if (c > 0x20 && c < 0x7f && c != '\\')
			*out++ = (char)c;
		else
			out += sprintf(out, "\\x%02x", c);
	}
	*out = 0;
}

/* As it was sent: an IPv6 packet's address stays one, even if it stands for one of IPv4. */
static void end_format(const struct stream_end *e, char text[ADDRESS_TEXT_MAX])
{
	inet_ntop(e->family == 4 ? AF_INET : AF_INET6, e->family == 4 ? e->ip + 12 : e->ip, text,
		  ADDRESS_TEXT_MAX);
}

static const char *protocol_word(const struct ea_name_event *e)
{
	return e->proto == EA_PROTO_TLS ? "tls" : "http";
}

/* A name's line: the client first, whichever end sent the packet that let it be known. */
struct line {
	const char *protocol;
	char src[ADDRESS_TEXT_MAX], dst[ADDRESS_TEXT_MAX], name[4 * EA_HOST_BUF + 1];
	uint16_t src_port, dst_port;
	uint64_t frame;
};

static void line_fill(const struct stream_segment *g, const struct ea_name_event *e,
		      struct line *ret)
{
	const struct stream_end *client = g->answer ? g->to : g->from;
	const struct stream_end *server = g->answer ? g->from : g->to;

	ret->protocol = protocol_word(e);
	end_format(client, ret->src);
	end_format(server, ret->dst);
	ret->src_port = client->port;
	ret->dst_port = server->port;
	ret->frame = g->frame;
	name_escape(e, ret->name);
}

static void print_json(const struct line *l, bool first)
{
	printf("%s\n{\"protocol\": \"%s\", \"source\": \"%s\", \"sourcePort\": %u, "
	       "\"destination\": \"%s\", "
	       "\"destinationPort\": %u, \"name\": \"",
	       first ? "" : ",", l->protocol, l->src, l->src_port, l->dst, l->dst_port);
	for (const char *c = l->name; *c; c++)
		printf(*c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
	printf("\", \"frame\": %" PRIu64 "}", l->frame);
}

static void on_name(const struct ea_name_event *e, void *ctx)
{
	struct replay *r = ctx;
	struct line l;

	if (e->source == EA_SOURCE_IP || !e->host_len)
		return;
	line_fill(r->segment, e, &l);
	if (r->options->output == OUTPUT_JSON)
		print_json(&l, !r->names);
	else if (r->options->output == OUTPUT_TABLE)
		printf("%-5s %-39s %5u  %-39s %5u  %8" PRIu64 "  %s\n", l.protocol, l.src,
		       l.src_port, l.dst, l.dst_port, l.frame, l.name);
	else
		printf("%s\t%s\t%u\t%s\t%u\t%s\t%" PRIu64 "\n", l.protocol, l.src, l.src_port,
		       l.dst, l.dst_port, l.name, l.frame);
	r->names++;
}

static int open_engine(struct replay *r)
{
	_cleanup_free_ char *why = NULL;
	bool native = r->options->engine == USE_NATIVE ||
		      (r->options->engine == USE_AUTO && geteuid() != 0);
	int e = engine_open(native ? ENGINE_NATIVE : ENGINE_BPF, on_name, r, &r->engine, &why);

	if (!e)
		return 0;
	return log_fail("replay: the programs cannot be loaded: %s; use --engine native, or see "
			"'egress-agent check'",
			why ? why : strerror(-e));
}

static int read_all(struct replay *r, struct capture *c, const char *path)
{
	_cleanup_free_ char *why = NULL;
	struct capture_packet p;
	int e;

	while ((e = capture_next(c, &p, &why)) == 1 && !r->error) {
		int x = fragments_packet(r->fragments, &p);

		if (x > 0)
			x = streams_packet(r->streams, p.data, p.size, p.number);
		if (x < 0)
			r->error = x;
	}
	streams_finish(r->streams);
	if (r->error)
		return log_fail("replay: %s: pushing packets failed: %s; try --engine native", path,
				strerror(-r->error));
	if (e == -ENODATA)
		log_note("replay: %s: cut short or damaged: %s; what comes before that is printed",
			 path, why ? why : "");
	else if (e < 0)
		return log_fail("replay: %s: %s; what came before it is printed", path,
				why ? why : strerror(-e));
	return EXIT_DONE;
}

static void print_head(const struct replay *r)
{
	if (r->options->output == OUTPUT_TABLE)
		printf("PROTO %-39s  PORT  %-39s  PORT     FRAME  NAME\n", "SOURCE", "DESTINATION");
	else if (r->options->output == OUTPUT_JSON)
		printf("{\"apiVersion\": \"egress-agent/v1\", \"kind\": \"NameList\", \"names\": "
		       "[");
}

static int replay_capture(struct replay *r, struct capture *c, const char *path)
{
	int status = open_engine(r);

	if (status)
		return status;
	if (streams_new(on_segment, r, &r->streams) || fragments_new(&r->fragments))
		return log_fail("replay: out of memory; try a smaller capture");
	print_head(r);
	status = read_all(r, c, path);
	if (r->options->output == OUTPUT_JSON)
		printf("%s]}\n", r->names ? "\n" : "");
	return status;
}

/* What was in the capture and could not be read, once. */
static void note_skipped(const struct replay *r, const struct capture *c)
{
	struct fragment_counts f = {.whole = 0};
	uint64_t packets, skipped;

	capture_counts(c, &packets, &skipped);
	if (skipped)
		log_note("replay: %" PRIu64 " of %" PRIu64
			 " packets are not IP on a link type that is read, and were skipped",
			 skipped, packets);
	if (r->fragments)
		f = fragments_counts(r->fragments);
	if (f.missing + f.overlap + f.evicted + f.broken)
		log_note("replay: fragmented datagrams: %" PRIu64 " put together, %" PRIu64
			 " incomplete, %" PRIu64 " overlapping, %" PRIu64
			 " beyond what is held at a time; %" PRIu64
			 " fragments malformed or not captured as a whole",
			 f.whole, f.missing, f.overlap, f.evicted, f.broken);
}

static int replay_run(void *options, char **operands, int n_operands)
{
	struct replay r = {.options = options};
	_cleanup_free_ char *why = NULL;
	struct capture *c;
	int status;

	if (n_operands != 1) {
		log_fail("replay: no capture file named; see 'egress-agent replay --help'");
		return EXIT_USAGE;
	}
	if (capture_open(operands[0], &c, &why))
		return log_fail("replay: %s: %s; a pcap or pcapng file is needed", operands[0],
				why ? why : "out of memory");
	status = replay_capture(&r, c, operands[0]);
	note_skipped(&r, c);
	streams_free(r.streams);
	fragments_free(r.fragments);
	engine_close(r.engine);
	capture_close(c);
	return status;
}

static const char *const outputs[] = {"tsv", "json", "table", NULL};
static const char *const engines[] = {"auto", "bpf", "native", NULL};

static const struct opt replay_opts[] = {
	{.name = "output",
	 .short_name = 'o',
	 .type = OPT_CHOICE,
	 .offset = offsetof(struct replay_options, output),
	 .help = "what to print: one line per name seen",
	 .def = "tsv",
	 .choices = outputs},
	{.name = "engine",
	 .type = OPT_CHOICE,
	 .offset = offsetof(struct replay_options, engine),
	 .help = "the programs in the kernel, or the same source compiled natively; auto: bpf for "
		 "root",
	 .def = "auto",
	 .choices = engines},
};

const struct command replay_command = {
	.name = "replay",
	.summary = "push a capture file through the same classifier and print what it found",
	.usage = "[OPTION]... FILE",
	.example = "egress-agent replay -o tsv capture.pcap",
	.opts = replay_opts,
	.n_opts = ARRAY_SIZE(replay_opts),
	.max_operands = 1,
	.run = replay_run,
	.options_size = sizeof(struct replay_options),
};
