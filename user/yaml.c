// SPDX-License-Identifier: Apache-2.0
/*
 * YAML out and in, see yaml.h.
 *
 * Owns: libyaml, the shape of the two Istio documents. Must not know: why an object is in the plan.
 *
 * libyaml prints NO, on, 1e3 or 010 as they are, and the next reader takes them for booleans and numbers.
 * So every value that is a string is double-quoted here, whatever it looks like.
 */
#include "yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <yaml.h>

#include "text.h"
#include "util.h"

/* A config file larger than this is a mistake. */
#define CONFIG_MAX (1u << 20)

/* All documents of a full table (65,536 hosts, a pair each) take about 100 MB. */
#define OUTPUT_MAX (512u << 20)
/* ISTIO_WORKLOADS_MAX names of hostile length; Kubernetes takes 256 KiB of annotations an object. */
#define WORKLOADS_MAX (128u << 10)

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

static void yaml_key(struct yaml_out *out, const char *key)
{
	yaml_emit_scalar(out, key, YAML_PLAIN_SCALAR_STYLE);
}

static void yaml_string(struct yaml_out *out, const char *value)
{
	yaml_emit_scalar(out, value, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

static void yaml_number(struct yaml_out *out, unsigned int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	yaml_emit_scalar(out, text, YAML_PLAIN_SCALAR_STYLE);
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

static void yaml_pair(struct yaml_out *out, const char *key, const char *value)
{
	yaml_key(out, key);
	yaml_string(out, value);
}

static void yaml_pair_number(struct yaml_out *out, const char *key, unsigned int value)
{
	yaml_key(out, key);
	yaml_number(out, value);
}

/* key: [value] */
static void yaml_pair_list(struct yaml_out *out, const char *key, const char *value)
{
	yaml_key(out, key);
	yaml_seq(out);
	yaml_string(out, value);
	yaml_seq_end(out);
}

static void yaml_pair_map(struct yaml_out *out, const char *key)
{
	yaml_key(out, key);
	yaml_map(out);
}

/* Annotations */

static void yaml_pair_text(struct yaml_out *out, const char *key, struct text *text)
{
	_cleanup_free_ char *value = NULL;
	size_t size;
	int r = text_take(text, &value, &size);

	if (!r)
		yaml_pair(out, key, value);
	else if (!out->error)
		out->error = r;
	text_done(text);
}

/* A time that is not known (0) gets no annotation. */
static void yaml_time(struct yaml_out *out, const char *key, uint64_t ms)
{
	struct text text = TEXT_INIT(64);

	if (!ms)
		return;
	text_add_time(&text, ms);
	yaml_pair_text(out, key, &text);
}

static void yaml_count(struct yaml_out *out, const char *key, uint64_t value)
{
	struct text text = TEXT_INIT(64);

	text_add_u64(&text, value);
	yaml_pair_text(out, key, &text);
}

/* "a, b, c and 4 more" */
static void yaml_workloads(struct yaml_out *out, const struct istio_evidence *evidence)
{
	size_t shown = MIN(evidence->n_workloads, (size_t)ISTIO_WORKLOADS_MAX);
	struct text text = TEXT_INIT(WORKLOADS_MAX);

	if (!shown)
		return;
	for (size_t i = 0; i < shown; i++) {
		text_puts(&text, i ? ", " : "");
		text_puts(&text, evidence->workloads[i]);
	}
	if (shown < evidence->n_workloads) {
		text_puts(&text, " and ");
		text_add_u64(&text, evidence->n_workloads - shown);
		text_puts(&text, " more");
	}
	yaml_pair_text(out, "egress-agent/workloads", &text);
}

static void yaml_evidence(struct yaml_out *out, const struct istio_evidence *evidence)
{
	yaml_pair_map(out, "annotations");
	yaml_workloads(out, evidence);
	yaml_count(out, "egress-agent/connections", evidence->connections);
	yaml_count(out, "egress-agent/requests", evidence->requests);
	yaml_time(out, "egress-agent/first-seen", evidence->first_ms);
	yaml_time(out, "egress-agent/last-seen", evidence->last_ms);
	yaml_map_end(out);
}

/* Documents */

static void yaml_metadata(struct yaml_out *out, const struct istio_object *object)
{
	yaml_pair_map(out, "metadata");
	yaml_pair(out, "name", object->name);
	if (*object->ns)
		yaml_pair(out, "namespace", object->ns);
	/* Constant: istiod merges the ports of two ServiceEntries only when their labels are equal. */
	yaml_pair_map(out, "labels");
	yaml_pair(out, "app.kubernetes.io/managed-by", "egress-agent");
	yaml_map_end(out);
	yaml_evidence(out, &object->evidence);
	yaml_map_end(out);
}

static void yaml_port(struct yaml_out *out, const struct istio_port *port)
{
	const char *word = port->tls ? "tls" : "http";
	char name[16];

	if (port->number == (port->tls ? 443 : 80))
		snprintf(name, sizeof(name), "%s", word);
	else
		snprintf(name, sizeof(name), "%s-%u", word, port->number);
	yaml_map(out);
	yaml_pair_number(out, "number", port->number);
	yaml_pair(out, "name", name);
	yaml_pair(out, "protocol", port->tls ? "TLS" : "HTTP");
	if (port->target_port)
		yaml_pair_number(out, "targetPort", port->target_port);
	yaml_map_end(out);
}

/* The two specs must agree on exportTo: istioctl looks a rule's host up where both are visible. */
static const char *yaml_export_to(const struct istio_options *options)
{
	return options->mesh_scope ? "*" : ".";
}

static void yaml_service_entry(struct yaml_out *out, const struct istio_object *object,
			       const struct istio_options *options)
{
	yaml_pair_list(out, "hosts", object->host);
	yaml_pair_list(out, "exportTo", yaml_export_to(options));
	yaml_pair(out, "location", "MESH_EXTERNAL");
	yaml_key(out, "ports");
	yaml_seq(out);
	for (size_t i = 0; i < object->n_ports; i++)
		yaml_port(out, &object->ports[i]);
	yaml_seq_end(out);
	yaml_pair(out, "resolution", "DNS");
}

/*
 * sni alone would turn the check of the certificate's name off, and no caCertificates is what istioctl warns
 * about: all four fields together mean the same in every Istio since 1.18.
 */
static void yaml_destination_rule(struct yaml_out *out, const struct istio_object *object,
				  const struct istio_options *options)
{
	yaml_pair(out, "host", object->host);
	yaml_pair_list(out, "exportTo", yaml_export_to(options));
	yaml_pair_map(out, "trafficPolicy");
	yaml_key(out, "portLevelSettings");
	yaml_seq(out);
	yaml_map(out);
	yaml_pair_map(out, "port");
	yaml_pair_number(out, "number", 80);
	yaml_map_end(out);
	yaml_pair_map(out, "tls");
	yaml_pair(out, "mode", "SIMPLE");
	yaml_pair(out, "caCertificates", "system");
	yaml_pair(out, "sni", object->host);
	yaml_pair_list(out, "subjectAltNames", object->host);
	yaml_map_end(out);
	yaml_map_end(out);
	yaml_seq_end(out);
	yaml_map_end(out);
}

static void yaml_document(struct yaml_out *out, const struct istio_object *object,
			  enum yaml_kind kind, const struct istio_options *options)
{
	bool rule = kind == YAML_DESTINATION_RULE;
	yaml_event_t event;

	/* Implicit start: libyaml writes the "---" between documents only. */
	yaml_emit(out, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1), &event);
	yaml_map(out);
	yaml_pair(out, "apiVersion",
		  options->v1beta1 ? "networking.istio.io/v1beta1" : "networking.istio.io/v1");
	yaml_pair(out, "kind", rule ? "DestinationRule" : "ServiceEntry");
	yaml_metadata(out, object);
	yaml_pair_map(out, "spec");
	(rule ? yaml_destination_rule : yaml_service_entry)(out, object, options);
	yaml_map_end(out);
	yaml_map_end(out);
	yaml_emit(out, yaml_document_end_event_initialize(&event, 1), &event);
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

int yaml_from_plan(const struct istio_plan *plan, const struct istio_options *options,
		   char **ret_text, size_t *ret_size)
{
	struct yaml_out out;
	int r = yaml_open(&out);

	if (r)
		return r;
	for (size_t i = 0; i < plan->n_objects && !out.error; i++) {
		const struct istio_object *object = &plan->objects[i];

		if (object->originate)
			yaml_document(&out, object, YAML_DESTINATION_RULE, options);
		yaml_document(&out, object, YAML_SERVICE_ENTRY, options);
	}
	return yaml_close(&out, ret_text, ret_size);
}

int yaml_from_object(const struct istio_object *object, enum yaml_kind kind,
		     const struct istio_options *options, char **ret_text, size_t *ret_size)
{
	struct yaml_out out;
	int r = yaml_open(&out);

	if (r)
		return r;
	yaml_document(&out, object, kind, options);
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
