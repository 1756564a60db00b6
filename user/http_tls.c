// SPDX-License-Identifier: Apache-2.0
/* Certificate, key and clients' authority, and following them as they are replaced; see http_tls.h. */
#include "http_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "util.h"

#define TLS_FILES 3

/* Which file it is and in which state. The time of the last change, as that moves with modes and renames, too. */
struct tls_stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

/* What the files held at one time. */
struct http_tls_keys {
	gnutls_certificate_credentials_t credentials;
	size_t users;
};

struct http_tls_session {
	struct http_tls *tls;
	struct http_tls_keys *keys;
	gnutls_session_t session;
	int fd;
	size_t room; /* bytes that may still come */
	bool large;  /* they were not enough */
};

struct http_tls {
	struct http_tls_files files;
	struct http_tls_keys *keys;
	struct tls_stamp seen[TLS_FILES];
	bool behind; /* what was seen could not be used: `keys` are older */
	bool said;   /* and that was reported */
	uint64_t due_ms;
	struct http_tls_counts counts;
};

static int tls_fail(int error, char **ret_why, const char *fmt, ...) _printf_(3, 4);
static int tls_fail(int error, char **ret_why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(ret_why, fmt, ap) < 0)
		*ret_why = NULL;
	va_end(ap);
	return error;
}

/* ---- files ---- */

static void tls_stamps(const struct http_tls_files *files, struct tls_stamp stamps[TLS_FILES])
{
	const char *const paths[TLS_FILES] = {files->cert, files->key, files->client_ca};

	for (size_t i = 0; i < TLS_FILES; i++) {
		struct stat st;

		stamps[i] = (struct tls_stamp){0};
		if (paths[i] && stat(paths[i], &st) == 0)
			stamps[i] = (struct tls_stamp){st.st_dev, st.st_ino, st.st_size,
						       st.st_ctim};
	}
}

static bool tls_same(const struct tls_stamp *a, const struct tls_stamp *b)
{
	for (size_t i = 0; i < TLS_FILES; i++) {
		if (a[i].dev != b[i].dev || a[i].ino != b[i].ino || a[i].size != b[i].size ||
		    a[i].changed.tv_sec != b[i].changed.tv_sec ||
		    a[i].changed.tv_nsec != b[i].changed.tv_nsec)
			return false;
	}
	return true;
}

/* A key does not stay behind in memory that is given back. */
static void text_wipe(gnutls_datum_t *text)
{
	if (text->data)
		explicit_bzero(text->data, text->size);
	free(text->data);
}

/* Does not wait for what is no file, such as a pipe. */
static int file_read(const char *path, gnutls_datum_t *ret, char **ret_why)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_(text_wipe) gnutls_datum_t text = {0};
	ssize_t n = 1;

	if (fd < 0)
		return tls_fail(-errno, ret_why, "%s: %s", path, strerror(errno));
	text.data = malloc(HTTP_TLS_FILE_MAX + 1);
	if (!text.data)
		return -ENOMEM;
	while (n > 0 && text.size <= HTTP_TLS_FILE_MAX) {
		n = read(fd, text.data + text.size, HTTP_TLS_FILE_MAX + 1 - text.size);
		text.size += n > 0 ? (unsigned int)n : 0;
	}
	if (n < 0)
		return tls_fail(-errno, ret_why, "%s: %s", path, strerror(errno));
	if (text.size > HTTP_TLS_FILE_MAX)
		return tls_fail(-EFBIG, ret_why, "%s: larger than %u bytes", path,
				HTTP_TLS_FILE_MAX);
	*ret = text;
	text.data = NULL;
	return 0;
}

/* ---- what they hold ---- */

struct tls_chain {
	gnutls_x509_crt_t *certs;
	unsigned int n;
};

static void chain_done(struct tls_chain *chain)
{
	for (unsigned int i = 0; i < chain->n; i++)
		gnutls_x509_crt_deinit(chain->certs[i]);
	gnutls_free(chain->certs);
}

static void private_done(gnutls_x509_privkey_t *key)
{
	gnutls_x509_privkey_deinit(*key);
}

static int tls_error(int r, char **ret_why, const char *path, const char *what)
{
	if (r == GNUTLS_E_MEMORY_ERROR)
		return -ENOMEM;
	/* The library's phrases are sentences. */
	return tls_fail(-EBADMSG, ret_why, "%s: no %s in PEM: %.*s", path, what,
			(int)strcspn(gnutls_strerror(r), "."), gnutls_strerror(r));
}

static int chain_read(const char *path, struct tls_chain *ret, char **ret_why)
{
	_cleanup_(text_wipe) gnutls_datum_t text = {0};
	int r = file_read(path, &text, ret_why);

	if (r < 0)
		return r;
	r = gnutls_x509_crt_list_import2(&ret->certs, &ret->n, &text, GNUTLS_X509_FMT_PEM, 0);
	return r < 0 ? tls_error(r, ret_why, path, "certificate") : 0;
}

