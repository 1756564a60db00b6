// SPDX-License-Identifier: Apache-2.0
/*
 * JSON text to a cJSON tree; see json_tree.h.
 *
 * Owns: what cJSON is too friendly for. Must not know: destinations.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "json.h"
#include "json_tree.h"
#include "text.h"
#include "util.h"

/*
 * One string, from behind its opening quote to its closing one; NULL with *ret_why if cJSON would
 * take what we do not want: control bytes, broken UTF-8, and \u0000, which would cut a name short
 * for everyone but us.
 */
static const char *scan_string(const char *s, const char *end, const char **ret_why)
{
	size_t len;

	for (; s < end && *s != '"'; s += len) {
		len = text_utf8_len(s, (size_t)(end - s));
		if (len == 0)
			*ret_why = "a string is not UTF-8";
		else if (len == 1 && *s < 0x20)
			*ret_why = "a string has a control character";
		else if (*s == '\\' && end - s >= 6 && memcmp(s, "\\u0000", 6) == 0)
			*ret_why = "a string has a zero byte";
		else if (*s == '\\')
			len = 2;
		if (*ret_why)
			return NULL;
	}
	if (s < end)
		return s;
	*ret_why = "not JSON";
	return NULL;
}

/* What cJSON is too friendly for, and the number of values before it takes memory for them. */
static int scan_text(const char *s, size_t size, const char **ret_why)
{
	const char *end = s + size;
	size_t values = 1;

	for (; s < end; s++) {
		if (*s == '"') {
			s = scan_string(s + 1, end, ret_why);
			if (!s)
				return -EINVAL;
		} else if (*s == ',' || *s == '[' || *s == '{') {
			values++;
		} else if ((*s < 0x20 || *s > 0x7e) && *s != '\t' && *s != '\n' && *s != '\r') {
			*ret_why = "not JSON";
			return -EINVAL;
		}
	}
	if (values <= JSON_VALUES_MAX)
		return 0;
	*ret_why = "more values than a list of destinations can have";
	return -EFBIG;
}

/* cJSON answers NULL for bad text and for no memory alike; the hook tells which. */
static _Thread_local bool parse_out_of_memory;

static void *parse_alloc(size_t size)
{
	void *p = malloc(size);

	if (!p)
		parse_out_of_memory = true;
	return p;
}

void json_tree_freep(cJSON **root)
{
	cJSON_Delete(*root);
}

int json_tree_parse(const char *text, size_t size, cJSON **ret, const char **ret_why)
{
	cJSON_Hooks hooks = {.malloc_fn = parse_alloc, .free_fn = free};
	_cleanup_(json_tree_freep) cJSON *root = NULL;
	const char *rest = NULL, *why = NULL;
	int r = scan_text(text, size, &why);

	if (r < 0) {
		*ret_why = why;
		return r;
	}
	cJSON_InitHooks(&hooks);
	parse_out_of_memory = false;
	root = cJSON_ParseWithLengthOpts(text, size, &rest, false);
	if (parse_out_of_memory)
		return -ENOMEM;
	while (root && rest < text + size && strchr(" \t\n\r", *rest))
		rest++;
	if (!root || rest < text + size) {
		*ret_why = "not JSON";
		return -EINVAL;
	}
	*ret = TAKE_PTR(root);
	return 0;
}
