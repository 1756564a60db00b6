/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three files behind istio.h share: a plan in the making.
 *
 * istio_rows.c judges each row and tells what is left out, istio_object.c makes one object, istio.c puts the
 * plan together. Must not know: the same as istio.h.
 */
#ifndef ISTIO_WORK_H
#define ISTIO_WORK_H

#include "istio.h"
#include "text.h"

/* A note is one line; a host is at most 253 bytes of it, and 1,012 when every byte is escaped. */
#define NOTE_MAX 4096

/* What one row is good for. Everything from VERDICT_LEFT_OUT on is reported and not used. */
enum verdict {
	VERDICT_TLS,
	VERDICT_HTTP,
	VERDICT_LEFT_OUT,
	VERDICT_NAME = VERDICT_LEFT_OUT,
	VERDICT_NAMESPACE,
	VERDICT_PORT,
	VERDICT_ECH,
	VERDICT_NO_NAME,
	VERDICT_CONNECT,
	VERDICT_HTTP_443,
	VERDICT_HTTP2,
	VERDICT_QUIC,
	VERDICT_TCP,
	VERDICT_UDP,
	VERDICT_MAX,
};

struct row {
	const struct destination *d;
	char *host;     /* lower case, without trailing dot, printable; owned */
	const char *ns; /* of the object it belongs to */
	enum verdict verdict;
};

/* All the work in progress. */
struct plan_work {
	const struct istio_options *options;
	struct istio_plan plan;
	struct row *rows;
	size_t n_rows;
	size_t n_internal, n_registered;
	bool originate; /* some object does */
};

/* Room for one more item, or NULL. Only this grows the array, by powers of two: n tells when it is full. */
void *istio_array_grow(void *items, size_t n, size_t item_size);

/* Sort and drop equal ones. Returns how many are left. */
size_t istio_strings_unique(char **strings, size_t n);

/* Text from outside, cut and printable. */
void istio_text_outside(struct text *text, const char *s);
/* "1 NOUN", "2 NOUNs" */
void istio_text_count(struct text *text, uint64_t n, const char *noun);

/* Take over what text holds as a note, or return its error. */
int istio_note_add(struct istio_plan *plan, struct text *text);
/* "HOST: " or "HOST in namespace NS: ", the beginning of a note about one object. */
struct text istio_note_begin(const struct plan_work *work, const struct row *row);
int istio_note_object(struct plan_work *work, const struct row *row, const char *rest);
/* A note about no host in particular. */
int istio_note_general(struct istio_plan *plan, const char *line);
/* The same: "N destination(s) <rest>"; nothing if there are none. */
int istio_note_count(struct istio_plan *plan, uint64_t n, const char *rest);

/* Judge all rows of the list that are not internal. work->rows point into it. */
int istio_rows_fill(struct plan_work *work, const struct destination_list *list);
void istio_rows_free(struct plan_work *work);
/* Tell what is left out, one note for each host and reason. Changes the order of the rows. */
int istio_note_hosts(struct plan_work *work);

/* The object for rows of one namespace and host, useful ones only, ascending by port. */
int istio_object_make(struct plan_work *work, const struct row *rows, size_t n,
		      struct istio_object *object);
void istio_object_free(struct istio_object *object);

#endif
