/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML text to cJSON trees, of text that anybody may have written. With yaml.c, the owner of libyaml.
 *
 * Must not know: what the values mean, where the text comes from.
 */
#ifndef YAML_TREE_H
#define YAML_TREE_H

#include <cjson/cJSON.h>
#include <stddef.h>

/*
 * Values (keys, scalars, lists, mappings, and what an alias stands for) in one text: each takes about 100 bytes of
 * memory. A long one counts once more for each YAML_TREE_VALUE_BYTES.
 */
#define YAML_TREE_VALUES_MAX  (4u << 20)
#define YAML_TREE_VALUE_BYTES 64
/* Lists and mappings inside one another. */
#define YAML_TREE_DEPTH_MAX 64
/* Anchors in one document. */
#define YAML_TREE_ANCHORS_MAX 256
/* Enough for every phrase *ret_why can hold. */
#define YAML_TREE_WHY_MAX 160

/*
 * Each document of the stream in turn, as a tree; each() does not own it, and a non-zero return of its stops and
 * is returned. Plain scalars are what YAML 1.2's core schema makes of them (null, true, 12, 0x1f, 1.5, else a
 * string; `no`, `on` and 1.2.3.4 are strings), quoted ones are strings. An alias is a copy of what it stands for.
 * The valueint of every mapping (cJSON_IsObject) is the 1-based line it begins on.
 *
 * -EINVAL for what is not YAML or cannot be JSON (a key that is no scalar or stands twice, .nan, a zero byte, an
 * unknown tag, a merge key), -EFBIG beyond a maximum above: *ret_line tells where and ret_why why, in printable
 * ASCII. -ENOMEM. Documents before the failing one have been handed out by then.
 */
int yaml_tree_read(const char *text, size_t size, int (*each)(const cJSON *document, void *data),
		   void *data, unsigned int *ret_line, char ret_why[YAML_TREE_WHY_MAX]);

#endif
