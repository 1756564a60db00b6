/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of the agent's TCP listener: a certificate and its key, and who signs clients' certificates, from files that may
 * be replaced at any time. Owner of GnuTLS (libmicrohttpd drives the sessions).
 *
 * A connection keeps the certificate it began with. Must not know: HTTP, libmicrohttpd, options, the clock.
 */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * TLS 1.2 at least, and what else the library takes for secure, with keys agreed upon on curves: in a finite field, which
 * the client may choose, each hello costs up to 700 times as much of the one thread there is.
 */
#define HTTP_TLS_PRIORITIES \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-GROUP-DH-ALL"

#define HTTP_TLS_FILE_MAX (1u << 20) /* bytes of a file */
#define HTTP_TLS_LOOK_MS  2000       /* between two looks at the files */

/*
 * Bytes from a client, as they come, for a handshake and the first request's head, or for a further one. GnuTLS itself
 * would keep a message of 16 MiB until it is complete, whoever sends it.
 */
#define HTTP_TLS_IN_MAX (64u << 10)

/*
 * Bytes of the two numbers of a client's RSA key. Its certificate has room for some that keep the thread busy for
 * minutes with one signature, and whoever signed it is only looked at afterwards.
 */
#define HTTP_TLS_MODULUS_MAX  1024
#define HTTP_TLS_EXPONENT_MAX 8

/* PEM; the certificate with those that lead from it to its authority. */
struct http_tls_files {
	const char *cert, *key;
	const char *client_ca; /* NULL: nobody is asked for a certificate */
};

struct http_tls;
struct http_tls_session; /* a connection's part */

/*
 * Read the files, which are kept by pointer. *ret_why (owned, NULL without memory) names the file and what is wrong
 * with it; -errno, -EBADMSG: not what it should hold, -EKEYREJECTED: not the key of this certificate.
 */
int http_tls_new(const struct http_tls_files *files, struct http_tls **ret, char **ret_why);
void http_tls_free(struct http_tls *t); /* NULL is fine; after the last session */

/*
 * Look whether the files were replaced, if it is time to. 1: new sessions begin with what they hold now. 0: nothing to
 * say. -errno with *ret_why as above: they cannot be used, what was there before stays; said once for a state of the
 * files, when it lasted until the next look (they may be in the middle of being written), while looking goes on.
 */
int http_tls_follow(struct http_tls *t, uint64_t now_ms, char **ret_why);

/* Since the start. */
struct http_tls_counts {
	uint64_t loaded, refused; /* how often new files were taken into use, or could not be */
	uint64_t large; /* sessions ended because a client sent, or its key has, too many bytes */
};
void http_tls_get_counts(const struct http_tls *t, struct http_tls_counts *ret);

/*
 * `session` is a gnutls_session_t that has its socket and has not begun its handshake. -ENOMEM: it must not begin one.
 * What this gives is the session's: it is ended after it.
 */
int http_tls_begin(struct http_tls *t, void *session, struct http_tls_session **ret);
void http_tls_end(struct http_tls_session *s); /* NULL is fine */
void http_tls_next(
	struct http_tls_session *s); /* a request's head has come: as many bytes for the next one */

/*
 * Whether the client has shown a certificate that the authority signed (the one that is in use now, whenever the
 * session began), or there is none that could have.
 */
bool http_tls_knows(const struct http_tls_session *s);

/* A gnutls_certificate_retrieve_function2 that finds none, for a library that wants one before there is a session. */
void *http_tls_no_keys(void);

#endif