/* Into a key that is initialised. */
static int private_read(const char *path, gnutls_x509_privkey_t key, char **ret_why)
{
	_cleanup_(text_wipe) gnutls_datum_t text = {0};
	int r = file_read(path, &text, ret_why);

	if (r < 0)
		return r;
	r = gnutls_x509_privkey_import2(key, &text, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN);
	return r < 0 ? tls_error(r, ret_why, path, "private key without a passphrase") : 0;
}

static int keys_set_pair(struct http_tls_keys *keys, const struct http_tls_files *files,
			 char **ret_why)
{
	_cleanup_(private_done) gnutls_x509_privkey_t key = NULL;
	_cleanup_(chain_done) struct tls_chain chain = {0};
	int r;

	if (gnutls_x509_privkey_init(&key) < 0)
		return -ENOMEM;
	r = chain_read(files->cert, &chain, ret_why);
	if (r == 0)
		r = private_read(files->key, key, ret_why);
	if (r < 0)
		return r;
	r = gnutls_certificate_set_x509_key(keys->credentials, chain.certs, (int)chain.n, key);
	if (r == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return tls_fail(-EKEYREJECTED, ret_why, "%s: not the key of the certificate in %s",
				files->key, files->cert);
	return r < 0 ? tls_error(r, ret_why, files->cert, "usable certificate") : 0;
}

static int keys_set_authority(struct http_tls_keys *keys, const char *path, char **ret_why)
{
	_cleanup_(text_wipe) gnutls_datum_t text = {0};
	int r = file_read(path, &text, ret_why);

	if (r < 0)
		return r;
	r = gnutls_certificate_set_x509_trust_mem(keys->credentials, &text, GNUTLS_X509_FMT_PEM);
	if (r == 0)
		r = GNUTLS_E_NO_CERTIFICATE_FOUND;
	return r < 0 ? tls_error(r, ret_why, path, "certificate") : 0;
}

static void keys_unref(struct http_tls_keys *keys)
{
	if (!keys || --keys->users > 0)
		return;
	if (keys->credentials)
		gnutls_certificate_free_credentials(keys->credentials);
	free(keys);
}

static void keys_unrefp(struct http_tls_keys **keys)
{
	keys_unref(*keys);
}

static int keys_read(const struct http_tls_files *files, struct http_tls_keys **ret, char **ret_why)
{
	_cleanup_(keys_unrefp) struct http_tls_keys *keys = calloc(1, sizeof(*keys));
	int r;

	if (!keys)
		return -ENOMEM;
	keys->users = 1;
	if (gnutls_certificate_allocate_credentials(&keys->credentials) < 0)
		return -ENOMEM;
	r = keys_set_pair(keys, files, ret_why);
	if (r == 0 && files->client_ca)
		r = keys_set_authority(keys, files->client_ca, ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(keys);
	return 0;
}

/* ---- one state after the other ---- */

int http_tls_new(const struct http_tls_files *files, struct http_tls **ret, char **ret_why)
{
	struct http_tls *t = calloc(1, sizeof(*t));
	int r;

	*ret_why = NULL;
	if (!t)
		return -ENOMEM;
	t->files = *files;
	/* First: what changes while it is read is seen at the next look. */
	tls_stamps(files, t->seen);
	r = keys_read(files, &t->keys, ret_why);
	if (r < 0)
		free(t);
	else
		*ret = t;
	return r;
}

void http_tls_free(struct http_tls *t)
{
	if (!t)
		return;
	keys_unref(t->keys);
	free(t);
}

/* They could not be used; whether that is to be said. */
static bool follow_failed(struct http_tls *t, const struct tls_stamp *stamps)
{
	if (!tls_same(stamps, t->seen))
		t->said = false;
	else if (t->behind && !t->said)
		return t->said = true;
	memcpy(t->seen, stamps, sizeof(t->seen));
	t->behind = true;
	return false;
}

int http_tls_follow(struct http_tls *t, uint64_t now_ms, char **ret_why)
{
	struct tls_stamp stamps[TLS_FILES];
	struct http_tls_keys *keys;
	int r;

	*ret_why = NULL;
	if (now_ms < t->due_ms)
		return 0;
	t->due_ms = now_ms + HTTP_TLS_LOOK_MS;
	tls_stamps(&t->files, stamps);
	if (!t->behind && tls_same(stamps, t->seen))
		return 0;
	r = keys_read(&t->files, &keys, ret_why);
	if (r < 0) {
		if (follow_failed(t, stamps)) {
			t->counts.refused++;
			return r;
		}
		free(TAKE_PTR(*ret_why));
		return 0;
	}
	memcpy(t->seen, stamps, sizeof(t->seen));
	t->behind = t->said = false;
	t->counts.loaded++;
	keys_unref(t->keys);
	t->keys = keys;
	return 1;
}

void http_tls_get_counts(const struct http_tls *t, struct http_tls_counts *ret)
{
	*ret = t->counts;
}

/* ---- sessions ---- */

static int retrieve_none(gnutls_session_t session, const gnutls_datum_t *authorities,
			 int n_authorities, const gnutls_pk_algorithm_t *algorithms,
			 int n_algorithms, gnutls_pcert_st **chain, unsigned int *chain_size,
			 gnutls_privkey_t *key)
{
	(void)session;
	(void)authorities;
	(void)n_authorities;
	(void)algorithms;
	(void)n_algorithms;
	(void)chain;
	(void)chain_size;
	(void)key;
	return -1;
}

/* So declared that its type cannot drift from the library's. */
void *http_tls_no_keys(void)
{
	gnutls_certificate_retrieve_function2 *retrieve = retrieve_none;

	return (void *)retrieve;
}

static ssize_t session_pull(gnutls_transport_ptr_t at, void *buf, size_t n)
{
	struct http_tls_session *s = at;
	ssize_t got;

	if (s->room == 0) {
		s->tls->counts.large += !s->large;
		s->large = true;
		errno = ECONNABORTED;
		return -1;
	}
	got = recv(s->fd, buf, MIN(n, s->room), 0);
	s->room -= got > 0 ? (size_t)got : 0;
	return got;
}

/* Whether a signature by this certificate's key is too dear to be checked; what cannot be told is. */
static bool key_is_large(const gnutls_datum_t *der)
{
	gnutls_datum_t modulus = {0}, exponent = {0};
	gnutls_x509_crt_t cert;
	bool large;
	int r;

	if (gnutls_x509_crt_init(&cert) < 0)
		return true;
	r = gnutls_x509_crt_import(cert, der, GNUTLS_X509_FMT_DER);
	if (r == 0)
		r = gnutls_x509_crt_get_pk_rsa_raw(cert, &modulus, &exponent);
	/* One byte more: the sign. Other keys than RSA are on curves, whose sizes are known. */
	large = r < 0 ? r != GNUTLS_E_INVALID_REQUEST
		      : modulus.size > HTTP_TLS_MODULUS_MAX + 1 ||
				exponent.size > HTTP_TLS_EXPONENT_MAX + 1;
	gnutls_free(modulus.data);
	gnutls_free(exponent.data);
	gnutls_x509_crt_deinit(cert);
	return large;
}

/* The client's signature has come and is to be checked; its certificate was read. Ours is going, too. */
static int session_signed(gnutls_session_t session, unsigned int type, unsigned int when,
			  unsigned int incoming, const gnutls_datum_t *message)
{
	struct http_tls_session *s = gnutls_transport_get_ptr(session);
	const gnutls_datum_t *shown;
	unsigned int n = 0;

	(void)type, (void)when, (void)message;
	if (!incoming)
		return 0;
	shown = gnutls_certificate_get_peers(session, &n);
	if (shown && n && !key_is_large(shown))
		return 0;
	s->tls->counts.large++;
	return GNUTLS_E_CERTIFICATE_ERROR;
}

int http_tls_begin(struct http_tls *t, void *session, struct http_tls_session **ret)
{
	struct http_tls_session *s = calloc(1, sizeof(*s));
	gnutls_transport_ptr_t in, out;

	if (!s)
		return -ENOMEM;
	if (gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->keys->credentials) < 0) {
		free(s);
		return -ENOMEM;
	}
	/* Who has none may go on: whether that is enough depends on what is asked for. */
	if (t->files.client_ca)
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
	gnutls_transport_get_ptr2(session, &in, &out);
	gnutls_transport_set_ptr2(session, s, out);
	gnutls_transport_set_pull_function(session, session_pull);
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY,
					   GNUTLS_HOOK_PRE, session_signed);
	*s = (struct http_tls_session){.tls = t,
				       .keys = t->keys,
				       .session = session,
				       .fd = (int)(intptr_t)in,
				       .room = HTTP_TLS_IN_MAX};
	s->keys->users++;
	*ret = s;
	return 0;
}

void http_tls_next(struct http_tls_session *s)
{
	s->room = HTTP_TLS_IN_MAX;
}

void http_tls_end(struct http_tls_session *s)
{
	if (s)
		keys_unref(s->keys);
	free(s);
}

bool http_tls_knows(const struct http_tls_session *s)
{
	gnutls_typed_vdata_st client = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
					.data = (void *)GNUTLS_KP_TLS_WWW_CLIENT};
	unsigned int wrong = 0;
	int r;

	if (!s->tls->files.client_ca)
		return true;
	/* By today's authority: with that of its beginning, a connection kept open would outlive it for ever. */
	gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, s->tls->keys->credentials);
	r = gnutls_certificate_verify_peers(s->session, &client, 1, &wrong);
	gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, s->keys->credentials);
	return r == 0 && wrong == 0;
}
