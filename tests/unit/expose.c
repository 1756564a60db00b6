// SPDX-License-Identifier: Apache-2.0
/*
 * expose NODE SINCE_MS START_MS < LIST - what an agent that counts the destinations of a DestinationList (JSON) would
 * print as /metrics. So simulated agents speak as the real one does. SINCE_MS 0: as an agent that does not say since
 * when it counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expose.h"
#include "health.h"
#include "json.h"
#include "util.h"

static int expose(const char *node, const char *since, const char *start, const char *text,
		  size_t size)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	static struct health health;
	struct health_input in = {
		.version = "simulated",
		.node = node,
		.since_unix_ms = strtoull(since, NULL, 10),
		.start_unix_ms = strtoull(start, NULL, 10),
	};
	_cleanup_free_ char *why = NULL, *out = NULL;
	int r = json_to_list(text, size, &list, &why);

	if (r < 0) {
		fprintf(stderr, "expose: %s\n", why ? why : strerror(-r));
		return 1;
	}
	in.hosts_folded = list.hosts_folded;
	in.counters[EA_COUNT_DEST_OVERFLOW] = list.destinations_dropped;
	destination_list_judge(&list);
	health_fill(&in, &health);
	r = expose_text(&list, &health.view, &out, &size);
	if (r < 0)
		return 1;
	return fwrite(out, 1, size, stdout) == size ? 0 : 1;
}

int main(int argc, char **argv)
{
	static char text[16u << 20];
	size_t size;

	if (argc != 4) {
		fprintf(stderr, "usage: expose NODE SINCE_MS START_MS < LIST\n");
		return 2;
	}
	size = fread(text, 1, sizeof(text), stdin);
	return expose(argv[1], argv[2], argv[3], text, size);
}
