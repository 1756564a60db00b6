// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of user/http_tls.c and of user/http.c over TLS: real sockets, GnuTLS clients and the server in one thread,
 * certificates made on the spot. As in test_http.c: whatever hostile clients do, a well-behaved one gets its answer.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#include "alloc.h"
#include "http.h"
#include "http_tls.h"
#include "http_watch.h"
#include "util.h"

#define DEADLINE_S 20
#define BIG_BODY   (4u << 20)
#define CROWD      200
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

static double real_s(void)
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

static gnutls_x509_privkey_t key_make(void)
{
	gnutls_x509_privkey_t key;

	assert_int_equal(gnutls_x509_privkey_init(&key), 0);
	assert_int_equal(
		gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
					     GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
		0);
	return key;
}

/* issuer NULL: an authority, signed by itself. purpose NULL: for everything. Ends `days` days from now. */
static struct pair pair_make(const struct pair *issuer, const char *purpose, int days)
{
	static unsigned char serial;
	struct pair p = {.key = key_make()};
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

static void pair_done(struct pair *p)
{
	gnutls_x509_crt_deinit(p->cert);
	gnutls_x509_privkey_deinit(p->key);
}

static void file_put(const char *path, const void *bytes, size_t n)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

static void cert_put(const char *path, gnutls_x509_crt_t cert)
{
	gnutls_datum_t text;

	assert_int_equal(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &text), 0);
	file_put(path, text.data, text.size);
	gnutls_free(text.data);
}

static void key_put(const char *path, gnutls_x509_privkey_t key, const char *passphrase)
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

static int handle_hello(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	*ret = (struct http_reply){
		.content_type = "text/plain", .body = strdup(data), .size = strlen(data)};
	return 0;
}

static int handle_big(const struct http_request *req, void *data, struct http_reply *ret)
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

static int stream_read(void *data, char *buf, size_t size, size_t *ret_n)
{
	struct stream *s = data;

	*ret_n = MIN(size, s->left);
	memset(buf, 's', *ret_n);
	s->left -= *ret_n;
	return 0;
}

static int handle_stream(const struct http_request *req, void *data, struct http_reply *ret)
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

static void names_in(struct fixture *f, const char *folder)
{
	snprintf(f->cert, sizeof(f->cert), "%s/%s/tls.crt", f->dir, folder);
	snprintf(f->key, sizeof(f->key), "%s/%s/tls.key", f->dir, folder);
}

static void pair_put(struct fixture *f)
{
	cert_put(f->cert, f->pair.cert);
	key_put(f->key, f->pair.key, NULL);
}

static void pair_renew(struct fixture *f)
{
	pair_done(&f->pair);
	f->pair = pair_make(&authority, NULL, 1);
}

static int files_make(void **state)
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

static int server_make(struct fixture *f)
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

static int fixture_make(void **state)
{
	return files_make(state) < 0 ? -1 : server_make(*state);
}

