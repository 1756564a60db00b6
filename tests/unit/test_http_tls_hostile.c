// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of user/http.c, http_tls.c and http_watch.c: whatever hostile clients do, a well-behaved one gets its answer,
 * as in test_http.c, and the server comes to rest.
 */
#include "http_tls_help.h"

#include <gnutls/abstract.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "http_watch.h"

#define CROWD 200

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

/* Numbers that select() has no room for: such a connection is closed, no other one is the worse for it. */
static void high_descriptors(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit, more;
	int fds[FD_SETSIZE];
	struct client c;
	size_t n = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	more = limit;
	more.rlim_cur = MIN(limit.rlim_max, FD_SETSIZE + 32u);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &more), 0);
	do {
		fds[n] = dup(STDERR_FILENO);
		assert_true(fds[n] >= 0);
	} while (fds[n++] < FD_SETSIZE - 1);
	client_make(f, &c, NULL, PRIORITIES);
	assert_true(gnutls_error_is_fatal(client_shake(f, &c)));
	client_done(&c);
	assert_true(server_rests(f));
	while (n > 0)
		close(fds[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
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

static int signed_anyhow(gnutls_privkey_t key, gnutls_sign_algorithm_t how, void *data,
			 unsigned int flags, const gnutls_datum_t *text, gnutls_datum_t *ret)
{
	const size_t *size = data;

	(void)key, (void)how, (void)flags, (void)text;
	*ret = (gnutls_datum_t){gnutls_malloc(*size), (unsigned int)*size};
	memset(ret->data, 1, ret->size);
	return 0;
}

static int rsa_info(gnutls_privkey_t key, unsigned int flags, void *data)
{
	const size_t *size = data;

	(void)key;
	return flags & GNUTLS_PRIVKEY_INFO_PK_ALGO          ? GNUTLS_PK_RSA
	       : flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS   ? (int)*size * 8
	       : flags & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO ? 1
							    : -1;
}

/* The client has a certificate with an RSA key of so many bytes, and signs by it. */
static void client_set_rsa(struct client *c, size_t *modulus, size_t exponent)
{
	static uint8_t number[4096];
	gnutls_datum_t m = {number, (unsigned int)*modulus}, e = {number, (unsigned int)exponent};
	struct pair own = pair_make(&stranger, NULL, 1);
	gnutls_pcert_st cert;
	gnutls_privkey_t key;
	gnutls_pubkey_t pub;

	memset(number, 0x7f, sizeof(number));
	gnutls_pubkey_init(&pub);
	assert_int_equal(gnutls_pubkey_import_rsa_raw(pub, &m, &e), 0);
	assert_int_equal(gnutls_x509_crt_set_pubkey(own.cert, pub), 0);
	assert_int_equal(
		gnutls_x509_crt_sign2(own.cert, stranger.cert, stranger.key, GNUTLS_DIG_SHA256, 0),
		0);
	gnutls_privkey_init(&key);
	assert_int_equal(gnutls_privkey_import_ext4(key, modulus, signed_anyhow, signed_anyhow,
						    NULL, NULL, rsa_info, 0),
			 0);
	gnutls_certificate_set_flags(c->credentials, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
	assert_int_equal(gnutls_pcert_import_x509(&cert, own.cert, 0), 0);
	assert_int_equal(gnutls_certificate_set_key(c->credentials, NULL, 0, &cert, 1, key), 0);
	gnutls_pubkey_deinit(pub);
	pair_done(&own);
}

/* One signature by such a key would take what ten thousand handshakes do. */
static void large_keys_are_not_tried(void **state)
{
	static struct {
		size_t modulus, exponent;
		uint64_t large;
	} cases[] = {
		{HTTP_TLS_MODULUS_MAX, HTTP_TLS_EXPONENT_MAX, 0},
		{HTTP_TLS_MODULUS_MAX + 8, 3, 1},
		{HTTP_TLS_MODULUS_MAX, HTTP_TLS_EXPONENT_MAX + 8, 1},
	};
	static const char *const versions[] = {"NORMAL:-VERS-ALL:+VERS-TLS1.2",
					       "NORMAL:-VERS-ALL:+VERS-TLS1.3"};
	struct fixture *f = *state;
	uint64_t large = 0;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		struct http_tls_counts counts;
		struct client c;

		client_make(f, &c, NULL, versions[i % 2]);
		client_set_rsa(&c, &cases[i / 2].modulus, cases[i / 2].exponent);
		client_shake(f, &c);
		client_hear(f, &c, ALL);
		client_done(&c);
		large += cases[i / 2].large;
		http_tls_get_counts(f->tls, &counts);
		assert_int_equal(counts.large, large);
	}
	assert_int_equal(counts_of(f).late, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(silent_handshakes),
		ASKING_TEST(silent_handshakes),
		SERVER_TEST(slow_handshake_is_cut),
		SERVER_TEST(crowd_of_handshakes),
		SERVER_TEST(high_descriptors),
		SERVER_TEST(what_is_no_tls_is_closed),
		SERVER_TEST(long_messages_are_cut),
		ASKING_TEST(large_keys_are_not_tried),
		SERVER_TEST(many_requests),
		SERVER_TEST(slow_reader),
		SERVER_TEST(vanishing_clients),
		SERVER_TEST(close_with_open_sessions),
		cmocka_unit_test(numbers_are_used_again),
	};

	return cmocka_run_group_tests_name("http_tls_hostile", tests, authorities_make,
					   authorities_free);
}
