// SPDX-License-Identifier: Apache-2.0
/* A plan as text; see config.h. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "diff.h"
#include "istio_tree.h"
#include "util.h"
#include "yaml.h"

/* All documents of a full table (65,536 hosts, a pair each) take about 100 MB. */
#define OUTPUT_MAX (512u << 20)
#define LABEL_MAX  512

static void document_done(struct config_document *document)
{
	free(document->ns);
	free(document->name);
	free(document->yaml);
}

void config_done(struct config *config)
{
	for (size_t i = 0; i < config->n_documents; i++)
		document_done(&config->documents[i]);
	free(config->documents);
	for (size_t i = 0; i < config->n_notes; i++)
		free(config->notes[i]);
	free(config->notes);
	free(config->diff);
	*config = (struct config){0};
}

/* Documents */

static int add_document(const struct istio_object *object, enum istio_kind kind, const cJSON *tree,
			struct config *config)
{
	struct config_document *document = &config->documents[config->n_documents++];
	size_t size;

	*document = (struct config_document){.kind = istio_kind_name(kind),
					     .ns = strdup(object->ns),
					     .name = strdup(object->name)};
	if (!document->ns || !document->name)
		return -ENOMEM;
	return yaml_print(tree, &document->yaml, &size);
}

/* The diff */

static int cluster_text(const struct registry_object *object, const cJSON *like, char **ret)
{
	_cleanup_(istio_tree_freep) cJSON *tree = NULL;
	size_t size;
	int r = istio_tree_of_cluster(object, like, &tree);

	return r ? r : yaml_print(tree, ret, &size);
}

/* Adds nothing if the document is in the cluster as it is. Strips the tree. */
static int add_diff(const struct istio_object *object, enum istio_kind kind, cJSON *tree,
		    struct text *diff)
{
	const struct registry_object *old = object->replaces[kind];
	_cleanup_free_ char *before = NULL, *after = NULL;
	char from[LABEL_MAX], to[LABEL_MAX];
	size_t size;
	int r;

	istio_tree_strip(tree);
	r = yaml_print(tree, &after, &size);
	if (!r && old)
		r = cluster_text(old, tree, &before);
	if (r)
		return r;
	snprintf(from, sizeof(from), "cluster/%s/%s/%s", istio_kind_name(kind), object->ns,
		 object->name);
	snprintf(to, sizeof(to), "generated/%s/%s/%s", istio_kind_name(kind), object->ns,
		 object->name);
	return diff_unified(old ? from : NULL, old ? before : "", to, after, diff);
}

static int add_object(const struct istio_object *object, const struct istio_options *options,
		      struct config *config, struct text *diff)
{
	int r = 0;

	for (enum istio_kind kind = 0; kind < ISTIO_KIND_MAX && !r; kind++) {
		_cleanup_(istio_tree_freep) cJSON *tree = NULL;

		if (!istio_object_has(object, kind))
			continue;
		r = istio_tree_make(object, kind, options, &tree);
		if (!r)
			r = add_document(object, kind, tree, config);
		if (!r && options->diff)
			r = add_diff(object, kind, tree, diff);
	}
	return r;
}

/* What nobody calls for is no difference: another node's pods may. */
static int finish_diff(const struct istio_plan *plan, struct text *diff, struct config *config)
{
	size_t size;

	config->differs = diff->size > 0;
	for (size_t i = 0; i < plan->n_retired; i++) {
		text_puts(diff, "# ");
		text_puts(diff, plan->retired[i]);
		text_puts(diff, "; delete it by hand if nothing elsewhere needs it\n");
	}
	return text_take(diff, &config->diff, &size);
}

static int config_fill(const struct istio_plan *plan, const struct istio_options *options,
		       struct config *config)
{
	_cleanup_(text_done) struct text diff = TEXT_INIT(OUTPUT_MAX);
	int r = 0;

	config->documents = calloc(MAX(ISTIO_KIND_MAX * plan->n_objects, 1u),
				   sizeof(*config->documents));
	if (!config->documents)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_objects && !r; i++)
		r = add_object(&plan->objects[i], options, config, &diff);
	return r ? r : finish_diff(plan, &diff, config);
}

int config_make(const struct destination_list *list, const struct istio_options *options,
		const struct registry_store *store, struct config *ret)
{
	_cleanup_(istio_plan_done) struct istio_plan plan = {0};
	_cleanup_(config_done) struct config config = {0};
	int r = options->diff && !store ? -ENODATA : 0;

	if (!r)
		r = istio_plan_make(list, options, store, &plan);
	if (!r)
		r = config_fill(&plan, options, &config);
	if (r)
		return r;
	config.notes = TAKE_PTR(plan.notes);
	config.n_notes = plan.n_notes;
	plan.n_notes = 0;
	config.refused = plan.refused;
	*ret = config;
	config = (struct config){0};
	return 0;
}

int config_to_yaml(const struct config *config, char **ret_text, size_t *ret_size)
{
	_cleanup_(text_done) struct text text = TEXT_INIT(OUTPUT_MAX);

	for (size_t i = 0; i < config->n_documents; i++) {
		text_puts(&text, i ? "---\n" : "");
		text_puts(&text, config->documents[i].yaml);
	}
	return text_take(&text, ret_text, ret_size);
}