static int fixture_make_asking(void **state)
{
	struct fixture *f;

	if (files_make(state) < 0)
		return -1;
	f = *state;
	f->files.client_ca = f->ca;
	return server_make(f);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int fixture_remove(void **state)
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
static void server_turn(struct fixture *f, int wait_ms)
{
	struct pollfd p = {.fd = http_epoll_fd(f->server), .events = POLLIN};
	int timeout = http_timeout_ms(f->server);

	poll(&p, 1, timeout >= 0 ? MIN(timeout, wait_ms) : wait_ms);
	http_run(f->server);
}

/* Whether it comes to have nothing to do, by itself or for its sockets. */
static bool server_rests(struct fixture *f)
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

static struct http_counts counts_of(struct fixture *f)
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

static int dial(struct fixture *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_port = htons((in_port_t)atoi(strrchr(http_address(f->server), ':') + 1));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void client_done(struct client *c)
{
	close(c->fd);
	gnutls_deinit(c->session);
	gnutls_certificate_free_credentials(c->credentials);
}

/* own NULL: no certificate. It trusts nobody but the authority. */
static void client_make(struct fixture *f, struct client *c, const struct pair *own,
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

static int client_shake(struct fixture *f, struct client *c)
{
	double end = real_s() + DEADLINE_S;
	int r = GNUTLS_E_AGAIN;

	while (real_s() < end && (r = gnutls_handshake(c->session)) < 0 &&
	       !gnutls_error_is_fatal(r))
		server_turn(f, 5);
	return r;
}

static void client_say(struct client *c, const char *text)
{
	assert_int_equal(gnutls_record_send(c->session, text, strlen(text)), strlen(text));
}

/* What the server sends until it closes, or until it has sent `enough` bytes. */
static void client_hear(struct fixture *f, struct client *c, size_t enough)
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
static const char *ask_as(struct fixture *f, const struct pair *own, const char *request)
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

static void assert_status(const char *answer, int status)
{
	int got = 0;

	if (sscanf(answer, "HTTP/1.%*d %d", &got) != 1 || got != status)
		fail_msg("wanted %d, got: %.60s", status, answer);
}

static void assert_served(struct fixture *f)
{
	const char *answer = ask_as(f, NULL, "GET /open" CLOSE);

	assert_status(answer, 200);
	assert_non_null(strstr(answer, "\r\n\r\nhello"));
}

/* Which certificate a new connection is shown. */
static void assert_shown(struct fixture *f, gnutls_x509_crt_t want)
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

/* ---- files ---- */

/* With these files there is no TLS, and the one line names `path`. */
static void assert_refused(const struct http_tls_files *files, const char *path, int error)
{
	_cleanup_free_ char *why = NULL;
	struct http_tls *tls = NULL;

	assert_int_equal(http_tls_new(files, &tls, &why), error);
	assert_null(tls);
	assert_non_null(why);
	if (strncmp(why, path, strlen(path)) != 0 || why[strlen(path)] != ':' || strchr(why, '\n'))
		fail_msg("not of %s: %s", path, why);
}

static void files_that_cannot_be_used(void **state)
{
	static char large[HTTP_TLS_FILE_MAX + 1];
	struct fixture *f = *state;
	struct http_tls_files files = f->files;
	char other[128];

	snprintf(other, sizeof(other), "%s/other", f->dir);
	files.cert = other;
	assert_refused(&files, other, -ENOENT);
	files.cert = f->key;
	assert_refused(&files, f->key, -EBADMSG);
	files.cert = f->dir;
	assert_refused(&files, f->dir, -EISDIR);
	files = f->files;
	files.key = other;
	assert_refused(&files, other, -ENOENT);
	files.key = f->cert;
	assert_refused(&files, f->cert, -EBADMSG);
	file_put(other, "", 0);
	files.key = other;
	assert_refused(&files, other, -EBADMSG);
	key_put(other, f->pair.key, "secret");
	assert_refused(&files, other, -EBADMSG);
	key_put(other, authority.key, NULL);
	assert_refused(&files, other, -EKEYREJECTED);
	memset(large, 'x', sizeof(large));
	file_put(other, large, sizeof(large));
	assert_refused(&files, other, -EFBIG);
	unlink(other);
	assert_int_equal(mkfifo(other, 0600), 0);
	assert_refused(&files, other, -EBADMSG);
	files = f->files;
	files.client_ca = f->key;
	assert_refused(&files, f->key, -EBADMSG);
	files.client_ca = other;
	assert_refused(&files, other, -EBADMSG);
	/* And these can, which makes the others prove something. */
	files.client_ca = f->ca;
	assert_int_equal(http_tls_new(&files, &f->tls, &(char *){NULL}), 0);
}

static void no_memory(void **state)
{
	struct fixture *f = *state;
	char *why;
	int r;

	f->files.client_ca = f->ca;
	for (unsigned long n = 1;; n++) {
		alloc_fail_at(n);
		r = http_tls_new(&f->files, &f->tls, &why);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(why);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
}

/* ---- files that are replaced ---- */

/* The next look, when it is due. Returns what it says; the words must name `path` (NULL: none). */
static int look(struct fixture *f, const char *path)
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

static void assert_counts(struct fixture *f, uint64_t loaded, uint64_t refused)
{
	struct http_tls_counts c;

	http_tls_get_counts(f->tls, &c);
	assert_int_equal(c.loaded, loaded);
	assert_int_equal(c.refused, refused);
}

static void new_files_are_followed(void **state)
{
	struct fixture *f = *state;
	char *why;

	assert_int_equal(look(f, NULL), 0);
	assert_shown(f, f->pair.cert);
	pair_renew(f);
	pair_put(f);
	assert_int_equal(http_tls_follow(f->tls, f->now_ms + HTTP_TLS_LOOK_MS - 1, &why), 0);
	assert_counts(f, 0, 0); /* not due */
	assert_int_equal(look(f, NULL), 1);
	assert_shown(f, f->pair.cert);
	assert_int_equal(look(f, NULL), 0);
	assert_counts(f, 1, 0);
}

/* As kubelets do it: a link to a folder, put in place by rename. Sizes and times are the same. */
static void swapped_folders(void **state)
{
	struct fixture *f = *state;
	char link[128], next[128], dir[128];

	snprintf(link, sizeof(link), "%s/data", f->dir);
	snprintf(next, sizeof(next), "%s/next", f->dir);
	for (int i = 0; i < 2; i++) {
		const char *const names[] = {"one", "two"};

		snprintf(dir, sizeof(dir), "%s/%s", f->dir, names[i]);
		assert_int_equal(mkdir(dir, 0700), 0);
		names_in(f, names[i]);
		pair_renew(f);
		pair_put(f);
		assert_int_equal(symlink(dir, next), 0);
		assert_int_equal(rename(next, link), 0);
		names_in(f, "data");
		if (i == 0)
			assert_int_equal(server_make(f), 0);
		else
			assert_int_equal(look(f, NULL), 1);
		assert_shown(f, f->pair.cert);
	}
}

static void broken_files_change_nothing(void **state)
{
	struct fixture *f = *state;
	struct pair old = f->pair;

	f->pair = pair_make(&authority, NULL, 1);
	key_put(f->key, f->pair.key, NULL); /* the certificate is still the old one */
	assert_int_equal(look(f, NULL), 0); /* may be half written */
	assert_int_equal(look(f, f->key), -EKEYREJECTED);
	assert_int_equal(look(f, NULL), 0); /* said once */
	assert_counts(f, 0, 1);
	assert_shown(f, old.cert);
	assert_int_equal(unlink(f->cert), 0);
	assert_int_equal(look(f, NULL), 0);
	assert_int_equal(look(f, f->cert), -ENOENT);
	assert_int_equal(look(f, NULL), 0);
	assert_counts(f, 0, 2);
	assert_shown(f, old.cert);
	cert_put(f->cert, f->pair.cert);
	assert_int_equal(look(f, NULL), 1);
	assert_counts(f, 1, 2);
	assert_shown(f, f->pair.cert);
	pair_done(&old);
}

/* One file after the other: between the two they do not fit, which is nobody's fault. */
static void half_written_files_are_no_news(void **state)
{
	struct fixture *f = *state;

	pair_renew(f);
	cert_put(f->cert, f->pair.cert);
	assert_int_equal(look(f, NULL), 0);
	key_put(f->key, f->pair.key, NULL);
	assert_int_equal(look(f, NULL), 1);
	assert_counts(f, 1, 0);
	assert_shown(f, f->pair.cert);
}

/* No memory for a look: the next one makes up for it, though the files are the same. */
static void no_memory_while_following(void **state)
{
	struct fixture *f = *state;

	pair_renew(f);
	pair_put(f);
	alloc_fail_at(1);
	assert_int_equal(look(f, NULL), 0);
	assert_true(alloc_failed());
	alloc_fail_at(0);
	assert_int_equal(look(f, NULL), 1);
	assert_shown(f, f->pair.cert);
}

static void open_connections_keep_their_keys(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_make(f, &c, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &c), 0);
	for (int i = 0; i < 2; i++) {
		pair_renew(f);
		pair_put(f);
		assert_int_equal(look(f, NULL), 1);
	}
	client_say(&c, "GET /hello" CLOSE);
	client_hear(f, &c, ALL);
	assert_status(c.answer, 200);
	assert_shown(f, f->pair.cert);
	client_done(&c);
}

/* Who signs clients' certificates can be another one from now on, too. */
static void clients_authority_is_followed(void **state)
{
	struct fixture *f = *state;
	struct pair known = pair_make(&authority, NULL, 1), other = pair_make(&stranger, NULL, 1);

	assert_status(ask_as(f, &known, "GET /hello" CLOSE), 200);
	assert_status(ask_as(f, &other, "GET /hello" CLOSE), 403);
	cert_put(f->ca, stranger.cert);
	assert_int_equal(look(f, NULL), 1);
	assert_status(ask_as(f, &known, "GET /hello" CLOSE), 403);
	assert_status(ask_as(f, &other, "GET /hello" CLOSE), 200);
	pair_done(&known);
	pair_done(&other);
}

/* ---- pages ---- */

static void pages_are_as_without(void **state)
{
	static const struct {
		const char *request;
		int status;
	} cases[] = {
		{"GET /hello" CLOSE, 200},
		{"HEAD /hello" CLOSE, 200},
		{"GET /nothing" CLOSE, 404},
		{"DELETE /hello" CLOSE, 405},
		{"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *answer = ask_as(f, NULL, cases[i].request);

		assert_status(answer, cases[i].status);
		assert_non_null(strstr(answer, "\r\nX-Content-Type-Options: nosniff\r\n"));
		assert_non_null(strstr(answer, "\r\nX-Frame-Options: DENY\r\n"));
		assert_null(strcasestr(answer, "Strict-Transport"));
	}
}

static void pages_of_any_size(void **state)
{
	static const char *const paths[] = {"GET /big" CLOSE, "GET /stream" CLOSE};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct client c;

		client_make(f, &c, NULL, PRIORITIES);
		assert_int_equal(client_shake(f, &c), 0);
		client_say(&c, paths[i]);
		client_hear(f, &c, ALL);
		assert_status(c.answer, 200);
		assert_in_range(c.size, BIG_BODY, BIG_BODY + BIG_BODY / 100);
		client_done(&c);
	}
}

/* Several requests in one record, and on one connection. */
static void kept_alive(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_make(f, &c, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &c), 0);
	client_say(&c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
		       "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
	client_hear(f, &c, 1);
	client_say(&c, "GET /hello" CLOSE);
	client_hear(f, &c, ALL);
	assert_status(c.answer, 200);
	assert_status(strstr(c.answer, "hello") + 5, 404);
	assert_status(strstr(c.answer, "not found\"}\n") + 12, 200);
	client_done(&c);
}

static void versions(void **state)
{
	static const struct {
		const char *priorities;
		bool served;
	} cases[] = {
		{"NORMAL:-VERS-ALL:+VERS-TLS1.1", false},
		{"NORMAL:-VERS-ALL:+VERS-TLS1.0", false},
		{"NORMAL:-VERS-ALL:+VERS-TLS1.2", true},
		{"NORMAL:-VERS-ALL:+VERS-TLS1.3", true},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct client c;

		client_make(f, &c, NULL, cases[i].priorities);
		assert_int_equal(client_shake(f, &c) == 0, cases[i].served);
		client_done(&c);
	}
}

/* Each would cost the server a handshake more: whoever asks for one again is left. */
static void renegotiation_ends_it(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_make(f, &c, NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.2");
	assert_int_equal(client_shake(f, &c), 0);
	assert_true(gnutls_error_is_fatal(client_shake(f, &c)));
	client_done(&c);
	assert_served(f);
}

static void the_unix_socket_stays_plain(void **state)
{
	static const char request[] = "GET /hello" CLOSE;
	struct fixture *f = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[32] = "";

	strcpy(a.sun_path, f->socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	for (int i = 0; i < 10; i++)
		server_turn(f, 5);
	assert_true(recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT) > 0);
	assert_status(answer, 200);
	close(fd);
}

/* ---- clients' certificates ---- */

static void assert_known(struct fixture *f, const struct pair *own, bool known)
{
	const char *answer = ask_as(f, own, "GET /hello" CLOSE);

	assert_status(answer, known ? 200 : 403);
	assert_int_equal(strstr(answer, "\r\n\r\nhello") != NULL, known);
	/* That there is no such page is none of his business. */
	assert_status(ask_as(f, own, "GET /nothing" CLOSE), known ? 404 : 403);
	assert_status(ask_as(f, own, "DELETE /hello" CLOSE), known ? 405 : 403);
	assert_status(ask_as(f, own, "GET /open" CLOSE), 200);
	assert_status(ask_as(f, own, "HEAD /open" CLOSE), 200);
	assert_status(ask_as(f, own, "GET /open/../hello" CLOSE), known ? 404 : 403);
}

static void clients_without_a_certificate(void **state)
{
	struct fixture *f = *state;

	assert_known(f, NULL, false);
	assert_int_equal(counts_of(f).late, 0);
}

static void clients_with_one(void **state)
{
	const struct {
		const struct pair *issuer;
		const char *purpose;
		int days;
		bool known;
	} cases[] = {
		{&authority, NULL, 1, true},
		{&authority, GNUTLS_KP_TLS_WWW_CLIENT, 1, true},
		{&authority, GNUTLS_KP_TLS_WWW_SERVER, 1, false},
		{&authority, NULL, -1, false}, /* expired */
		{&stranger, NULL, 1, false},
		{NULL, NULL, 1, false}, /* by itself */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pair own = pair_make(cases[i].issuer, cases[i].purpose, cases[i].days);

		assert_known(f, &own, cases[i].known);
		pair_done(&own);
	}
}

static void refused_words(void **state)
{
	struct fixture *f = *state;
	const char *answer = ask_as(f, NULL, "GET /hello" CLOSE);

	assert_non_null(strstr(answer, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(answer, "\r\nCache-Control: no-store\r\n"));
	assert_non_null(strstr(answer, "\r\n\r\n{\"error\":\"only for clients with"));
}

/* ---- hostile clients ---- */

/* The first flight of a client that says no more. */
static size_t hello_make(char *buf, size_t size)
{
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
	int fds[2];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
	gnutls_set_default_priority(session);
	gnutls_certificate_allocate_credentials(&credentials);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_transport_set_int(session, fds[0]);
	assert_int_equal(gnutls_handshake(session), GNUTLS_E_AGAIN);
	n = read(fds[1], buf, size);
	assert_true(n > 100 && (size_t)n < size);
	gnutls_deinit(session);
	gnutls_certificate_free_credentials(credentials);
	close(fds[0]);
	close(fds[1]);
	return (size_t)n;
}

/* Nothing, a beginning, a whole hello and then nothing: it costs the server no time, and others none. */
static void silent_handshakes(void **state)
{
	struct fixture *f = *state;
	char hello[4096];
	size_t sizes[] = {0, 1, 5, 0, 0};
	int fds[ARRAY_SIZE(sizes)];

	sizes[4] = hello_make(hello, sizeof(hello));
	sizes[3] = sizes[4] - 1;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		fds[i] = dial(f);
		assert_int_equal(send(fds[i], hello, sizes[i], MSG_NOSIGNAL), sizes[i]);
		assert_true(server_rests(f));
		assert_served(f);
	}
	assert_int_equal(counts_of(f).late, 0);
	clock_skew_s += HTTP_HEADER_TIMEOUT_S + 1;
	assert_served(f);
	assert_int_equal(counts_of(f).late, ARRAY_SIZE(sizes));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		close(fds[i]);
}

/* A byte now and then keeps an idle time-out away for ever; the handshake counts from the connect. */
static void slow_handshake_is_cut(void **state)
{
	struct fixture *f = *state;
	char hello[4096], c;
	int fd = dial(f);

	hello_make(hello, sizeof(hello));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send(fd, hello + i, 1, MSG_NOSIGNAL), 1);
		assert_true(server_rests(f));
		assert_int_equal(recv(fd, &c, 1, 0), -1);
		assert_int_equal(errno, EAGAIN);
		clock_skew_s += 3;
	}
	clock_skew_s += 2;
	server_rests(f);
	assert_true(recv(fd, &c, 1, 0) >= 0 || errno != EAGAIN);
	assert_int_equal(counts_of(f).late, 1);
	close(fd);
	assert_served(f);
}

static void crowd_of_handshakes(void **state)
{
	struct fixture *f = *state;
	int crowd[CROWD];
	char hello[4096];
	size_t n = hello_make(hello, sizeof(hello));

	for (int i = 0; i < CROWD; i++) {
		crowd[i] = dial(f);
		assert_int_equal(send(crowd[i], hello, i % 3 ? n : 0, MSG_NOSIGNAL), i % 3 ? n : 0);
		if (i % 50 == 49)
			assert_true(server_rests(f));
	}
	assert_served(f);
	assert_true(counts_of(f).crowded >= CROWD - HTTP_CONNECTIONS_MAX);
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
	assert_true(server_rests(f));
	assert_served(f);
}

/* What the server sends to these bytes until it closes. */
static size_t hear_raw(struct fixture *f, const char *bytes, size_t n, char *buf, size_t size)
{
	double end = real_s() + DEADLINE_S;
	int fd = dial(f);
	ssize_t k = -1;
	size_t got = 0;

	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	while (real_s() < end) {
		k = recv(fd, buf + got, size - got, 0);
		got += k > 0 ? (size_t)k : 0;
		if (k == 0 || (k < 0 && errno != EAGAIN))
			break;
		server_turn(f, 5);
	}
	assert_true(k == 0 || errno == ECONNRESET);
	close(fd);
	return got;
}

static void what_is_no_tls_is_closed(void **state)
{
	static const char *const texts[] = {
		"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
		"\r\n\r\n\r\n\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
		"\x80\x2e\x01\x03\x01 as a hello of SSL 2 began, of 46 bytes: these are",
	};
	struct fixture *f = *state;
	char buf[256];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		size_t n = hear_raw(f, texts[i], strlen(texts[i]), buf, sizeof(buf));

		assert_true(n < 16); /* an alert at most */
		assert_true(n == 0 || buf[0] == 0x15);
		assert_served(f);
	}
}

/* Nobody makes the server keep a message of 16 MiB until it is complete. */
static void long_messages_are_cut(void **state)
{
	static const char head[] = {0x16, 3, 1, 0x40, 0, 1, (char)0xff, (char)0xff, (char)0xff};
	static char record[5 + 0x4000];
	struct fixture *f = *state;
	int fd = dial(f);
	size_t sent = 0;
	struct http_tls_counts counts;

	memcpy(record, head, sizeof(head));
	while (sent < 64 * sizeof(record)) {
		ssize_t k = send(fd, record, sizeof(record), MSG_NOSIGNAL);

		if (k < 0 && errno != EAGAIN)
			break;
		sent += k > 0 ? (size_t)k : 0;
		server_turn(f, 5);
		memset(record + 5, 0, sizeof(record) - 5);
	}
	assert_true(errno == ECONNRESET || errno == EPIPE);
	close(fd);
	http_tls_get_counts(f->tls, &counts);
	assert_int_equal(counts.large, 1);
	assert_int_equal(counts_of(f).late, 0);
	assert_served(f);
}

/* But any number of requests may be asked on a connection. */
static void many_requests(void **state)
{
	static const char request[] = "HEAD /open HTTP/1.1\r\nHost: x\r\nX-Long: %01000d\r\n\r\n";
	struct fixture *f = *state;
	struct http_tls_counts counts;
	char text[2000];
	struct client c;

	snprintf(text, sizeof(text), request, 0);
	client_make(f, &c, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &c), 0);
	for (size_t i = 0; i < 2 * HTTP_TLS_IN_MAX / 1000; i++) {
		c.size = 0;
		client_say(&c, text);
		client_hear(f, &c, 100);
		assert_status(c.answer, 200);
	}
	client_done(&c);
	http_tls_get_counts(f->tls, &counts);
	assert_int_equal(counts.large, 0);
}

