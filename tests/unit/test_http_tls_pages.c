// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of user/http.c over TLS: pages are as without, and who gets them where clients are asked for a certificate.
 */
#include "http_tls_help.h"

#include <sys/un.h>

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

/* And keys agreed upon on curves only: what a client may choose must not cost more than it does the client. */
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
		{"NORMAL:-GROUP-ALL:+GROUP-SECP521R1", true},
		{"NORMAL:-GROUP-ALL:+GROUP-FFDHE2048", false},
		{"NORMAL:-GROUP-ALL:+GROUP-FFDHE8192", false},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct client c;

		client_make(f, &c, NULL, cases[i].priorities);
		assert_int_equal(client_shake(f, &c) == 0, cases[i].served);
		client_done(&c);
	}
}

/* The same for a certificate with an RSA key, in TLS 1.2, where it could be used for that as well. */
static void rsa_certificate(void **state)
{
	static const struct {
		const char *priorities;
		bool served;
	} cases[] = {
		{"NORMAL:-VERS-ALL:+VERS-TLS1.3", true},
		{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-RSA", true},
		{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+DHE-RSA", false},
		{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", false},
	};
	struct fixture *f = *state;

	pair_done(&f->pair);
	f->pair = pair_of(key_make(GNUTLS_PK_RSA, 2048), &authority, NULL, 1);
	pair_put(f);
	assert_int_equal(look(f, NULL), 1);
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

/* Whoever was known once is not for that: nothing of a session is there to come back to. */
static void sessions_are_not_resumed(void **state)
{
	static const char *const versions_of[] = {"NORMAL:-VERS-ALL:+VERS-TLS1.2",
						  "NORMAL:-VERS-ALL:+VERS-TLS1.3"};
	struct fixture *f = *state;
	struct pair own = pair_make(&authority, NULL, 1);

	for (size_t i = 0; i < ARRAY_SIZE(versions_of); i++) {
		gnutls_datum_t session = {0};
		struct client c;

		client_make(f, &c, &own, versions_of[i]);
		assert_int_equal(client_shake(f, &c), 0);
		client_say(&c, "GET /hello" CLOSE);
		client_hear(f, &c, ALL);
		assert_status(c.answer, 200);
		gnutls_session_get_data2(c.session, &session);
		client_done(&c);
		client_make(f, &c, NULL, versions_of[i]);
		if (session.size)
			gnutls_session_set_data(c.session, session.data, session.size);
		gnutls_free(session.data);
		assert_int_equal(client_shake(f, &c), 0);
		assert_int_equal(gnutls_session_is_resumed(c.session), 0);
		client_say(&c, "GET /hello" CLOSE);
		client_hear(f, &c, ALL);
		assert_status(c.answer, 403);
		client_done(&c);
	}
	pair_done(&own);
}

static void refused_words(void **state)
{
	struct fixture *f = *state;
	const char *answer = ask_as(f, NULL, "GET /hello" CLOSE);

	assert_non_null(strstr(answer, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(answer, "\r\nCache-Control: no-store\r\n"));
	assert_non_null(strstr(answer, "\r\n\r\n{\"error\":\"only for clients with"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(pages_are_as_without),
		SERVER_TEST(pages_of_any_size),
		SERVER_TEST(kept_alive),
		SERVER_TEST(versions),
		SERVER_TEST(rsa_certificate),
		SERVER_TEST(renegotiation_ends_it),
		SERVER_TEST(the_unix_socket_stays_plain),
		ASKING_TEST(clients_without_a_certificate),
		ASKING_TEST(clients_with_one),
		ASKING_TEST(sessions_are_not_resumed),
		ASKING_TEST(refused_words),
	};

	return cmocka_run_group_tests_name("http_tls_pages", tests, authorities_make,
					   authorities_free);
}
