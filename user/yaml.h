/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML out (trees) and in (the --config file). Owner of libyaml, with yaml_tree.c.
 *
 * Must not know: what is in a document.
 */
#ifndef USER_YAML_H /* YAML_H is libyaml's; for the same reason build with -iquote user, not -Iuser */
#define USER_YAML_H

#include <cjson/cJSON.h>
#include <stddef.h>

/*
 * One document as text, keys in the order of the tree, strings always in double quotes. Owned by the caller.
 * -ENOMEM, -EFBIG. The tree's strings must be UTF-8.
 */
int yaml_print(const cJSON *document, char **ret_text, size_t *ret_size);

/*
 * Read a flat mapping `key: value` or `key: [a, b]` and call back for each value with its 1-based line.
 * -EINVAL for anything that is not such a mapping (*ret_line: where, *ret_why: a phrase, owned); -errno from
 * reading. A callback's non-zero return stops and is returned.
 */
int yaml_read_config(const char *path,
		     int (*each)(const char *key, const char *value, unsigned int line, void *data),
		     void *data, unsigned int *ret_line, char **ret_why);

#endif