static void slow_reader(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_make(f, &c, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &c), 0);
	client_say(&c, "GET /big" CLOSE);
	assert_true(server_rests(f));
	for (int i = 0; i < 3; i++)
		assert_served(f);
	client_hear(f, &c, ALL);
	assert_in_range(c.size, BIG_BODY, BIG_BODY + 1000);
	client_done(&c);
	/* Another one that never reads is cut. */
	client_make(f, &c, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &c), 0);
	client_say(&c, "GET /stream" CLOSE);
	assert_true(server_rests(f));
	clock_skew_s += HTTP_REPLY_TIMEOUT_S + 1;
	server_rests(f);
	assert_int_equal(counts_of(f).late, 1);
	client_done(&c);
	assert_served(f);
}

static void vanishing_clients(void **state)
{
	struct linger hard = {.l_onoff = 1};
	struct fixture *f = *state;

	for (int i = 0; i < 30; i++) {
		struct client c;

		client_make(f, &c, NULL, PRIORITIES);
		if (i % 3)
			assert_int_equal(client_shake(f, &c), 0);
		else
			gnutls_handshake(c.session);
		if (i % 3 == 2)
			client_say(&c, "GET /big" CLOSE);
		if (i % 2)
			server_turn(f, 5);
		setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		client_done(&c);
	}
	assert_true(server_rests(f));
	assert_served(f);
	assert_int_equal(counts_of(f).crowded, 0);
}

