// SPDX-License-Identifier: Apache-2.0
/*
 * What Prometheus answers to an instant query; see prometheus_work.h.
 *
 * Owns: the form of its answers. Must not know: what was asked, what a label means. The text may come from anybody:
 * json_tree.h bounds it.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "json_tree.h"
#include "prometheus_work.h"
#include "util.h"

#define SHOWN_MAX 300 /* bytes of the server's words that are shown, before they are escaped */

/* A phrase and, behind it, the server's words. Without memory for them there is just the error. */
static int answer_fail(int error, const char *what, const char *words, char **ret_why)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(PROMETHEUS_WHY_MAX + 4 * SHOWN_MAX);
	char cut[SHOWN_MAX + 1];
	size_t size;

	snprintf(cut, sizeof(cut), "%s", words);
	text_puts(&t, what);
	text_add_printable(&t, cut);
	if (text_take(&t, ret_why, &size) < 0)
		*ret_why = NULL;
	return error;
}

static int answer_is_none(const char *what, char **ret_why)
{
	return answer_fail(-EINVAL, what, "", ret_why);
}

static const char *text_of(const cJSON *object, const char *key)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

	return text ? text : "";
}

static int label_compare(const void *a, const void *b)
{
	const struct prometheus_label *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int series_labels(const cJSON *metric, struct prometheus_series *s)
{
	const cJSON *item;

	s->n_labels = 0;
	cJSON_ArrayForEach(item, metric) {
		if (s->n_labels == PROMETHEUS_LABELS_MAX || !cJSON_IsString(item))
			return -EINVAL;
		s->labels[s->n_labels++] = (struct prometheus_label){item->string,
								     item->valuestring};
	}
	if (s->n_labels > 1)
		qsort(s->labels, s->n_labels, sizeof(*s->labels), label_compare);
	return 0;
}

/* [TIME, "NUMBER"]: 1.23e+06, NaN and +Inf are numbers, too. */
static int series_value(const cJSON *pair, struct prometheus_series *s)
{
	const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1));
	char *end;

	if (!text || !*text || cJSON_GetArraySize(pair) != 2 ||
	    !cJSON_IsNumber(cJSON_GetArrayItem(pair, 0)))
		return -EINVAL;
	s->value = strtod(text, &end);
	return *end ? -EINVAL : 0;
}

static int read_vector(const cJSON *result, const struct prometheus_reader *reader, char **ret_why)
{
	struct prometheus_series s;
	const cJSON *item;
	int r;

	cJSON_ArrayForEach(item, result) {
		const cJSON *metric = cJSON_GetObjectItemCaseSensitive(item, "metric");

		if (!cJSON_IsObject(metric) || series_labels(metric, &s) < 0)
			return answer_is_none("a series has no labels that can be read", ret_why);
		if (series_value(cJSON_GetObjectItemCaseSensitive(item, "value"), &s) < 0)
			return answer_is_none("a series has no value that can be read", ret_why);
		r = reader->series(&s, reader->data);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_data(const cJSON *data, const struct prometheus_reader *reader, char **ret_why)
{
	const cJSON *result = cJSON_GetObjectItemCaseSensitive(data, "result");
	const char *type = text_of(data, "resultType");
	struct prometheus_series s = {.n_labels = 0};

	if (strcmp(type, "vector") == 0 && cJSON_IsArray(result))
		return read_vector(result, reader, ret_why);
	if (strcmp(type, "scalar") == 0 && series_value(result, &s) == 0)
		return reader->series(&s, reader->data);
	return answer_is_none("it has another result than was asked for", ret_why);
}

static void read_notes(const cJSON *notes, const struct prometheus_reader *reader)
{
	const cJSON *item;
	size_t n = 0;

	cJSON_ArrayForEach(item, notes) {
		_cleanup_free_ char *line = NULL;

		if (!cJSON_IsString(item) || n++ == PROMETHEUS_NOTES_MAX)
			return;
		answer_fail(0, "", item->valuestring, &line);
		if (line && reader->note)
			reader->note(line, reader->note_data);
	}
}

int prometheus_read(const char *text, size_t size, const struct prometheus_reader *reader,
		    char **ret_why)
{
	_cleanup_(json_tree_freep) cJSON *root = NULL;
	const char *why = NULL, *status;
	int r = json_tree_parse(text, size, &root, &why);

	*ret_why = NULL;
	if (r == -ENOMEM)
		return r;
	status = text_of(root, "status");
	if (r == 0 && strcmp(status, "error") == 0)
		return answer_fail(-EREMOTEIO, "", text_of(root, "error"), ret_why);
	if (r < 0 || strcmp(status, "success") != 0)
		return answer_is_none("it is not what Prometheus answers", ret_why);
	read_notes(cJSON_GetObjectItemCaseSensitive(root, "warnings"), reader);
	read_notes(cJSON_GetObjectItemCaseSensitive(root, "infos"), reader);
	return read_data(cJSON_GetObjectItemCaseSensitive(root, "data"), reader, ret_why);
}

const char *prometheus_label(const struct prometheus_series *s, const char *name)
{
	for (size_t i = 0; i < s->n_labels; i++) {
		if (strcmp(s->labels[i].name, name) == 0)
			return s->labels[i].value;
	}
	return "";
}

bool prometheus_count(const struct prometheus_series *s, uint64_t *ret)
{
	if (!isfinite(s->value) || s->value < 0)
		return false;
	/* 2^63 and beyond does not fit; whole numbers up to 2^53 are exact. */
	*ret = s->value >= 0x1p63 ? MODEL_COUNT_MAX : (uint64_t)(s->value + 0.5);
	return true;
}
