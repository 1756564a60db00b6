/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the model for tests, made of literals. Must not know: what they are for. */
#ifndef MADE_H
#define MADE_H

#include <stdlib.h>
#include <string.h>

#include "model.h"

/* The caller's. A test without memory is none. */
static inline char *made_text(const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		abort();
	return copy;
}

/* A workload by its name alone, a host by the name source and visibility that go with the protocol. */
static inline struct destination made_row(const char *ns, const char *workload, const char *host,
					  uint16_t port, enum protocol protocol)
{
	bool http = protocol == PROTOCOL_HTTP || protocol == PROTOCOL_HTTP2;

	return (struct destination){
		.source = {.ns = made_text(ns),
			   .workload = made_text(workload),
			   .workload_kind = made_text(""),
			   .canonical_service = made_text(""),
			   .canonical_revision = made_text(""),
			   .app = made_text(""),
			   .version = made_text("")},
		.host = made_text(host),
		.port = port,
		.protocol = protocol,
		.name_source = http ? NAME_SOURCE_HTTP : NAME_SOURCE_SNI,
		.visibility = http ? VISIBILITY_L7 : VISIBILITY_L4,
	};
}

/* In place of one of the row's texts. */
static inline void made_set(char **field, const char *s)
{
	free(*field);
	*field = made_text(s);
}

#endif
