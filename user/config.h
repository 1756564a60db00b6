/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan as what people get: documents, notes, a diff; as the agent's answer and back.
 *
 * Owns: how a plan becomes text. Must not know: why a document is in it (istio.h), where the text goes.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "istio.h"

#define CONFIG_API_VERSION "egress-agent/v1"
#define CONFIG_KIND        "ConfigPlan"

struct config_document {
	const char *kind; /* "ServiceEntry" ... */
	char *ns, *name;  /* ns may be empty */
	char *yaml;       /* without "---" */
};

struct config {
	struct config_document *documents; /* in the order that is safe to apply */
	size_t n_documents;
	char **notes; /* see struct istio_plan */
	size_t n_notes;
	char *diff; /* never NULL; empty unless asked for */
	bool differs, refused;
};

/* istio_plan_make(), printed. -ENODATA: a diff was asked for, and what is in the cluster is not known. */
int config_make(const struct destination_list *list, const struct istio_options *options,
		const struct registry_store *store, struct config *ret);
void config_done(struct config *config);

/* All documents, with "---" between them. Owned by the caller. */
int config_to_yaml(const struct config *config, char **ret_text, size_t *ret_size);

/* As the agent answers with format=json, and back. -EINVAL, *ret_why a constant phrase: not such an answer. */
int config_to_json(const struct config *config, char **ret_text, size_t *ret_size);
int config_from_json(const char *text, size_t size, struct config *ret, const char **ret_why);

#endif
