// SPDX-License-Identifier: Apache-2.0
/*
 * What comes out of the answers of the Kubernetes API: the objects of a list, the events of a watch; see kube.h.
 *
 * Owns: which of them are handed on, and what is known to exist. Must not know: requests, time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json_tree.h"
#include "kube_work.h"
#include "util.h"

static void text_printable(char *to, const char *from)
{
	for (; *from; from++)
		*to++ = (char)(*from < 0x20 || *from > 0x7e ? '?' : *from);
	*to = '\0';
}

void kube_note(struct kube_watch *w, enum kube_error reason, const char *why)
{
	char text[KUBE_ERROR_TEXT_MAX + 1];

	w->status.errors[reason]++;
	snprintf(text, sizeof(text), "%s: %s", w->phase == KUBE_WATCHING ? "watch" : "list", why);
	text_printable(w->status.last_error, text);
}

int kube_stop(struct kube_watch *w, enum kube_error reason, const char *why)
{
	w->stopped = reason;
	snprintf(w->stop_text, sizeof(w->stop_text), "%s", why);
	return -ECANCELED;
}

/* ---- objects ---- */

static void object_forget(struct kube_watch *w, struct kube_entry *e)
{
	w->sink->deleted(&e->id, w->data);
	kube_index_remove(&w->index, e);
}

/* The object's tree. 1: got it; 0: none that could be taken; -ENOMEM. */
static int object_parse(struct kube_watch *w, const struct kube_item *item, cJSON **ret)
{
	const char *why = NULL;
	int r = -EINVAL;

	if (item->too_large) {
		kube_note(w, KUBE_ERROR_TOO_LARGE, "an object is too large");
		return 0;
	}
	if (item->text)
		r = json_tree_parse(item->text, item->size, ret, &why);
	if (r == 0 || r == -ENOMEM)
		return r == 0 ? 1 : r;
	kube_note(w, KUBE_ERROR_INVALID, why ? why : "no object");
	return 0;
}

/* Hand the tree over. A new one is known from here on, unless nobody could take it. */
static int object_deliver(struct kube_watch *w, const struct kube_id *id, struct kube_entry *e,
			  const cJSON *tree)
{
	bool added = !e;
	int r;

	if (added)
		r = kube_index_add(&w->index, id, &e);
	else
		r = 0;
	if (r == -ENOSPC) {
		kube_note(w, KUBE_ERROR_FULL, "too many objects");
		return 0;
	}
	if (r == 0)
		r = w->sink->object(tree, w->data);
	if (r < 0 && added && e)
		kube_index_remove(&w->index, e);
	return r < 0 ? r : 0;
}

static int object_take(struct kube_watch *w, const struct kube_item *item)
{
	const struct kube_fields *f = item->fields;
	const struct kube_id id = {.ns = f->ns, .name = f->name, .uid = f->uid};
	struct kube_entry *e = kube_index_find(&w->index, f->ns, f->name);
	_cleanup_(json_tree_freep) cJSON *tree = NULL;
	int r;

	if (e && strcmp(e->id.uid, f->uid) != 0) {
		object_forget(w, e);
		e = NULL;
	}
	if (e)
		e->round = w->index.round;
	r = object_parse(w, item, &tree);
	return r > 0 ? object_deliver(w, &id, e, tree) : r;
}

static bool has_name(const struct kube_fields *f)
{
	return *f->name && !f->bad;
}

static int on_listed(struct kube_watch *w, const struct kube_item *item)
{
	if (has_name(item->fields))
		return object_take(w, item);
	kube_note(w, KUBE_ERROR_INVALID, "an object without a name");
	return 0;
}

/* ---- events ---- */

long kube_status_read(const char *text, size_t size, char ret_why[KUBE_ERROR_TEXT_MAX + 1])
{
	_cleanup_(json_tree_freep) cJSON *tree = NULL;
	const cJSON *message, *code;
	const char *bad = NULL;

	snprintf(ret_why, KUBE_ERROR_TEXT_MAX + 1, "%.*s", (int)MIN(size, KUBE_ERROR_TEXT_MAX),
		 text ? text : "");
	if (!text || json_tree_parse(text, size, &tree, &bad) < 0)
		return 0;
	message = cJSON_GetObjectItemCaseSensitive(tree, "message");
	code = cJSON_GetObjectItemCaseSensitive(tree, "code");
	if (cJSON_IsString(message))
		snprintf(ret_why, KUBE_ERROR_TEXT_MAX + 1, "%s", message->valuestring);
	return cJSON_IsNumber(code) ? code->valueint : 0;
}

static int event_error(struct kube_watch *w, const struct kube_item *item)
{
	char why[KUBE_ERROR_TEXT_MAX + 1];
	long code = kube_status_read(item->text, item->size, why);

	return kube_stop(w, code == 410 ? KUBE_ERROR_GONE : KUBE_ERROR_GARBAGE, why);
}

static int event_apply(struct kube_watch *w, const struct kube_item *item)
{
	const struct kube_fields *f = item->fields;
	struct kube_entry *e;

	if (strcmp(f->type, "BOOKMARK") == 0)
		return 0;
	if (!has_name(f))
		return kube_stop(w, KUBE_ERROR_GARBAGE, "an event without an object");
	if (strcmp(f->type, "DELETED") != 0)
		return object_take(w, item);
	e = kube_index_find(&w->index, f->ns, f->name);
	if (e)
		object_forget(w, e);
	return 0;
}

static int on_watched(struct kube_watch *w, const struct kube_item *item)
{
	static const char *const known[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"};
	const struct kube_fields *f = item->fields;
	size_t i = 0;
	int r;

	if (strcmp(f->type, "ERROR") == 0)
		return event_error(w, item);
	while (i < ARRAY_SIZE(known) && strcmp(f->type, known[i]) != 0)
		i++;
	if (i == ARRAY_SIZE(known) || f->bad)
		return kube_stop(w, KUBE_ERROR_GARBAGE, "an event of no known kind");
	r = event_apply(w, item);
	if (r < 0)
		return r;
	if (*f->version)
		memcpy(w->version, f->version, sizeof(w->version));
	w->failures = 0;
	w->status.events++;
	return 0;
}

int kube_on_item(const struct kube_item *item, void *data)
{
	struct kube_watch *w = data;

	return w->phase == KUBE_WATCHING ? on_watched(w, item) : on_listed(w, item);
}

void kube_on_gone(const struct kube_id *id, void *data)
{
	struct kube_watch *w = data;

	w->sink->deleted(id, w->data);
}
