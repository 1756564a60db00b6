// SPDX-License-Identifier: Apache-2.0
/* seeds DIR: the case table of tests/bpf/*cases.h as seed corpora DIR/tls, DIR/answer, DIR/http, DIR/flow. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../bpf/answer_cases.h"
#include "../bpf/cases.h"

#define LENGTH_OF(a) (sizeof(a) / sizeof((a)[0]))

static const char *root;
static int written;

static void write_seed(const char *kind, const uint8_t *head, size_t head_size,
		       const struct stream *s)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, kind);
	if (mkdir(path, 0777) && errno != EEXIST)
		exit((perror(path), 1));
	snprintf(path, sizeof(path), "%s/%s/case-%d", root, kind, written++);
	f = fopen(path, "w");
	if (!f || fwrite(head, 1, head_size, f) != head_size ||
	    fwrite(s->data, 1, s->size, f) != s->size || fclose(f))
		exit((perror(path), 1));
}

/* A client's stream for the flow, with what the server says. */
static void write_flow(const struct stream *client, const void *server, size_t size)
{
	struct stream both = *client;
	uint8_t head[] = {6, 99, (uint8_t)(client->size >> 8), (uint8_t)client->size};

	stream_add(&both, server, size);
	write_seed("flow", head, sizeof(head), &both);
}

static void write_answer(const struct answer_case *c)
{
	struct stream server = answer_stream(c->server, c->record);
	struct stream client = answer_stream(c->client, c->record);
	struct stream hello = hello_stream(&(struct hello){.sni = "answer.example"});

	write_seed("answer", (const uint8_t *)"\x06\x00", 2, &server);
	write_seed("answer", (const uint8_t *)"\x06\x01", 2, &client);
	stream_add(&hello, client.data, client.size);
	write_flow(&hello, server.data, server.size);
}

static void write_text(const char *text, uint8_t how)
{
	struct stream s = {.size = 0};

	stream_add(&s, text, strlen(text));
	write_seed("http", &how, 1, &s);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: seeds DIR\n");
		return 2;
	}
	root = argv[1];
	for (size_t i = 0; i < LENGTH_OF(tls_cases); i++) {
		struct stream s = hello_stream(&tls_cases[i].hello);

		write_seed("tls", (const uint8_t *)"\x06", 1, &s);
		write_flow(&s, "", 0);
	}
	for (size_t i = 0; i < ANSWER_CASES; i++)
		write_answer(&answer_cases[i]);
	for (size_t i = 0; i < LENGTH_OF(http_cases); i++) {
		struct stream s = {.size = 0};

		write_text(http_cases[i].client, 6);
		write_text(http_cases[i].server, 7);
		stream_add(&s, http_cases[i].client, strlen(http_cases[i].client));
		write_flow(&s, http_cases[i].server, strlen(http_cases[i].server));
	}
	for (size_t i = 0; i < LENGTH_OF(prelude_cases); i++) {
		struct stream s = prelude_stream(&prelude_cases[i]);

		write_flow(&s, "", 0);
	}
	return 0;
}
