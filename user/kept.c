// SPDX-License-Identifier: Apache-2.0
/* See kept.h. */
#include "kept.h"

#include <errno.h>
#include <string.h>

#include "util.h"

/* The text: these strings, then labels as key and value. */
enum {
	FIELD_PATH,
	FIELD_POD_UID,
	FIELD_NAMESPACE,
	FIELD_WORKLOAD,
	FIELD_KIND,
	FIELD_SERVICE,
	FIELD_REVISION,
	FIELD_APP,
	FIELD_VERSION,
	FIELDS,
};

/* What a workload is told by; its labels change with every rollout, the rest belongs to one cgroup. */
#define WORKLOAD_FLAGS \
	(EA_IDENTITY_POD | EA_IDENTITY_SIDECAR | EA_IDENTITY_AMBIENT | EA_IDENTITY_MESHED)

/* ---- pack ---- */

static bool add_text(struct ea_identity *to, const char *text)
{
	size_t n = strlen(text) + 1;

	if (n > sizeof(to->text) - to->size)
		return false;
	memcpy(to->text + to->size, text, n);
	to->size += (uint16_t)n;
	return true;
}

static void add_labels(struct ea_identity *to, const struct identity *who)
{
	for (size_t i = 0; who->pod && i < who->pod->n_labels; i++) {
		uint16_t before = to->size;

		if (to->n_labels == UINT8_MAX || !add_text(to, who->pod->labels[i].key) ||
		    !add_text(to, who->pod->labels[i].value)) {
			to->size = before;
			to->flags |= EA_IDENTITY_CUT;
			return;
		}
		to->n_labels++;
	}
}

static uint8_t flags_of(const struct identity *who, bool workload)
{
	uint8_t flags = who->pod ? EA_IDENTITY_POD : 0;

	flags |= who->pod && who->pod->sidecar ? EA_IDENTITY_SIDECAR : 0;
	flags |= who->pod && who->pod->ambient ? EA_IDENTITY_AMBIENT : 0;
	flags |= who->meshed ? EA_IDENTITY_MESHED : 0;
	flags |= who->labels_cut ? EA_IDENTITY_CUT : 0;
	flags |= !workload && who->sidecar ? EA_IDENTITY_PROXY : 0;
	flags |= !workload && who->may_proxy ? EA_IDENTITY_MAY_PROXY : 0;
	return flags;
}

int kept_pack(const struct identity *who, bool workload, struct ea_identity *ret)
{
	_cleanup_(source_done) struct source source = {0};
	const char *fields[FIELDS];
	bool fits = true;
	int r = identity_source(who, &source);

	if (r)
		return r;
	fields[FIELD_PATH] = workload ? "" : who->name->path;
	fields[FIELD_POD_UID] = source.pod_uid ? source.pod_uid : "";
	fields[FIELD_NAMESPACE] = source.ns;
	fields[FIELD_WORKLOAD] = source.workload;
	fields[FIELD_KIND] = source.workload_kind;
	fields[FIELD_SERVICE] = source.canonical_service;
	fields[FIELD_REVISION] = source.canonical_revision;
	fields[FIELD_APP] = source.app;
	fields[FIELD_VERSION] = source.version;
	*ret = (struct ea_identity){.flags = flags_of(who, workload)};
	for (size_t i = 0; i < FIELDS && fits; i++)
		fits = add_text(ret, fields[i]);
	if (!fits)
		return -ENOSPC;
	add_labels(ret, who);
	return 0;
}

/* ---- unpack ---- */

/* The next string of the text; NULL if there is none. */
static char *next_text(struct kept *k, size_t *at)
{
	char *text = k->text + *at;

	if (*at >= k->size || !memchr(text, 0, k->size - *at))
		return NULL;
	*at += strlen(text) + 1;
	return text;
}

