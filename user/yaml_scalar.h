/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the text of a YAML scalar means: the core schema of YAML 1.2 (section 10.3.2).
 *
 * Must not know: libyaml, where the scalar stands.
 */
#ifndef YAML_SCALAR_H
#define YAML_SCALAR_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * text: NUL-terminated, length bytes that may have zero bytes among them. tag: the tag it was given, or NULL.
 * plain: it stood without quotes. -EINVAL for what cannot be a JSON value, with *ret_why a constant phrase; -ENOMEM.
 */
int yaml_scalar_value(const char *text, size_t length, const char *tag, bool plain, cJSON **ret,
		      const char **ret_why);

#endif
