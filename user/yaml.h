/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML out (Istio objects) and in (the --config file). Owner of libyaml.
 */
#ifndef USER_YAML_H /* YAML_H is libyaml's; for the same reason build with -iquote user, not -Iuser */
#define USER_YAML_H

#include "istio.h"

/* All documents of the plan, DestinationRule before the ServiceEntry that needs it. Owned by the caller. */
int yaml_from_plan(const struct istio_plan *plan, const struct istio_options *options,
		   char **ret_text, size_t *ret_size);

enum yaml_kind { YAML_DESTINATION_RULE, YAML_SERVICE_ENTRY };
/* One document, for --output-dir. */
int yaml_from_object(const struct istio_object *object, enum yaml_kind kind,
		     const struct istio_options *options, char **ret_text, size_t *ret_size);

/*
 * Read a flat mapping `key: value` or `key: [a, b]` and call back for each value with its 1-based line.
 * -EINVAL for anything that is not such a mapping (*ret_line: where, *ret_why: a phrase, owned); -errno from
 * reading. A callback's non-zero return stops and is returned.
 */
int yaml_read_config(const char *path,
		     int (*each)(const char *key, const char *value, unsigned int line, void *data),
		     void *data, unsigned int *ret_line, char **ret_why);

#endif