static int unpack_labels(struct kept *k, size_t *at)
{
	if (!k->n_labels)
		return 0;
	k->pod.labels = calloc(k->n_labels, sizeof(*k->pod.labels));
	if (!k->pod.labels)
		return -ENOMEM;
	for (; k->pod.n_labels < k->n_labels; k->pod.n_labels++) {
		struct pod_label *l = &k->pod.labels[k->pod.n_labels];

		l->key = next_text(k, at);
		l->value = next_text(k, at);
		if (!l->key || !l->value)
			return -EINVAL;
	}
	return 0;
}

static void unpack_pod(struct kept *k, char *const fields[FIELDS])
{
	static char empty[] = "";

	k->pod.name = k->pod.uid = empty;
	k->pod.source = (struct source){
		.ns = fields[FIELD_NAMESPACE],
		.workload = fields[FIELD_WORKLOAD],
		.workload_kind = fields[FIELD_KIND],
		.canonical_service = fields[FIELD_SERVICE],
		.canonical_revision = fields[FIELD_REVISION],
		.app = fields[FIELD_APP],
		.version = fields[FIELD_VERSION],
	};
	k->pod.sidecar = k->flags & EA_IDENTITY_SIDECAR;
	k->pod.ambient = k->flags & EA_IDENTITY_AMBIENT;
	k->pod.gone = true;
}

static int unpack_name(struct kept *k, char *const fields[FIELDS])
{
	if (*fields[FIELD_PATH])
		return cgroup_name_from_path(fields[FIELD_PATH], &k->name);
	k->name = (struct cgroup_name){
		.path = fields[FIELD_PATH],
		.workload = fields[FIELD_WORKLOAD],
		.pod = fields[FIELD_PATH],
		.pod_uid = fields[FIELD_POD_UID],
		.container_id = fields[FIELD_PATH],
	};
	return 0;
}

static int unpack(struct kept *k)
{
	char *fields[FIELDS];
	size_t at = 0;
	int r;

	for (size_t i = 0; i < FIELDS; i++) {
		fields[i] = next_text(k, &at);
		if (!fields[i])
			return -EINVAL;
	}
	r = unpack_labels(k, &at);
	if (r)
		return r;
	unpack_pod(k, fields);
	return unpack_name(k, fields);
}

int kept_unpack(uint64_t id, const struct ea_identity *identity, struct kept **ret)
{
	struct kept *k;
	int r;

	if (identity->size > sizeof(identity->text))
		return -EINVAL;
	k = calloc(1, sizeof(*k) + identity->size + 1u);
	if (!k)
		return -ENOMEM;
	k->id = id;
	k->flags = identity->flags;
	k->n_labels = identity->n_labels;
	k->size = identity->size;
	memcpy(k->text, identity->text, identity->size);
	r = unpack(k);
	if (r)
		kept_free(k);
	else
		*ret = k;
	return r;
}

void kept_free(struct kept *k)
{
	if (!k)
		return;
	/* Of a workload it points into the text. */
	if (k->name.path && *k->name.path)
		cgroup_name_done(&k->name);
	free(k->pod.labels);
	free(k);
}

/* ---- compare ---- */

bool kept_is(const struct kept *k, const struct ea_identity *identity)
{
	return k->flags == identity->flags && k->n_labels == identity->n_labels &&
	       k->size == identity->size && memcmp(k->text, identity->text, k->size) == 0;
}

/* Bytes of the text before the labels. */
static size_t fields_size(const char *text, size_t size)
{
	size_t at = 0;

	for (int i = 0; i < FIELDS && at < size; i++)
		at += strnlen(text + at, size - at) + 1;
	return MIN(at, size);
}

bool kept_is_workload(const struct kept *k, const struct ea_identity *identity)
{
	size_t n = fields_size(k->text, k->size);

	return ((k->flags ^ identity->flags) & WORKLOAD_FLAGS) == 0 &&
	       n == fields_size(identity->text, identity->size) &&
	       memcmp(k->text, identity->text, n) == 0;
}

uint64_t kept_hash(const struct ea_identity *identity)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (identity->flags & WORKLOAD_FLAGS);
	size_t n = fields_size(identity->text, identity->size);

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)identity->text[i]) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 32;
}
