/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of one answer of the Kubernetes API, as they come in, to objects: the items of a list or the events of a
 * watch, one at a time, so that ten thousand of them take the memory of one.
 *
 * Owns: where an object ends, how large it may be, and what is read of it without a tree (its name, uid and version,
 * so that even one that is skipped is known by name). Must not know: HTTP, what an object means.
 */
#ifndef KUBE_SCAN_H
#define KUBE_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "text.h"

/* Of one object. etcd takes 1.5 MiB, and JSON is somewhat longer. Beyond: the object is skipped. */
#define KUBE_OBJECT_MAX (4u << 20) /* bytes */
#define KUBE_VALUES_MAX (1u << 17) /* JSON values; a tree takes about 100 bytes for each */
#define KUBE_DEPTH_MAX  200u       /* objects and arrays in each other */

#define KUBE_NAME_MAX     253
#define KUBE_UID_MAX      63
#define KUBE_VERSION_MAX  127
#define KUBE_CONTINUE_MAX 2047

enum kube_scan_form {
	KUBE_SCAN_LIST,  /* one {"metadata": {..}, "items": [{..}, ..]} */
	KUBE_SCAN_WATCH, /* {"type": "..", "object": {..}}, any number */
};

/* Strings as they stand in the answer; "" if absent. */
struct kube_fields {
	char type[16];
	char ns[KUBE_NAME_MAX + 1], name[KUBE_NAME_MAX + 1], uid[KUBE_UID_MAX + 1];
	char version[KUBE_VERSION_MAX + 1];
	bool bad; /* one of them has an escape or does not fit */
};

struct kube_item {
	const struct kube_fields *fields; /* type: of a watch's events only */
	/*
	 * The object, JSON (as far as is known), valid during the call. NULL: too large, or there was none. In its
	 * strings \u0000 has become \ufffd, as it would cut them short.
	 */
	const char *text;
	size_t size;
	bool too_large;
};

/* Negative: stop, kube_scan_feed() returns it. */
typedef int kube_scan_sink(const struct kube_item *item, void *data);

enum kube_key {
	KUBE_KEY_OTHER,
	KUBE_KEY_TYPE,
	KUBE_KEY_OBJECT,
	KUBE_KEY_METADATA,
	KUBE_KEY_ITEMS,
	KUBE_KEY_NAME,
	KUBE_KEY_NAMESPACE,
	KUBE_KEY_UID,
	KUBE_KEY_VERSION,
	KUBE_KEY_CONTINUE,
	KUBE_KEY_MAX,
};

#define KUBE_SCAN_LEVELS 4 /* as deep as there is a key of interest */

/* Private to kube_scan.c, but for the two strings of a list's end. */
struct kube_scan {
	enum kube_scan_form form;
	kube_scan_sink *sink;
	void *data;

	char version[KUBE_VERSION_MAX + 1]; /* of the list as a whole */
	char next[KUBE_CONTINUE_MAX + 1];   /* its continue token */
	bool bad_list;                      /* one of the two has an escape or does not fit */

	size_t depth;
	enum kube_key keys[KUBE_SCAN_LEVELS + 1]; /* the one last seen on each level */
	bool in_string, escaped;
	bool string_ended; /* and it is not yet known whether it was a key */
	bool complete;     /* a list's one value */
	bool collecting, too_large;
	size_t values;
	struct kube_fields fields;
	struct text object;
	struct text token; /* the present string on a level of interest */
};

/* For one answer. Memory of an earlier one is used again. */
void kube_scan_start(struct kube_scan *s, enum kube_scan_form form, kube_scan_sink *sink,
		     void *data);
/* -EPROTO: not JSON of that form; -ENOMEM; or what the sink returned. After an error only _start or _done. */
int kube_scan_feed(struct kube_scan *s, const char *bytes, size_t n);
/* Was that all? -ENODATA: a list that is empty, without a byte; -EPIPE: it ends in the middle. */
int kube_scan_end(const struct kube_scan *s);
void kube_scan_done(struct kube_scan *s);

#endif
