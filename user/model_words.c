// SPDX-License-Identifier: Apache-2.0
/*
 * The words of CONTRACT.md for the model's enums, both ways.
 *
 * Owns: one string table per enum, tied to it by a static assert. Must not know: anything else.
 */
#include <errno.h>
#include <string.h>

#include "model.h"
#include "util.h"

static int word_find(const char *const *words, size_t n, const char *word, size_t *ret)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(words[i], word) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* model_<stem>_name() and model_<stem>_parse() over the table <stem>_words. */
#define WORDS(stem, type, max)                                                        \
	_Static_assert(ARRAY_SIZE(stem##_words) == (max), "a word for every " #stem); \
	const char *model_##stem##_name(type v)                                       \
	{                                                                             \
		return stem##_words[v];                                               \
	}                                                                             \
	int model_##stem##_parse(const char *word, type *ret)                         \
	{                                                                             \
		size_t i;                                                             \
		int r = word_find(stem##_words, ARRAY_SIZE(stem##_words), word, &i);  \
                                                                                      \
		if (r == 0)                                                           \
			*ret = (type)i;                                               \
		return r;                                                             \
	}                                                                             \
	_Static_assert((max) > 0, "")

static const char *const protocol_words[] = {
	[PROTOCOL_TLS] = "tls",   [PROTOCOL_HTTP] = "http", [PROTOCOL_HTTP2] = "http2",
	[PROTOCOL_QUIC] = "quic", [PROTOCOL_TCP] = "tcp",   [PROTOCOL_UDP] = "udp",
};
WORDS(protocol, enum protocol, PROTOCOL_MAX);

static const char *const name_source_words[] = {
	[NAME_SOURCE_HTTP] = "http", [NAME_SOURCE_SNI] = "sni", [NAME_SOURCE_CONNECT] = "connect",
	[NAME_SOURCE_DNS] = "dns",   [NAME_SOURCE_IP] = "ip",
};
WORDS(name_source, enum name_source, NAME_SOURCE_MAX);

static const char *const visibility_words[] = {
	[VISIBILITY_L4] = "l4",
	[VISIBILITY_L7] = "l7",
};
WORDS(visibility, enum visibility, VISIBILITY_MAX);

static const char *const registry_words[] = {
	[REGISTRY_UNKNOWN] = "unknown",       [REGISTRY_PASSTHROUGH] = "passthrough",
	[REGISTRY_REGISTERED] = "registered", [REGISTRY_ORIGINATED] = "originated",
	[REGISTRY_BLOCKED] = "blocked",
};
WORDS(registry, enum registry, REGISTRY_MAX);

static const char *const interception_words[] = {
	[INTERCEPTION_NONE] = "none",
	[INTERCEPTION_SIDECAR] = "sidecar",
	[INTERCEPTION_AMBIENT] = "ambient",
	[INTERCEPTION_BYPASS] = "bypass",
};
WORDS(interception, enum interception, INTERCEPTION_MAX);

static const char *const finding_words[] = {
	[FINDING_ECH] = "ech",
	[FINDING_QUIC_BYPASS] = "quic-bypass",
	[FINDING_MESH_BYPASS] = "mesh-bypass",
	[FINDING_SNI_DNS_MISMATCH] = "sni-dns-mismatch",
	[FINDING_NO_SNI] = "no-sni",
	[FINDING_IP_LITERAL] = "ip-literal",
	[FINDING_INVALID_NAME] = "invalid-name",
	[FINDING_MIXED_TLS_AND_PLAINTEXT] = "mixed-tls-and-plaintext",
	[FINDING_PREEXISTING] = "preexisting",
};
WORDS(finding, enum finding, FINDING_MAX);

static const char *const tls_version_words[] = {
	[TLS_SSL30] = "ssl3.0", [TLS_10] = "1.0", [TLS_11] = "1.1",
	[TLS_12] = "1.2",       [TLS_13] = "1.3",
};
WORDS(tls_version, enum tls_version, TLS_VERSION_MAX);

/* The registered names of RFC 7301's protocol ids. */
static const char *const alpn_words[] = {
	[ALPN_H2] = "h2",
	[ALPN_HTTP11] = "http/1.1",
	[ALPN_HTTP10] = "http/1.0",
	[ALPN_OTHER] = "other",
};
_Static_assert(ARRAY_SIZE(alpn_words) == ALPN_MAX, "a word for every ALPN protocol");

const char *model_alpn_name(enum alpn v)
{
	return alpn_words[v];
}

int model_alpn_parse(const char *word, enum alpn *ret)
{
	size_t i = ALPN_OTHER;

	word_find(alpn_words, ARRAY_SIZE(alpn_words), word, &i);
	*ret = (enum alpn)i;
	return 0;
}

static const char *const method_words[] = {
	[EA_METHOD_OTHER] = "OTHER",     [EA_METHOD_GET] = "GET",
	[EA_METHOD_HEAD] = "HEAD",       [EA_METHOD_POST] = "POST",
	[EA_METHOD_PUT] = "PUT",         [EA_METHOD_DELETE] = "DELETE",
	[EA_METHOD_CONNECT] = "CONNECT", [EA_METHOD_OPTIONS] = "OPTIONS",
	[EA_METHOD_TRACE] = "TRACE",     [EA_METHOD_PATCH] = "PATCH",
};
WORDS(method, enum ea_method, EA_METHOD_MAX);

static const char *const sort_words[] = {
	[SORT_BYTES] = "bytes", [SORT_CONNECTIONS] = "connections", [SORT_REQUESTS] = "requests",
	[SORT_HOST] = "host",   [SORT_LAST_SEEN] = "last-seen",
};
WORDS(sort, enum sort_key, SORT_MAX);

static const char *const scope_words[] = {
	[SCOPE_EXTERNAL] = "external",
	[SCOPE_INTERNAL] = "internal",
	[SCOPE_ALL] = "all",
};
WORDS(scope, enum scope_filter, SCOPE_MAX);
