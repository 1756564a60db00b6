/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP client for the agent's own API, over its unix socket or TCP. Owner of libcurl.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stddef.h>

#include "text.h"

/*
 * GET path (starts with '/', query included and already escaped) from agent: "unix:PATH", a path
 * starting with '/', or an http:// or https:// URL without path. Time-outs: 2 s to connect, 30 s in
 * all; the body is bounded by JSON_INPUT_MAX. Returns 0 with the body (NUL terminated, owned by the
 * caller), or -errno with *ret_why a phrase for the user (owned, may be NULL):
 * -ECONNREFUSED/-ENOENT nobody listens, -EACCES, -ETIMEDOUT, -EPROTO the answer's status was not
 * 200 or no HTTP at all, -EFBIG too large an answer, -EINVAL the agent argument is not usable.
 */
int client_get(const char *agent, const char *path, char **ret_body, size_t *ret_size,
	       char **ret_why);

/* "&NAME=VALUE", the value escaped as RFC 3986 wants it; nothing for NULL. */
void client_query_add(struct text *t, const char *name, const char *value);

#endif
