// SPDX-License-Identifier: Apache-2.0
/*
 * Hosts as patterns, labels as selectors, memory as an arena: what all files of the registry share.
 *
 * Owns: suffix matching (pkg/config/host). Must not know: objects' meaning, the index.
 */
#include <string.h>

#include "registry_work.h"
#include "util.h"

/* Memory */

/* The first block of an arena; a small ServiceEntry fits. */
#define BLOCK_MIN 512
#define ALIGNMENT sizeof(void *)

struct arena_block {
	struct arena_block *next;
	_Alignas(void *) char bytes[];
};

void *reg_arena_alloc(struct arena *arena, size_t n, size_t size)
{
	struct arena_block *block;
	size_t need, room;

	if (__builtin_mul_overflow(n, size, &need))
		return NULL;
	need = (need + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	if (need > arena->size - arena->used || !arena->blocks) {
		room = MAX(need, MAX(arena->total / 2, (size_t)BLOCK_MIN));
		block = calloc(1, sizeof(*block) + room);
		if (!block)
			return NULL;
		block->next = arena->blocks;
		arena->blocks = block;
		arena->used = 0;
		arena->size = room;
		arena->total += sizeof(*block) + room;
	}
	arena->used += need;
	return arena->blocks->bytes + arena->used - need;
}

char *reg_arena_copy(struct arena *arena, const char *text, size_t length)
{
	char *copy = reg_arena_alloc(arena, length + 1, 1);

	if (copy)
		memcpy(copy, text, length);
	return copy;
}

void reg_arena_done(struct arena *arena)
{
	for (struct arena_block *block = arena->blocks, *next; block; block = next) {
		next = block->next;
		free(block);
	}
	*arena = (struct arena){0};
}

/* Labels */

bool reg_labels_match(const struct labels *selector, const struct registry_label *labels, size_t n)
{
	for (size_t i = 0; i < selector->n; i++) {
		const struct registry_label *want = &selector->items[i];
		size_t at = 0;

		while (at < n && (strcmp(labels[at].key, want->key) != 0 ||
				  strcmp(labels[at].value, want->value) != 0))
			at++;
		if (at == n)
			return false;
	}
	return true;
}

bool reg_labels_equal(const struct labels *a, const struct labels *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->items[i].key, b->items[i].key) != 0 ||
		    strcmp(a->items[i].value, b->items[i].value) != 0)
			return false;
	return true;
}

/* Hosts */

bool reg_host_is_wildcard(const char *host)
{
	return host[0] == '*';
}

bool reg_host_normalize(const char *host, char ret[HOST_MAX + 1])
{
	size_t len = strnlen(host, HOST_MAX + 1);

	if (len > HOST_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		ret[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
	if (len > 1 && ret[len - 1] == '.')
		len--;
	ret[len] = '\0';
	return true;
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t len = strlen(text), suffix_len = strlen(suffix);

	return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

bool reg_host_covered(const char *host, const char *pattern)
{
	if (!reg_host_is_wildcard(pattern))
		return strcmp(host, pattern) == 0;
	if (!reg_host_is_wildcard(host))
		return has_suffix(host, pattern + 1);
	return strlen(host) >= strlen(pattern) && has_suffix(host + 1, pattern + 1);
}

bool reg_host_each_wildcard(const char *host, bool partial,
			    bool (*fn)(const char *pattern, void *data), void *data)
{
	char pattern[HOST_MAX + 2] = "*";
	const char *suffix = host + reg_host_is_wildcard(host);

	for (;; suffix++) {
		if (*suffix != '.' && *suffix && !partial)
			continue;
		snprintf(pattern + 1, sizeof(pattern) - 1, "%s", suffix);
		if (fn(pattern, data))
			return true;
		if (!*suffix)
			return false;
	}
}
