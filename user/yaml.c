// SPDX-License-Identifier: Apache-2.0
/*
 * YAML out and in, see yaml.h.
 *
 * Owns: libyaml, what a tree looks like as text. Must not know: what the documents mean.
 *
 * libyaml prints NO, on, 1e3 or 010 as they are, and the next reader takes them for booleans and numbers.
 * So every value that is a string is double-quoted here, whatever it looks like.
 */
#include "yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <yaml.h>

#include "text.h"
#include "util.h"

/* A config file larger than this is a mistake. */
#define CONFIG_MAX (1u << 20)

/* One document; etcd takes 1.5 MB. */
#define OUTPUT_MAX (16u << 20)

struct yaml_out {
	yaml_emitter_t emitter;
	struct text text;
	int error; /* the first one; everything after it does nothing */
};

static int yaml_write(void *data, unsigned char *buffer, size_t size)
{
	struct text *text = data;

	text_add(text, (const char *)buffer, size);
	return text->error == 0;
}

/* Events. made: whether the event could be made; it fails for want of memory only, as all text is ASCII. */
static void yaml_emit(struct yaml_out *out, int made, yaml_event_t *event)
{
	if (!made) {
		out->error = out->error ? out->error : -ENOMEM;
		return;
	}
	if (out->error) {
		yaml_event_delete(event);
		return;
	}
	/* The emitter owns the event from here on, even when it fails. */
	if (!yaml_emitter_emit(&out->emitter, event))
		out->error = out->text.error ? out->text.error : -ENOMEM;
}

static void yaml_emit_scalar(struct yaml_out *out, const char *text, yaml_scalar_style_t style)
{
	yaml_event_t event;
	int made = yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
						(int)strlen(text), 1, 1, style);

	yaml_emit(out, made, &event);
}

static void yaml_map(struct yaml_out *out)
{
	yaml_event_t event;

	yaml_emit(out,
		  yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
						      YAML_BLOCK_MAPPING_STYLE),
		  &event);
}

static void yaml_map_end(struct yaml_out *out)
{
	yaml_event_t event;

	yaml_emit(out, yaml_mapping_end_event_initialize(&event), &event);
}

static void yaml_seq(struct yaml_out *out)
{
	yaml_event_t event;

	yaml_emit(out,
		  yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
						       YAML_BLOCK_SEQUENCE_STYLE),
		  &event);
}

static void yaml_seq_end(struct yaml_out *out)
{
	yaml_event_t event;

	yaml_emit(out, yaml_sequence_end_event_initialize(&event), &event);
}

/* Trees */

/* 2^53: up to here a double is the integer it looks like. */
#define EXACT_MAX 9007199254740992.0

static void yaml_number(struct yaml_out *out, double value)
{
	bool exact = value >= -EXACT_MAX && value <= EXACT_MAX && (double)(int64_t)value == value;
	char text[40];

	snprintf(text, sizeof(text), exact ? "%.0f" : "%.17g", value);
	yaml_emit_scalar(out, text, YAML_PLAIN_SCALAR_STYLE);
}

static void yaml_scalar(struct yaml_out *out, const cJSON *value)
{
	if (cJSON_IsString(value))
		yaml_emit_scalar(out, value->valuestring, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
	else if (cJSON_IsNumber(value))
		yaml_number(out, value->valuedouble);
	else if (cJSON_IsBool(value))
		yaml_emit_scalar(out, cJSON_IsTrue(value) ? "true" : "false",
				 YAML_PLAIN_SCALAR_STYLE);
	else
		yaml_emit_scalar(out, "null", YAML_PLAIN_SCALAR_STYLE);
}

/* As deep as whoever made the tree allowed, see YAML_TREE_DEPTH_MAX. NOLINTNEXTLINE(misc-no-recursion) */
static void yaml_value(struct yaml_out *out, const cJSON *value)
{
	const cJSON *item;
	bool map = cJSON_IsObject(value);

	if (!map && !cJSON_IsArray(value)) {
		yaml_scalar(out, value);
		return;
	}
	(map ? yaml_map : yaml_seq)(out);
	cJSON_ArrayForEach(item, value) {
		if (map)
			yaml_emit_scalar(out, item->string, YAML_PLAIN_SCALAR_STYLE);
		yaml_value(out, item);
	}
	(map ? yaml_map_end : yaml_seq_end)(out);
}

static int yaml_open(struct yaml_out *out)
{
	yaml_event_t event;

	memset(out, 0, sizeof(*out));
	out->text = TEXT_INIT(OUTPUT_MAX);
	if (!yaml_emitter_initialize(&out->emitter))
		return -ENOMEM;
	yaml_emitter_set_output(&out->emitter, yaml_write, &out->text);
	yaml_emitter_set_width(&out->emitter, -1); /* a folded host is hard to search for */
	yaml_emit(out, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event);
	return 0;
}

/* End the stream, hand the text over and free the rest. */
static int yaml_close(struct yaml_out *out, char **ret_text, size_t *ret_size)
{
	yaml_event_t event;

	yaml_emit(out, yaml_stream_end_event_initialize(&event), &event);
	yaml_emitter_delete(&out->emitter);
	if (!out->error)
		out->error = text_take(&out->text, ret_text, ret_size);
	text_done(&out->text);
	return out->error;
}

int yaml_print(const cJSON *document, char **ret_text, size_t *ret_size)
{
	struct yaml_out out;
	yaml_event_t event;
	int r = yaml_open(&out);

	if (r)
		return r;
	/* Implicit start and end: no "---" and no "..." */
	yaml_emit(&out, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1), &event);
	yaml_value(&out, document);
	yaml_emit(&out, yaml_document_end_event_initialize(&event, 1), &event);
	return yaml_close(&out, ret_text, ret_size);
}

