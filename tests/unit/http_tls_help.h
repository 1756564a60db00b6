/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of HTTPS (test_http_tls*.c): real sockets, GnuTLS clients and the server in one thread, certificates made
 * on the spot, and a clock that a test can put forward.
 */
#ifndef HTTP_TLS_HELP_H
#define HTTP_TLS_HELP_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "http.h"
#include "http_tls.h"
#include "util.h"

#define DEADLINE_S 20
#define BIG_BODY   (4u << 20)
#define DAY_S      86400

/* ---- time, which a test can let pass ---- */

static time_t clock_skew_s;

/* Takes the C library's place for the server and libmicrohttpd alike. */
int clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (id == CLOCK_MONOTONIC)
		ret->tv_sec += clock_skew_s;
	return r;
}

static inline double real_s(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- certificates ---- */

struct pair {
	gnutls_x509_crt_t cert;
	gnutls_x509_privkey_t key;
};

static struct pair authority, stranger;

static inline gnutls_x509_privkey_t key_make(gnutls_pk_algorithm_t kind, unsigned int bits)
{
	gnutls_x509_privkey_t key;

	assert_int_equal(gnutls_x509_privkey_init(&key), 0);
	assert_int_equal(gnutls_x509_privkey_generate(key, kind, bits, 0), 0);
	return key;
}

/* issuer NULL: an authority, signed by itself. purpose NULL: for everything. Ends `days` days from now. */
static inline struct pair pair_of(gnutls_x509_privkey_t key, const struct pair *issuer,
				  const char *purpose, int days)
{
	static unsigned char serial;
	struct pair p = {.key = key};
	const struct pair *by = issuer ? issuer : &p;
	time_t now = time(NULL);

	serial++;
	assert_int_equal(gnutls_x509_crt_init(&p.cert), 0);
	gnutls_x509_crt_set_version(p.cert, 3);
	gnutls_x509_crt_set_serial(p.cert, &serial, 1);
	gnutls_x509_crt_set_activation_time(p.cert, now - 2 * DAY_S);
	gnutls_x509_crt_set_expiration_time(p.cert, now + days * DAY_S);
	gnutls_x509_crt_set_dn(p.cert, issuer ? "CN=one" : "CN=authority", NULL);
	gnutls_x509_crt_set_key(p.cert, p.key);
	gnutls_x509_crt_set_basic_constraints(p.cert, !issuer, -1);
	if (purpose)
		gnutls_x509_crt_set_key_purpose_oid(p.cert, purpose, 0);
	gnutls_x509_crt_set_subject_alt_name(p.cert, GNUTLS_SAN_DNSNAME, "agent", 5,
					     GNUTLS_FSAN_SET);
	assert_int_equal(gnutls_x509_crt_sign2(p.cert, by->cert, by->key, GNUTLS_DIG_SHA256, 0), 0);
	return p;
}

static inline struct pair pair_make(const struct pair *issuer, const char *purpose, int days)
{
	unsigned int bits = GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1);

	return pair_of(key_make(GNUTLS_PK_ECDSA, bits), issuer, purpose, days);
}

static inline void pair_done(struct pair *p)
{
	gnutls_x509_crt_deinit(p->cert);
	gnutls_x509_privkey_deinit(p->key);
}

static inline void file_put(const char *path, const void *bytes, size_t n)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

static inline void cert_put(const char *path, gnutls_x509_crt_t cert)
{
	gnutls_datum_t text;

	assert_int_equal(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &text), 0);
	file_put(path, text.data, text.size);
	gnutls_free(text.data);
}

static inline void key_put(const char *path, gnutls_x509_privkey_t key, const char *passphrase)
{
	gnutls_datum_t text;

	assert_int_equal(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, passphrase,
							   passphrase ? 0 : GNUTLS_PKCS_PLAIN,
							   &text),
			 0);
	file_put(path, text.data, text.size);
	gnutls_free(text.data);
}

/* ---- the server under test ---- */

struct fixture {
	char dir[64];
	char socket[128], cert[128], key[128], ca[128];
	struct http_tls_files files;
	struct pair pair;
	struct http_tls *tls;
	struct http_server *server;
	uint64_t now_ms;
};

static inline int handle_hello(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	*ret = (struct http_reply){
		.content_type = "text/plain", .body = strdup(data), .size = strlen(data)};
	return 0;
}

static inline int handle_big(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	(void)data;
	*ret = (struct http_reply){
		.content_type = "text/plain", .body = calloc(1, BIG_BODY), .size = BIG_BODY};
	return 0;
}

struct stream {
	size_t left;
};

static inline int stream_read(void *data, char *buf, size_t size, size_t *ret_n)
{
	struct stream *s = data;

	*ret_n = MIN(size, s->left);
	memset(buf, 's', *ret_n);
	s->left -= *ret_n;
	return 0;
}

