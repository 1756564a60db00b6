// SPDX-License-Identifier: Apache-2.0
/*
 * The agent's answer to a question for a plan, and back; see config.h.
 *
 * Owns: its fields. Must not know: what is in a document. An answer may come from anywhere: its names become names of
 * files, and its texts are printed.
 */
#include <errno.h>
#include <string.h>

#include "config.h"
#include "json.h"
#include "json_tree.h"
#include "text.h"
#include "util.h"

#define ANSWER_MAX ((size_t)JSON_INPUT_MAX)

/* Out */

/* All texts are printable ASCII and newlines. */
static void put_string(struct text *t, const char *s)
{
	text_add_char(t, '"');
	for (; *s; s++) {
		if (*s == '\n')
			text_puts(t, "\\n");
		else if (*s == '"' || *s == '\\')
			text_add(t, (const char[]){'\\', *s}, 2);
		else
			text_add_char(t, *s);
	}
	text_add_char(t, '"');
}

static void put_field(struct text *t, const char *before, const char *value)
{
	text_puts(t, before);
	put_string(t, value);
}

int config_to_json(const struct config *config, char **ret_text, size_t *ret_size)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(ANSWER_MAX);

	text_puts(&t,
		  "{\"apiVersion\": \"" CONFIG_API_VERSION "\", \"kind\": \"" CONFIG_KIND "\",\n"
		  " \"documents\": [");
	for (size_t i = 0; i < config->n_documents; i++) {
		const struct config_document *document = &config->documents[i];

		put_field(&t, i ? ",\n  {\"kind\": " : "\n  {\"kind\": ", document->kind);
		put_field(&t, ", \"namespace\": ", document->ns);
		put_field(&t, ", \"name\": ", document->name);
		put_field(&t, ", \"yaml\": ", document->yaml);
		text_add_char(&t, '}');
	}
	text_puts(&t, "],\n \"notes\": [");
	for (size_t i = 0; i < config->n_notes; i++)
		put_field(&t, i ? ",\n  " : "\n  ", config->notes[i]);
	put_field(&t, "],\n \"diff\": ", config->diff);
	text_puts(&t, config->differs ? ", \"differs\": true" : ", \"differs\": false");
	text_puts(&t, config->refused ? ", \"refused\": true}\n" : ", \"refused\": false}\n");
	return text_take(&t, ret_text, ret_size);
}

/* In */

static const cJSON *get(const cJSON *in, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(in, key);
}

/* A copy of a text that a terminal can take; NULL with *error. */
static char *take_text(const cJSON *item, int *error)
{
	const char *text = cJSON_GetStringValue(item);
	char *copy;

	if (!text)
		*error = -EINVAL;
	for (const char *c = text; c && *c; c++)
		if (*c != '\n' && (*c < ' ' || *c > '~'))
			*error = -EINVAL;
	if (*error)
		return NULL;
	copy = strdup(text);
	if (!copy)
		*error = -ENOMEM;
	return copy;
}

static int take_document(const cJSON *item, struct config_document *document)
{
	const char *kind = cJSON_GetStringValue(get(item, "kind"));
	int error = 0;

	for (enum istio_kind i = 0; kind && i < ISTIO_KIND_MAX; i++)
		if (strcmp(kind, istio_kind_name(i)) == 0)
			document->kind = istio_kind_name(i);
	document->ns = take_text(get(item, "namespace"), &error);
	document->name = take_text(get(item, "name"), &error);
	document->yaml = take_text(get(item, "yaml"), &error);
	if (error)
		return error;
	return document->kind && istio_namespace_valid(document->name) &&
			       (!*document->ns || istio_namespace_valid(document->ns))
		       ? 0
		       : -EINVAL;
}

static int take_documents(const cJSON *list, struct config *config)
{
	const cJSON *item;
	int r = 0;

	if (!cJSON_IsArray(list))
		return -EINVAL;
	config->documents = calloc(MAX((size_t)cJSON_GetArraySize(list), 1u),
				   sizeof(*config->documents));
	if (!config->documents)
		return -ENOMEM;
	for (item = list->child; item && !r; item = item->next)
		r = take_document(item, &config->documents[config->n_documents++]);
	return r;
}

static int take_notes(const cJSON *list, struct config *config)
{
	const cJSON *item;
	int error = 0;

	if (!cJSON_IsArray(list))
		return -EINVAL;
	config->notes = calloc(MAX((size_t)cJSON_GetArraySize(list), 1u), sizeof(*config->notes));
	if (!config->notes)
		return -ENOMEM;
	for (item = list->child; item && !error; item = item->next)
		config->notes[config->n_notes++] = take_text(item, &error);
	return error;
}

static bool is_answer(const cJSON *root)
{
	const char *version = cJSON_GetStringValue(get(root, "apiVersion"));
	const char *kind = cJSON_GetStringValue(get(root, "kind"));

	return version && kind && strcmp(version, CONFIG_API_VERSION) == 0 &&
	       strcmp(kind, CONFIG_KIND) == 0;
}

int config_from_json(const char *text, size_t size, struct config *ret, const char **ret_why)
{
	_cleanup_(json_tree_freep) cJSON *root = NULL;
	_cleanup_(config_done) struct config config = {0};
	int r;

	*ret_why = NULL;
	r = json_tree_parse(text, size, &root, ret_why);
	if (r)
		return r;
	r = is_answer(root) ? take_documents(get(root, "documents"), &config) : -EINVAL;
	if (!r)
		r = take_notes(get(root, "notes"), &config);
	if (!r)
		config.diff = take_text(get(root, "diff"), &r);
	if (r) {
		*ret_why = r == -EINVAL ? "not a ConfigPlan" : NULL;
		return r;
	}
	config.differs = cJSON_IsTrue(get(root, "differs"));
	config.refused = cJSON_IsTrue(get(root, "refused"));
	*ret = config;
	config = (struct config){0};
	return 0;
}
