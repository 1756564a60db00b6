/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTPS GETs of one server that never block, on the caller's epoll loop: libcurl's multi interface. (client.c uses
 * libcurl as well, for one GET of a command that waits for it.)
 *
 * Owns: connections, TLS and its verification, time-outs for connecting. Must not know: Kubernetes, what is fetched.
 * Proxies of the environment are not used: the token is for one server. Callers ignore SIGPIPE.
 */
#ifndef FETCH_H
#define FETCH_H

#include <stddef.h>

struct fetcher;
struct fetch; /* one request at a time, again and again */

enum fetch_end {
	FETCH_COMPLETE, /* a whole answer, of whatever status */
	FETCH_REFUSED,  /* no connection: no such host, refused, no answer to the connect */
	FETCH_TLS,      /* the peer is not who it should be, or speaks no TLS */
	FETCH_CUT,      /* the connection ended before the answer did */
	FETCH_STOPPED,  /* data() said so */
	FETCH_MEMORY,
	FETCH_END_MAX,
};

struct fetch_result {
	enum fetch_end end;
	long status;                /* of HTTP, 0: none yet */
	unsigned int retry_after_s; /* as the server asked, 0: it did not */
	const char *why;            /* for people; valid during the call */
};

struct fetch_sink {
	void (*head)(long status, void *data);                             /* the answer begins */
	int (*body)(long status, const char *bytes, size_t n, void *data); /* negative: stop */
	void (*end)(const struct fetch_result *result, void *data); /* may start the next one */
};

/* ca_file: who signed the server's certificate, and nobody else; NULL: the system's. Kept by pointer. */
int fetcher_new(const char *ca_file, unsigned int connect_ms, struct fetcher **ret);
void fetcher_free(struct fetcher *f); /* after its fetches */

/* For the caller's epoll, as in http.h. */
int fetcher_epoll_fd(const struct fetcher *f);
int fetcher_timeout_ms(const struct fetcher *f);
void fetcher_run(struct fetcher *f);

int fetch_new(struct fetcher *f, const struct fetch_sink *sink, void *data, struct fetch **ret);
void fetch_free(struct fetch *q);
/* headers: more of them ("Name: value"), up to the first NULL. -ENOMEM; -EBUSY if it still runs. */
int fetch_start(struct fetch *q, const char *url, const char *const headers[]);
void fetch_cancel(struct fetch *q); /* end() is not called */

#define FETCH_TOKEN_MAX (16u << 10) /* bytes; they have about one thousand */

/*
 * "Authorization: Bearer ..." with the token in this file, owned by the caller. -errno of reading it; -ENODATA, -EFBIG,
 * -EBADMSG: it holds none, too much, or what no token has.
 */
int fetch_authorization(const char *token_file, char **ret_header);

#endif
