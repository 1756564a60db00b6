// SPDX-License-Identifier: Apache-2.0
/*
 * YAML text to cJSON trees, see yaml_tree.h.
 *
 * Owns: the walk over libyaml's events, and its limits. Must not know: what a scalar's text means
 * (yaml_scalar.c), what the values mean.
 *
 * Events, not libyaml's documents: those have no limit of their own on depth, and an alias in them is a pointer,
 * so that ten lines can stand for a billion values. Here a copy counts like the original.
 */
#include "yaml_tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "util.h"
#include "yaml_scalar.h"

struct anchor {
	char *name;
	const cJSON *value; /* in the document's tree, complete */
};

/* A list or mapping that is not at its end yet. */
struct frame {
	cJSON *value;
	char *key;    /* of the mapping's next value, or NULL; owned */
	char *anchor; /* owned, or NULL */
};

struct reader {
	yaml_parser_t parser;
	struct frame frames[YAML_TREE_DEPTH_MAX];
	size_t depth;
	struct anchor anchors[YAML_TREE_ANCHORS_MAX];
	size_t n_anchors;
	size_t n_values; /* in the whole text */
	cJSON *root;     /* of the document; owned */
	unsigned int line;
	char why[YAML_TREE_WHY_MAX];
};

static int reader_refuse(struct reader *r, int error, size_t line, const char *fmt, ...)
	_printf_(4, 5);
