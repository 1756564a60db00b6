// SPDX-License-Identifier: Apache-2.0
/*
 * Single fields of an object's JSON, and the groups of them that several kinds share: labels, selectors, exportTo.
 *
 * Owns: types and sizes of fields. Must not know: which fields a kind has, the index.
 *
 * Everything comes from somebody else, so a field has the type the CRD says or the object is refused, and nothing
 * is copied before its size was checked. Unknown fields are ignored, as a newer CRD may have them.
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

/* Kubernetes takes 256 KiB of annotations and less of labels; a key has at most 317 bytes. */
#define LABELS_MAX     4096
#define LABEL_TEXT_MAX 512

int reg_parse_reject(struct parse *parse, enum registry_reason reason, const char *why)
{
	parse->reason = reason;
	parse->why = why;
	return -EINVAL;
}

/* Fields */

/* NULL: absent, or null, which the API server drops. */
static const cJSON *field(const cJSON *in, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, key);

	return cJSON_IsNull(item) ? NULL : item;
}

bool reg_parse_has(const cJSON *in, const char *key)
{
	return field(in, key);
}

int reg_parse_text(struct parse *parse, const cJSON *in, const char *key, const char *why,
		   const char **ret)
{
	const cJSON *item = field(in, key);

	if (item && !cJSON_IsString(item))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
	*ret = item ? item->valuestring : NULL;
	return 0;
}

int reg_parse_object(struct parse *parse, const cJSON *in, const char *key, const char *why,
		     const cJSON **ret)
{
	const cJSON *item = field(in, key);

	if (item && !cJSON_IsObject(item))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
	*ret = item;
	return 0;
}

int reg_parse_list(struct parse *parse, const cJSON *in, const char *key, size_t max,
		   const char *why, const cJSON **ret)
{
	const cJSON *item = field(in, key);

	if (item && (!cJSON_IsArray(item) || (size_t)cJSON_GetArraySize(item) > max))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
	*ret = item;
	return 0;
}

int reg_parse_bool(struct parse *parse, const cJSON *in, const char *key, const char *why,
		   bool *ret)
{
	const cJSON *item = field(in, key);

	if (item && !cJSON_IsBool(item))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
	*ret = cJSON_IsTrue(item);
	return 0;
}

int reg_parse_number(struct parse *parse, const cJSON *in, const char *key, const char *why,
		     int64_t *ret, bool *ret_present)
{
	const cJSON *item = field(in, key);
	double value = item ? item->valuedouble : 0;

	/* All numbers here are integers of at most 32 bits. */
	if (item && (!cJSON_IsNumber(item) || !(value >= -4294967296.0 && value <= 4294967296.0) ||
		     value != (double)(int64_t)value))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
	*ret = (int64_t)value;
	*ret_present = item;
	return 0;
}

int reg_parse_port(struct parse *parse, const cJSON *in, const char *key, const char *why,
		   uint16_t *ret)
{
	int64_t value;
	bool present;
	int r = reg_parse_number(parse, in, key, why, &value, &present);

	if (r)
		return r;
	if (present && (value < 1 || value > 65535))
		return reg_parse_reject(parse, REGISTRY_REASON_PORT, why);
	*ret = (uint16_t)value;
	return 0;
}

/* Copies */

void *reg_parse_array(struct parse *parse, size_t n, size_t size)
{
	return reg_arena_alloc(&parse->object->arena, MAX(n, (size_t)1), size);
}

int reg_parse_copy(struct parse *parse, const char *text, const char **ret)
{
	*ret = reg_arena_copy(&parse->object->arena, text, strlen(text));
	return *ret ? 0 : -ENOMEM;
}

int reg_parse_copy_host(struct parse *parse, const char *host, const char **ret)
{
	char normal[HOST_MAX + 1];

	if (!reg_host_normalize(host, normal))
		return reg_parse_reject(parse, REGISTRY_REASON_HOST, "a host is too long");
	return reg_parse_copy(parse, normal, ret);
}

/* ResolveShortnameToFQDN; a wildcard stays what it is. */
int reg_parse_copy_service_host(struct parse *parse, const char *host, const char **ret)
{
	char full[HOST_MAX + NS_MAX + HOST_MAX + 8];

	if (strchr(host, '.') || strchr(host, '*'))
		return reg_parse_copy_host(parse, host, ret);
	snprintf(full, sizeof(full), "%.255s.%s.svc.%s", host, parse->object->public.ns,
		 parse->store->cluster_domain);
	return reg_parse_copy_host(parse, full, ret);
}

/* hosts has room for all of them. */
int reg_parse_add_host(struct parse *parse, const char *host, bool short_names)
{
	struct object *object = parse->object;
	const char *copy;
	int r = short_names ? reg_parse_copy_service_host(parse, host, &copy)
			    : reg_parse_copy_host(parse, host, &copy);

	if (r)
		return r;
	for (size_t i = 0; i < object->n_hosts; i++)
		if (strcmp(object->hosts[i], copy) == 0)
			return 0;
	object->hosts[object->n_hosts++] = copy;
	return 0;
}