static inline int handle_stream(const struct http_request *req, void *data, struct http_reply *ret)
{
	struct stream *s = malloc(sizeof(*s));

	(void)req;
	(void)data;
	s->left = BIG_BODY;
	*ret = (struct http_reply){.content_type = "text/plain", .stream = {stream_read, free, s}};
	return 0;
}

static const struct http_route routes[] = {
	{"/open", handle_hello, true},
	{"/hello", handle_hello, false},
	{"/big", handle_big, false},
	{"/stream", handle_stream, false},
};

static inline void names_in(struct fixture *f, const char *folder)
{
	snprintf(f->cert, sizeof(f->cert), "%s/%s/tls.crt", f->dir, folder);
	snprintf(f->key, sizeof(f->key), "%s/%s/tls.key", f->dir, folder);
}

static inline void pair_put(struct fixture *f)
{
	cert_put(f->cert, f->pair.cert);
	key_put(f->key, f->pair.key, NULL);
}

static inline void pair_renew(struct fixture *f)
{
	pair_done(&f->pair);
	f->pair = pair_make(&authority, NULL, 1);
}

static inline int files_make(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	clock_skew_s = 0;
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_http_tls.XXXXXX");
	*state = f;
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->socket, sizeof(f->socket), "%s/agent.sock", f->dir);
	names_in(f, ".");
	snprintf(f->ca, sizeof(f->ca), "%s/ca.crt", f->dir);
	f->files = (struct http_tls_files){.cert = f->cert, .key = f->key};
	f->pair = pair_make(&authority, NULL, 1);
	pair_put(f);
	cert_put(f->ca, authority.cert);
	return 0;
}

static inline int server_make(struct fixture *f)
{
	const struct http_options options = {.listen = "127.0.0.1:0",
					     .socket_path = f->socket,
					     .routes = routes,
					     .n_routes = ARRAY_SIZE(routes),
					     .data = "hello"};
	struct http_options with = options;
	const char *which;
	char *why;

	if (http_tls_new(&f->files, &f->tls, &why) < 0)
		return -1;
	with.tls = f->tls;
	return http_open(&with, &f->server, &which);
}

static inline int fixture_make(void **state)
{
	return files_make(state) < 0 ? -1 : server_make(*state);
}

static inline int fixture_make_asking(void **state)
{
	struct fixture *f;

	if (files_make(state) < 0)
		return -1;
	f = *state;
	f->files.client_ca = f->ca;
	return server_make(f);
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int fixture_remove(void **state)
{
	struct fixture *f = *state;
	int r;

	http_close(f->server);
	http_tls_free(f->tls);
	pair_done(&f->pair);
	r = nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return r;
}

/* One turn of the caller's loop, as run.c does it. */
static inline void server_turn(struct fixture *f, int wait_ms)
{
	struct pollfd p = {.fd = http_epoll_fd(f->server), .events = POLLIN};
	int timeout = http_timeout_ms(f->server);

	poll(&p, 1, timeout >= 0 ? MIN(timeout, wait_ms) : wait_ms);
	http_run(f->server);
}

/* Whether it comes to have nothing to do, by itself or for its sockets. */
static inline bool server_rests(struct fixture *f)
{
	struct pollfd p = {.fd = http_epoll_fd(f->server), .events = POLLIN};
	double end = real_s() + DEADLINE_S;

	while (real_s() < end) {
		server_turn(f, 0);
		if (http_timeout_ms(f->server) != 0 && poll(&p, 1, 50) == 0)
			return true;
	}
	return false;
}

static inline struct http_counts counts_of(struct fixture *f)
{
	struct http_counts c;

	http_get_counts(f->server, &c);
	return c;
}

/* ---- clients ---- */

struct client {
	int fd;
	gnutls_session_t session;
	gnutls_certificate_credentials_t credentials;
	char answer[4096]; /* its beginning */
	size_t size;       /* of all of it */
};

static inline int dial(struct fixture *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_port = htons((in_port_t)atoi(strrchr(http_address(f->server), ':') + 1));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* as clients do */
	return fd;
}

static inline void client_done(struct client *c)
{
	close(c->fd);
	gnutls_deinit(c->session);
	gnutls_certificate_free_credentials(c->credentials);
}

/* own NULL: no certificate. It trusts nobody but the authority. */
static inline void client_make(struct fixture *f, struct client *c, const struct pair *own,
			       const char *priorities)
{
	*c = (struct client){.fd = dial(f)};
	gnutls_certificate_allocate_credentials(&c->credentials);
	assert_int_equal(gnutls_certificate_set_x509_trust(c->credentials, &authority.cert, 1), 1);
	if (own)
		assert_int_equal(gnutls_certificate_set_x509_key(c->credentials,
								 (gnutls_x509_crt_t *)&own->cert, 1,
								 own->key),
				 0);
	/* Shown also where the server names other authorities, as a hostile client would. */
	gnutls_init(&c->session,
		    GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_FORCE_CLIENT_CERT);
	assert_int_equal(gnutls_priority_set_direct(c->session, priorities, NULL), 0);
	gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->credentials);
	gnutls_session_set_verify_cert(c->session, "agent", 0);
	gnutls_transport_set_int(c->session, c->fd);
}