static int reader_refuse(struct reader *r, int error, size_t line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	/* A key or a tag of the text may be quoted in it. */
	for (char *c = r->why; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	r->line = (unsigned int)line + 1;
	return error;
}

/* length: of the value's texts. */
static int reader_count(struct reader *r, size_t line, size_t length)
{
	r->n_values += 1 + length / YAML_TREE_VALUE_BYTES;
	if (r->n_values > YAML_TREE_VALUES_MAX)
		return reader_refuse(r, -EFBIG, line, "more than %u values", YAML_TREE_VALUES_MAX);
	return 0;
}

static void reader_end_document(struct reader *r)
{
	while (r->depth) {
		struct frame *frame = &r->frames[--r->depth];

		free(frame->key);
		free(frame->anchor);
		*frame = (struct frame){0};
	}
	while (r->n_anchors)
		free(r->anchors[--r->n_anchors].name);
	cJSON_Delete(r->root);
	r->root = NULL;
}

/* Anchors */

static int copy_text(const yaml_char_t *text, char **ret)
{
	char *copy = NULL;

	if (text) {
		copy = strdup((const char *)text);
		if (!copy)
			return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

/* A name may be used again; aliases then mean the latest. Takes over *name. */
static int anchor_add(struct reader *r, size_t line, char **name, const cJSON *value)
{
	if (!*name)
		return 0;
	for (size_t i = 0; i < r->n_anchors; i++) {
		if (strcmp(r->anchors[i].name, *name) != 0)
			continue;
		r->anchors[i].value = value;
		return 0;
	}
	if (r->n_anchors == YAML_TREE_ANCHORS_MAX)
		return reader_refuse(r, -EFBIG, line, "more than %d anchors",
				     YAML_TREE_ANCHORS_MAX);
	r->anchors[r->n_anchors++] = (struct anchor){.name = TAKE_PTR(*name), .value = value};
	return 0;
}

/* What is inside the copy, and how deep it goes below the place it is put to. */
static int alias_measure(struct reader *r, size_t line, const cJSON *value, size_t depth)
{
	const cJSON *child;
	size_t length = 0;
	int error;

	if (depth > YAML_TREE_DEPTH_MAX)
		return reader_refuse(r, -EFBIG, line, "nested deeper than %d", YAML_TREE_DEPTH_MAX);
	if (value->string)
		length += strlen(value->string);
	if (value->valuestring)
		length += strlen(value->valuestring);
	error = reader_count(r, line, length);
	for (child = value->child; child && !error; child = child->next)
		error = alias_measure(r, line, child, depth + 1);
	return error;
}

static int alias_copy(struct reader *r, size_t line, const yaml_char_t *name, cJSON **ret)
{
	const cJSON *value = NULL;
	int error;

	for (size_t i = 0; i < r->n_anchors; i++)
		if (strcmp(r->anchors[i].name, (const char *)name) == 0)
			value = r->anchors[i].value;
	/* A list that contains itself is not complete yet, and so not known here either. */
	if (!value)
		return reader_refuse(r, -EINVAL, line, "nothing complete is anchored as '%.60s'",
				     (const char *)name);
	error = alias_measure(r, line, value, r->depth);
	if (error)
		return error;
	*ret = cJSON_Duplicate(value, true);
	return *ret ? 0 : -ENOMEM;
}

/* Values */

static int compare_keys(const void *a, const void *b)
{
	return strcmp((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

/* Only the first of two equal keys would be seen; kubectl takes neither. */
static int mapping_check_keys(struct reader *r, size_t line, const cJSON *mapping)
{
	_cleanup_free_ const cJSON **items = NULL;
	const cJSON *child;
	size_t n = 0, i = 0;

	for (child = mapping->child; child; child = child->next)
		n++;
	if (n < 2)
		return 0;
	items = calloc(n, sizeof(cJSON *));
	if (!items)
		return -ENOMEM;
	for (child = mapping->child; child; child = child->next)
		items[i++] = child;
	qsort(items, n, sizeof(cJSON *), compare_keys);
	for (i = 1; i < n; i++)
		if (strcmp(items[i - 1]->string, items[i]->string) == 0)
			return reader_refuse(r, -EINVAL, line,
					     "the mapping from here on has the key '%.60s' twice",
					     items[i]->string);
	return 0;
}

/* Put *value into what is open. It is handed over in any case. */
static int reader_place(struct reader *r, cJSON *value)
{
	struct frame *top = r->depth ? &r->frames[r->depth - 1] : NULL;
	cJSON_bool placed;

	if (!top) {
		r->root = value;
		return 0;
	}
	if (cJSON_IsArray(top->value))
		placed = cJSON_AddItemToArray(top->value, value);
	else
		placed = cJSON_AddItemToObject(top->value, top->key, value);
	if (!placed)
		cJSON_Delete(value);
	free(top->key);
	top->key = NULL;
	return placed ? 0 : -ENOMEM;
}

static bool reader_wants_key(const struct reader *r)
{
	const struct frame *top = r->depth ? &r->frames[r->depth - 1] : NULL;

	return top && cJSON_IsObject(top->value) && !top->key;
}

static int reader_key(struct reader *r, const yaml_event_t *event)
{
	size_t line = event->start_mark.line;
	const char *text;
	int error;

	if (event->type != YAML_SCALAR_EVENT)
		return reader_refuse(r, -EINVAL, line, "a key must be a plain word");
	text = (const char *)event->data.scalar.value;
	if (strlen(text) != event->data.scalar.length)
		return reader_refuse(r, -EINVAL, line, "a key has a zero byte");
	if (event->data.scalar.anchor)
		return reader_refuse(r, -EINVAL, line, "a key must not have an anchor");
	if (strcmp(text, "<<") == 0 && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return reader_refuse(r, -EINVAL, line, "merge keys (<<) are not part of YAML 1.2");
	error = reader_count(r, line, event->data.scalar.length);
	return error ? error : copy_text(event->data.scalar.value, &r->frames[r->depth - 1].key);
}

static int reader_scalar(struct reader *r, const yaml_event_t *event)
{
	size_t line = event->start_mark.line;
	_cleanup_free_ char *anchor = NULL;
	const char *why = NULL;
	cJSON *value = NULL;
	int error = reader_count(r, line, event->data.scalar.length);

	if (!error)
		error = copy_text(event->data.scalar.anchor, &anchor);
	if (!error)
		error = yaml_scalar_value(
			(const char *)event->data.scalar.value, event->data.scalar.length,
			(const char *)event->data.scalar.tag,
			event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, &value, &why);
	if (error == -EINVAL)
		return reader_refuse(r, -EINVAL, line, "%s", why);
	if (!error)
		error = reader_place(r, value);
	return error ? error : anchor_add(r, line, &anchor, value);
}

static int reader_alias(struct reader *r, const yaml_event_t *event)
{
	cJSON *value = NULL;
	int error = alias_copy(r, event->start_mark.line, event->data.alias.anchor, &value);

	return error ? error : reader_place(r, value);
}

/* Only a mapping is a mapping and only a list is a list, whatever a tag calls it. */
static int reader_check_tag(struct reader *r, size_t line, const yaml_char_t *tag, const char *word)
{
	if (!tag || strcmp((const char *)tag, "!") == 0 || strcmp((const char *)tag, word) == 0)
		return 0;
	return reader_refuse(r, -EINVAL, line, "the tag '%.60s' does not fit", (const char *)tag);
}

static int reader_open(struct reader *r, const yaml_event_t *event)
{
	bool mapping = event->type == YAML_MAPPING_START_EVENT;
	size_t line = event->start_mark.line;
	const yaml_char_t *tag = mapping ? event->data.mapping_start.tag
					 : event->data.sequence_start.tag;
	struct frame frame = {0};
	int error = reader_count(r, line, 0);

	if (!error)
		error = reader_check_tag(r, line, tag, mapping ? YAML_MAP_TAG : YAML_SEQ_TAG);
	if (!error && r->depth == YAML_TREE_DEPTH_MAX)
		error = reader_refuse(r, -EFBIG, line, "nested deeper than %d",
				      YAML_TREE_DEPTH_MAX);
	if (error)
		return error;
	frame.value = mapping ? cJSON_CreateObject() : cJSON_CreateArray();
	if (!frame.value)
		return -ENOMEM;
	if (mapping)
		frame.value->valueint = (int)line + 1;
	error = reader_place(r, frame.value);
	if (!error)
		error = copy_text(mapping ? event->data.mapping_start.anchor
					  : event->data.sequence_start.anchor,
				  &frame.anchor);
	if (!error)
		r->frames[r->depth++] = frame;
	return error;
}

static int reader_close(struct reader *r, const yaml_event_t *event)
{
	struct frame *frame = &r->frames[r->depth - 1];
	int error = 0;

	if (cJSON_IsObject(frame->value))
		error = mapping_check_keys(r, (size_t)frame->value->valueint - 1, frame->value);
	if (!error)
		error = anchor_add(r, event->start_mark.line, &frame->anchor, frame->value);
	free(frame->anchor);
	*frame = (struct frame){0};
	r->depth--;
	return error;
}

static int reader_event(struct reader *r, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return reader_wants_key(r) ? reader_key(r, event) : reader_scalar(r, event);
	case YAML_ALIAS_EVENT:
		return reader_wants_key(r) ? reader_key(r, event) : reader_alias(r, event);
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		return reader_wants_key(r) ? reader_key(r, event) : reader_open(r, event);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return reader_close(r, event);
	default:
		return 0;
	}
}

static int reader_next(struct reader *r, yaml_event_t *event)
{
	const yaml_parser_t *parser = &r->parser;
	size_t line;

	if (yaml_parser_parse(&r->parser, event))
		return 0;
	/* The scanner gives up on want of memory without a word; every real problem has one. */
	if (parser->error == YAML_MEMORY_ERROR || !parser->problem)
		return -ENOMEM;
	line = parser->problem_mark.line ? parser->problem_mark.line : parser->mark.line;
	return reader_refuse(r, -EINVAL, line, "not YAML: %.100s", parser->problem);
}

static int reader_run(struct reader *r, int (*each)(const cJSON *document, void *data), void *data)
{
	yaml_event_type_t type = YAML_NO_EVENT;
	yaml_event_t event;
	int error = 0;

	while (type != YAML_STREAM_END_EVENT && !error) {
		error = reader_next(r, &event);
		if (error)
			break;
		type = event.type;
		error = reader_event(r, &event);
		yaml_event_delete(&event);
		if (type != YAML_DOCUMENT_END_EVENT || error)
			continue;
		error = each(r->root, data);
		reader_end_document(r);
	}
	reader_end_document(r);
	return error;
}

int yaml_tree_read(const char *text, size_t size, int (*each)(const cJSON *document, void *data),
		   void *data, unsigned int *ret_line, char ret_why[YAML_TREE_WHY_MAX])
{
	cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = free};
	_cleanup_free_ struct reader *r = calloc(1, sizeof(*r));
	int error;

	if (!r || !yaml_parser_initialize(&r->parser))
		return -ENOMEM;
	cJSON_InitHooks(&hooks);
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, size);
	error = reader_run(r, each, data);
	yaml_parser_delete(&r->parser);
	if (error && *r->why) {
		*ret_line = r->line;
		memcpy(ret_why, r->why, sizeof(r->why));
	}
	return error;
}