static void close_with_open_sessions(void **state)
{
	struct fixture *f = *state;
	struct client reading, idle;
	int silent = dial(f);

	client_make(f, &reading, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &reading), 0);
	client_say(&reading, "GET /big" CLOSE);
	client_make(f, &idle, NULL, PRIORITIES);
	assert_int_equal(client_shake(f, &idle), 0);
	pair_renew(f);
	pair_put(f);
	assert_int_equal(look(f, NULL), 1);
	assert_true(server_rests(f));
	http_close(f->server);
	f->server = NULL;
	client_done(&reading);
	client_done(&idle);
	close(silent);
}

/* ---- what is waited for ---- */

static int listen_any(struct sockaddr_in *ret)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t n = sizeof(*ret);

	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	assert_int_equal(bind(fd, (struct sockaddr *)ret, sizeof(*ret)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &n), 0);
	return fd;
}

static enum MHD_Result answer_none(void *cls, struct MHD_Connection *connection, const char *url,
				   const char *method, const char *version, const char *upload,
				   size_t *upload_size, void **request)
{
	(void)cls, (void)connection, (void)url, (void)method, (void)version, (void)upload;
	(void)upload_size, (void)request;
	return MHD_NO;
}

/* Another socket under the number of one that was watched: closing that one ended the watching. */
static void numbers_are_used_again(void **state)
{
	struct http_watch watch = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	struct sockaddr_in first, second;
	int fd = listen_any(&first), other = listen_any(&second);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct MHD_Daemon *daemon = MHD_start_daemon(0, 0, NULL, NULL, answer_none, NULL,
						     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_END);
	struct epoll_event event;

	(void)state;
	assert_non_null(daemon);
	assert_int_equal(http_watch_sync(&watch, daemon), 0);
	assert_int_equal(epoll_wait(watch.epoll_fd, &event, 1, 0), 0);
	assert_int_equal(dup2(other, fd), fd);
	close(other);
	http_watch_opened(&watch, fd);
	assert_int_equal(http_watch_sync(&watch, daemon), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&second, sizeof(second)), 0);
	assert_int_equal(epoll_wait(watch.epoll_fd, &event, 1, 1000), 1);
	assert_int_equal(event.data.fd, fd);
	MHD_stop_daemon(daemon);
	close(watch.epoll_fd);
	close(client);
}

