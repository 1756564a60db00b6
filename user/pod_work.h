/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind pod.h share: pod.c (all pods, found by key), pod_read.c (one, out of the API's object),
 * pod_source.c (what it is called), pod_field.c (one field).
 */
#ifndef POD_WORK_H
#define POD_WORK_H

#include "pod.h"

#define POD_NAME_MAX  253 /* RFC 1123 subdomain */
#define POD_LABEL_MAX 63  /* a label's value */
#define POD_WORD_MAX  63

enum pod_key_kind { POD_KEY_UID, POD_KEY_HASH, POD_KEY_CONTAINER };

/* One way to find a pod. */
struct pod_key {
	enum pod_key_kind kind;
	char *text;
	char *container; /* its name; of POD_KEY_CONTAINER only */
	struct pod_entry *entry;
	struct pod_key *chain; /* in its bucket */
};

struct pod_entry {
	struct pod pod;
	struct pod_key *
		keys; /* the uid, a static pod's hash, the containers; they stay where they are once found by */
	size_t n_keys, keys_capacity;
	uint64_t cut;                    /* what of it had no room */
	struct pod_entry *newer, *older; /* of the gone ones, by use */
};

/* From a Pod object. -EINVAL: it is none; -ENOMEM. */
int pod_entry_read(const cJSON *object, struct pod_entry **ret);
/* Remember a container's id unless there is no room or it is known. -ENOMEM. */
int pod_entry_add_container(struct pod_entry *e, const char *id, const char *name);
void pod_entry_free(struct pod_entry *e);

/* The names that the pod's metrics carry. -ENOMEM. */
int pod_source_read(const cJSON *metadata, struct source *ret);

/* NULL if it is absent, or object is none. */
const cJSON *pod_item(const cJSON *object, const char *key);
/* "" if it is absent or no string. */
const char *pod_string(const cJSON *object, const char *key);
/* 1 to max letters, digits and characters of `more`. */
bool pod_is_word(const char *s, size_t max, const char *more);
bool pod_is_name(const char *s);

#endif
