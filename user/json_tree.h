/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text to a cJSON tree, of text that anybody may have written. With json_parse.c, the owner of
 * cJSON.
 *
 * Must not know: what the values mean.
 */
#ifndef JSON_TREE_H
#define JSON_TREE_H

#include <cjson/cJSON.h>
#include <stddef.h>

void json_tree_freep(cJSON **root);

/*
 * One JSON value and white space. Stricter than cJSON: no control bytes or broken UTF-8 in strings,
 * no \u0000 (it would cut a name short), nothing behind the value, JSON_VALUES_MAX. -EINVAL or
 * -EFBIG with *ret_why a constant phrase; -ENOMEM with *ret_why untouched.
 */
int json_tree_parse(const char *text, size_t size, cJSON **ret, const char **ret_why);

#endif