static int authorities_make(void **state)
{
	(void)state;
	authority = pair_make(NULL, NULL, 1);
	stranger = pair_make(NULL, NULL, 1);
	return 0;
}

static int authorities_free(void **state)
{
	(void)state;
	pair_done(&authority);
	pair_done(&stranger);
	return 0;
}

#define FILES_TEST(f)  cmocka_unit_test_setup_teardown(f, files_make, fixture_remove)
#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_make, fixture_remove)
#define ASKING_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_make_asking, fixture_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILES_TEST(files_that_cannot_be_used),
		FILES_TEST(no_memory),
		SERVER_TEST(new_files_are_followed),
		FILES_TEST(swapped_folders),
		SERVER_TEST(broken_files_change_nothing),
		SERVER_TEST(half_written_files_are_no_news),
		SERVER_TEST(no_memory_while_following),
		SERVER_TEST(open_connections_keep_their_keys),
		ASKING_TEST(clients_authority_is_followed),
		SERVER_TEST(pages_are_as_without),
		SERVER_TEST(pages_of_any_size),
		SERVER_TEST(kept_alive),
		SERVER_TEST(versions),
		SERVER_TEST(renegotiation_ends_it),
		SERVER_TEST(the_unix_socket_stays_plain),
		ASKING_TEST(clients_without_a_certificate),
		ASKING_TEST(clients_with_one),
		ASKING_TEST(refused_words),
		SERVER_TEST(silent_handshakes),
		ASKING_TEST(silent_handshakes),
		SERVER_TEST(slow_handshake_is_cut),
		SERVER_TEST(crowd_of_handshakes),
		SERVER_TEST(what_is_no_tls_is_closed),
		SERVER_TEST(long_messages_are_cut),
		SERVER_TEST(many_requests),
		SERVER_TEST(slow_reader),
		SERVER_TEST(vanishing_clients),
		SERVER_TEST(close_with_open_sessions),
		cmocka_unit_test(numbers_are_used_again),
	};

	return cmocka_run_group_tests_name("http_tls", tests, authorities_make, authorities_free);
}