/* The config file */

struct yaml_config {
	yaml_document_t document;
	int (*each)(const char *key, const char *value, unsigned int line, void *data);
	void *data;
	unsigned int line; /* of the problem */
	char why[200];
};

static int yaml_refuse(struct yaml_config *config, size_t line, const char *fmt, ...)
	_printf_(3, 4);
static int yaml_refuse(struct yaml_config *config, size_t line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(config->why, sizeof(config->why), fmt, ap);
	va_end(ap);
	config->line = (unsigned int)line + 1;
	return -EINVAL;
}

/* The text of a scalar, or NULL if the node is none, is null or cannot be a C string. */
static const char *yaml_node_text(const yaml_node_t *node)
{
	static const char *const nulls[] = {"", "~", "null"};
	const char *text;

	if (!node || node->type != YAML_SCALAR_NODE)
		return NULL;
	text = (const char *)node->data.scalar.value;
	if (strlen(text) != node->data.scalar.length)
		return NULL;
	if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return text;
	for (size_t i = 0; i < ARRAY_SIZE(nulls); i++)
		if (strcmp(text, nulls[i]) == 0)
			return NULL;
	return text;
}

static int yaml_config_value(struct yaml_config *config, const char *key, const yaml_node_t *node)
{
	const char *text = yaml_node_text(node);

	if (!text)
		return yaml_refuse(config, node->start_mark.line, "'%.60s' needs a plain value",
				   key);
	return config->each(key, text, (unsigned int)node->start_mark.line + 1, config->data);
}

static int yaml_config_pair(struct yaml_config *config, const yaml_node_pair_t *pair)
{
	yaml_node_t *key_node = yaml_document_get_node(&config->document, pair->key);
	yaml_node_t *node = yaml_document_get_node(&config->document, pair->value);
	const char *key = yaml_node_text(key_node);
	int r = 0;

	if (!key)
		return yaml_refuse(config, key_node->start_mark.line, "a key must be a plain word");
	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_config_value(config, key, node);
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     item < node->data.sequence.items.top && !r; item++)
		r = yaml_config_value(config, key,
				      yaml_document_get_node(&config->document, *item));
	return r;
}

static int yaml_config_walk(struct yaml_config *config, const yaml_node_t *root)
{
	int r = 0;

	if (root->type != YAML_MAPPING_NODE)
		return yaml_refuse(config, root->start_mark.line, "not a mapping (option: value)");
	for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
	     pair < root->data.mapping.pairs.top && !r; pair++)
		r = yaml_config_pair(config, pair);
	return r;
}

static int yaml_config_load(struct yaml_config *config, yaml_parser_t *parser)
{
	size_t line;

	if (yaml_parser_load(parser, &config->document))
		return 0;
	/* The scanner gives up on want of memory without a word; every real problem has one. */
	if (parser->error == YAML_MEMORY_ERROR || !parser->problem)
		return -ENOMEM;
	line = parser->problem_mark.line ? parser->problem_mark.line : parser->mark.line;
	return yaml_refuse(config, line, "not YAML: %s", parser->problem);
}

/* One document, walked. *ret_empty: the stream had no (further) one. */
static int yaml_config_document(struct yaml_config *config, yaml_parser_t *parser, bool first,
				bool *ret_empty)
{
	int r = yaml_config_load(config, parser);
	const yaml_node_t *root;

	if (r)
		return r;
	root = yaml_document_get_root_node(&config->document);
	*ret_empty = !root;
	if (root && !first)
		r = yaml_refuse(config, root->start_mark.line, "more than one document");
	else if (root)
		r = yaml_config_walk(config, root);
	yaml_document_delete(&config->document);
	return r;
}

static int yaml_config_parse(struct yaml_config *config, const char *text, size_t size)
{
	yaml_parser_t parser;
	bool empty = false;
	int r;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	r = yaml_config_document(config, &parser, true, &empty);
	if (!r && !empty)
		r = yaml_config_document(config, &parser, false, &empty);
	yaml_parser_delete(&parser);
	return r;
}

static int yaml_config_slurp(const char *path, char **ret_text, size_t *ret_size)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	_cleanup_free_ char *text = malloc(CONFIG_MAX + 1);
	size_t size;

	if (!file)
		return -errno;
	if (!text)
		return -ENOMEM;
	size = fread(text, 1, CONFIG_MAX + 1, file);
	if (ferror(file))
		return -errno;
	if (size > CONFIG_MAX)
		return -EFBIG;
	*ret_text = TAKE_PTR(text);
	*ret_size = size;
	return 0;
}

int yaml_read_config(const char *path,
		     int (*each)(const char *key, const char *value, unsigned int line, void *data),
		     void *data, unsigned int *ret_line, char **ret_why)
{
	struct yaml_config config = {.each = each, .data = data};
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	r = yaml_config_slurp(path, &text, &size);
	if (r)
		return r;
	r = yaml_config_parse(&config, text, size);
	if (r == -EINVAL && config.line) {
		*ret_line = config.line;
		*ret_why = strdup(config.why);
	}
	return r;
}
