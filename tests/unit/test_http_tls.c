// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of user/http_tls.c: files that can be used or not, and that are replaced while the server runs.
 */
#include "http_tls_help.h"

#include "alloc.h"

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

/* And so do those that are in the middle of a handshake. */
static void open_handshakes_keep_their_keys(void **state)
{
	struct pair own = pair_make(&authority, NULL, 1);
	struct fixture *f = *state;
	struct client c[3];

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		client_make(f, &c[i], &own, "NORMAL:-VERS-ALL:+VERS-TLS1.2");
		for (size_t k = 0; k < i; k++) {
			assert_int_equal(gnutls_handshake(c[i].session), GNUTLS_E_AGAIN);
			server_turn(f, 100);
		}
	}
	for (int i = 0; i < 2; i++) {
		pair_renew(f);
		pair_put(f);
		assert_int_equal(look(f, NULL), 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		assert_int_equal(client_shake(f, &c[i]), 0);
		client_say(&c[i], "GET /hello" CLOSE);
		client_hear(f, &c[i], ALL);
		assert_status(c[i].answer, 200);
		client_done(&c[i]);
	}
	pair_done(&own);
}

/* Who signs clients' certificates can be another one from now on, too. */
static void clients_authority_is_followed(void **state)
{
	struct fixture *f = *state;
	struct pair known = pair_make(&authority, NULL, 1), other = pair_make(&stranger, NULL, 1);
	struct client open;

	client_make(f, &open, &known, PRIORITIES);
	assert_int_equal(client_shake(f, &open), 0);
	client_say(&open, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	client_hear(f, &open, 1);
	assert_status(open.answer, 200);
	assert_status(ask_as(f, &known, "GET /hello" CLOSE), 200);
	assert_status(ask_as(f, &other, "GET /hello" CLOSE), 403);
	cert_put(f->ca, stranger.cert);
	assert_int_equal(look(f, NULL), 1);
	assert_status(ask_as(f, &known, "GET /hello" CLOSE), 403);
	assert_status(ask_as(f, &other, "GET /hello" CLOSE), 200);
	/* And for whoever came before that. */
	client_say(&open, "GET /hello" CLOSE);
	client_hear(f, &open, ALL);
	assert_non_null(strstr(open.answer, "hello"));
	assert_status(strstr(open.answer, "hello") + 5, 403);
	client_done(&open);
	pair_done(&known);
	pair_done(&other);
}

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
		ASKING_TEST(open_handshakes_keep_their_keys),
		ASKING_TEST(clients_authority_is_followed),
	};

	return cmocka_run_group_tests_name("http_tls", tests, authorities_make, authorities_free);
}