static inline int client_shake(struct fixture *f, struct client *c)
{
	double end = real_s() + DEADLINE_S;
	int r = GNUTLS_E_AGAIN;

	while (real_s() < end && (r = gnutls_handshake(c->session)) < 0 &&
	       !gnutls_error_is_fatal(r))
		server_turn(f, 5);
	return r;
}

static inline void client_say(struct client *c, const char *text)
{
	assert_int_equal(gnutls_record_send(c->session, text, strlen(text)), strlen(text));
}

/* What the server sends until it closes, or until it has sent `enough` bytes. */
static inline void client_hear(struct fixture *f, struct client *c, size_t enough)
{
	double end = real_s() + DEADLINE_S;
	static char buf[1 << 16];

	while (real_s() < end && c->size < enough) {
		ssize_t k = gnutls_record_recv(c->session, buf, sizeof(buf));
		size_t room = sizeof(c->answer) - 1 - MIN(c->size, sizeof(c->answer) - 1);

		if (k > 0) {
			memcpy(c->answer + MIN(c->size, sizeof(c->answer) - 1), buf,
			       MIN(room, (size_t)k));
			c->size += (size_t)k;
		} else if (k == 0 || gnutls_error_is_fatal((int)k)) {
			return;
		}
		server_turn(f, k > 0 ? 0 : 5);
	}
	assert_true(c->size >= enough);
}

#define ALL        SIZE_MAX
#define PRIORITIES "NORMAL"
#define CLOSE      " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/* The beginning of the answer to one request on a connection of its own; "" if there was none. */
static inline const char *ask_as(struct fixture *f, const struct pair *own, const char *request)
{
	static char answer[sizeof(((struct client *)0)->answer)];
	struct client c;

	client_make(f, &c, own, PRIORITIES);
	assert_int_equal(client_shake(f, &c), 0);
	client_say(&c, request);
	client_hear(f, &c, ALL);
	memcpy(answer, c.answer, sizeof(answer));
	client_done(&c);
	return answer;
}

static inline void assert_status(const char *answer, int status)
{
	int got = 0;

	if (sscanf(answer, "HTTP/1.%*d %d", &got) != 1 || got != status)
		fail_msg("wanted %d, got: %.60s", status, answer);
}

static inline void assert_served(struct fixture *f)
{
	const char *answer = ask_as(f, NULL, "GET /open" CLOSE);

	assert_status(answer, 200);
	assert_non_null(strstr(answer, "\r\n\r\nhello"));
}

/* Which certificate a new connection is shown. */
static inline void assert_shown(struct fixture *f, gnutls_x509_crt_t want)
{
	gnutls_datum_t der;
	const gnutls_datum_t *got;
	unsigned int n = 0;
	struct client c;

	client_make(f, &c, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &c), 0);
	got = gnutls_certificate_get_peers(c.session, &n);
	assert_int_equal(n, 1);
	assert_int_equal(gnutls_x509_crt_export2(want, GNUTLS_X509_FMT_DER, &der), 0);
	assert_int_equal(got[0].size, der.size);
	assert_memory_equal(got[0].data, der.data, der.size);
	gnutls_free(der.data);
	client_done(&c);
}

/* ---- the rest of a test ---- */

/* The next look, when it is due. Returns what it says; the words must name `path` (NULL: none). */
static inline int look(struct fixture *f, const char *path)
{
	_cleanup_free_ char *why = NULL;
	int r;

	f->now_ms += HTTP_TLS_LOOK_MS;
	r = http_tls_follow(f->tls, f->now_ms, &why);
	if (path && (!why || strncmp(why, path, strlen(path)) != 0))
		fail_msg("not of %s: %s", path, why ? why : "nothing");
	assert_true(path || !why);
	return r;
}

static inline int authorities_make(void **state)
{
	(void)state;
	authority = pair_make(NULL, NULL, 1);
	stranger = pair_make(NULL, NULL, 1);
	return 0;
}

static inline int authorities_free(void **state)
{
	(void)state;
	pair_done(&authority);
	pair_done(&stranger);
	return 0;
}

#define FILES_TEST(f)  cmocka_unit_test_setup_teardown(f, files_make, fixture_remove)
#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_make, fixture_remove)
#define ASKING_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_make_asking, fixture_remove)

#endif
