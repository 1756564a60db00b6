/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of an Istio object as trees, and what of the cluster's documents is ours.
 *
 * Owns: the shape of each kind of document. Must not know: why an object is in the plan, YAML.
 */
#ifndef ISTIO_TREE_H
#define ISTIO_TREE_H

#include <cjson/cJSON.h>

#include "istio.h"

/* apiVersion, kind, metadata, spec. The object must have the kind. -ENOMEM. */
int istio_tree_make(const struct istio_object *object, enum istio_kind kind,
		    const struct istio_options *options, cJSON **ret);
void istio_tree_freep(cJSON **tree);

/* Only what counts when two documents are compared: not the evidence. */
void istio_tree_strip(cJSON *tree);

/*
 * The cluster's object (managed) as a document to compare with `like`: the same apiVersion, the same metadata, its own
 * spec with the fields in like's order, and others behind them. -ENOMEM.
 */
int istio_tree_of_cluster(const struct registry_object *object, const cJSON *like, cJSON **ret);

/* What of the cluster's documents (managed objects; NULL is fine) is ours, istio_tree_read.c */

/* Whether the spec has the shape that istio_tree_make() gives it, whatever the values: nobody added to it. */
bool istio_tree_is_ours(const struct registry_object *object, const char *host);
/* The (first) host of a document for a host, or NULL. */
const char *istio_tree_host(const struct registry_object *object);
bool istio_tree_is_exported(const struct registry_object *object); /* to all namespaces */

/* Of documents that are ours. The strings are theirs. */
size_t istio_tree_n_ports(const struct registry_object *entry);
struct istio_port istio_tree_port(const struct registry_object *entry, size_t i);
bool istio_tree_is_dynamic(const struct registry_object *entry);
/* NULL: no client certificate. */
const char *istio_tree_credential(const struct registry_object *rule, const char **ret_key,
				  const char **ret_value);
void istio_tree_route(const struct registry_object *route, const char **ret_timeout,
		      uint32_t *ret_retries);

#endif