/* Labels */

static int compare_labels(const void *a, const void *b)
{
	const struct registry_label *x = a, *y = b;

	return strcmp(x->key, y->key);
}

int reg_parse_labels(struct parse *parse, const cJSON *in, const char *why, struct labels *ret)
{
	size_t n = (size_t)cJSON_GetArraySize(in), i = 0;
	struct registry_label *items;
	const cJSON *item;
	int r = 0;

	if (n > LABELS_MAX)
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
	items = reg_parse_array(parse, n, sizeof(*items));
	if (!items)
		return -ENOMEM;
	for (item = in ? in->child : NULL; item && !r; item = item->next, i++) {
		if (!cJSON_IsString(item) || strlen(item->string) > LABEL_TEXT_MAX ||
		    strlen(item->valuestring) > LABEL_TEXT_MAX)
			return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
		r = reg_parse_copy(parse, item->string, &items[i].key);
		if (!r)
			r = reg_parse_copy(parse, item->valuestring, &items[i].value);
	}
	if (r)
		return r;
	qsort(items, n, sizeof(*items), compare_labels);
	*ret = (struct labels){.items = items, .n = n};
	return 0;
}

int reg_parse_selector(struct parse *parse, const cJSON *in, const char *key,
		       const char *labels_key, bool *ret_present, struct labels *ret)
{
	static const char why[] = "workloadSelector: not a mapping of labels";
	const cJSON *selector, *labels;
	int r = reg_parse_object(parse, in, key, why, &selector);

	if (r || !selector)
		return r;
	r = reg_parse_object(parse, selector, labels_key, why, &labels);
	if (!r)
		r = reg_parse_labels(parse, labels, why, ret);
	for (size_t i = 0; !r && i < ret->n; i++)
		if (!*ret->items[i].key || strchr(ret->items[i].key, '*') ||
		    strchr(ret->items[i].value, '*'))
			r = reg_parse_reject(parse, REGISTRY_REASON_SELECTOR,
					     "workloadSelector: an empty key or a wildcard");
	*ret_present = true;
	return r;
}

/* exportTo */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One entry. *n_nobody counts `~`, which shows the object to no one. */
static int export_add(struct parse *parse, const char *to, const char **others, size_t *n_nobody)
{
	struct exports *exports = &parse->object->export;

	if (strcmp(to, "*") == 0) {
		exports->all = true;
		return 0;
	}
	if (strcmp(to, "~") == 0) {
		++*n_nobody;
		return 0;
	}
	if (strcmp(to, ".") == 0 || strcmp(to, parse->object->public.ns) == 0) {
		if (exports->own)
			return reg_parse_reject(parse, REGISTRY_REASON_EXPORT,
						"exportTo: an entry stands twice");
		exports->own = true;
		exports->dot = *to == '.';
		return 0;
	}
	if (!reg_valid_label(to))
		return reg_parse_reject(parse, REGISTRY_REASON_EXPORT,
					"exportTo: neither `.`, `*`, `~` nor a namespace");
	return reg_parse_copy(parse, to, &others[exports->n_others++]);
}

static int export_check(struct parse *parse, size_t n, size_t n_nobody, bool nobody_allowed)
{
	const struct exports *exports = &parse->object->export;

	for (size_t i = 1; i < exports->n_others; i++)
		if (strcmp(exports->others[i - 1], exports->others[i]) == 0)
			return reg_parse_reject(parse, REGISTRY_REASON_EXPORT,
						"exportTo: an entry stands twice");
	if (n_nobody && !nobody_allowed)
		return reg_parse_reject(parse, REGISTRY_REASON_EXPORT,
					"exportTo: `~` is for a ServiceEntry");
	if (n > 1 && (n_nobody || exports->all))
		return reg_parse_reject(parse, REGISTRY_REASON_EXPORT,
					"exportTo: `*` or `~` together with others");
	return 0;
}

int reg_parse_export(struct parse *parse, bool nobody_allowed)
{
	static const char why[] = "exportTo: not a list of namespaces";
	struct exports *exports = &parse->object->export;
	const char **others;
	const cJSON *list, *item;
	size_t n, n_nobody = 0;
	int r = reg_parse_list(parse, parse->spec, "exportTo", ITEMS_MAX, why, &list);

	if (r)
		return r;
	n = (size_t)cJSON_GetArraySize(list);
	exports->given = n > 0;
	exports->own = n == 0;
	exports->all = n == 0 && !parse->store->private[parse->object->public.kind];
	others = reg_parse_array(parse, n, sizeof(*others));
	if (!others)
		return -ENOMEM;
	for (item = list ? list->child : NULL; item && !r; item = item->next) {
		if (!cJSON_IsString(item))
			return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, why);
		r = export_add(parse, item->valuestring, others, &n_nobody);
	}
	if (r)
		return r;
	qsort(others, exports->n_others, sizeof(*others), compare_texts);
	exports->others = others;
	return export_check(parse, n, n_nobody, nobody_allowed);
}
