/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind istio.h share: a plan in the making.
 *
 * istio_rows.c judges each row and tells what is left out, istio_fold.c puts hosts together, istio_cluster.c looks at
 * what is there already, istio_object.c and istio_tls.c make one object, istio_lockdown.c a namespace's Sidecar,
 * istio_retired.c finds what nobody calls for any more, istio_note.c words the notes; istio.c puts the plan together.
 * Must not know: the same as istio.h.
 */
#ifndef ISTIO_WORK_H
#define ISTIO_WORK_H

#include "istio.h"
#include "text.h"

/* A note is one line: 20 callers' names in it take 2 KB each when every byte is escaped. */
#define NOTE_MAX (64u << 10)
/* RFC 1123 label: 63 bytes and the NUL. */
#define NAME_BUF 64

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
	char *wildcard; /* *.domain: the object's host, if that is not the row's own; owned */
	const char *ns; /* of the object it belongs to */
	enum verdict verdict;
	enum registry state; /* as the registry has it now, or as the row says */
	bool stray;          /* registered, but by a service that has nothing to do with it */
	bool selected;       /* else it is only looked at */
	bool foldable;       /* its host may go into a wildcard */
	bool done;           /* told of, needs no object */
};

/* Rows of one host (or object) in one namespace: the selected ones first, ascending by port. */
struct group {
	struct row *rows;
	size_t n_selected, n;
};

/* All the work in progress. */
struct plan_work {
	const struct istio_options *options;
	const struct registry_store *store; /* NULL: what is in the cluster is not known */
	const struct destination_list *list;
	struct istio_plan plan;
	struct row *rows;
	size_t n_rows;
	size_t n_internal, n_registered;
};

/* Room for one more item, or NULL. Only this grows the array, by powers of two: n tells when it is full. */
void *istio_array_grow(void *items, size_t n, size_t item_size);
/* Take over what text holds as one more of the strings, or return its error. */
int istio_strings_add(char ***strings, size_t *n, struct text *text);
/* Sort and drop equal ones. Returns how many are left. */
size_t istio_strings_unique(char **strings, size_t n);

/* Notes */

/* Text from outside, cut and printable. */
void istio_text_outside(struct text *text, const char *s);
/* "1 NOUN", "2 NOUNs" */
void istio_text_count(struct text *text, uint64_t n, const char *noun);
/* " on port 80" or " on ports 80, 81 and 7 more". rows: ascending by port. */
void istio_text_ports(struct text *text, const struct row *rows, size_t n);
/* "ServiceEntry shop/api" */
void istio_text_object(struct text *text, const struct registry_object *object);
/* "a, b and 7 more": the workloads of the rows that fit. */
int istio_text_callers(struct text *text, const struct group *group,
		       bool (*fits)(const struct row *row, const void *data), const void *data);

/* Take over what text holds as a note, or return its error. */
int istio_note_add(struct istio_plan *plan, struct text *text);
/* "HOST: " or "HOST in namespace NS: ", the beginning of a note about one object. */
struct text istio_note_begin(const struct plan_work *work, const struct row *row);
int istio_note_object(struct plan_work *work, const struct row *row, const char *rest);
/* The same with an object of the cluster in between: "<before>ServiceEntry shop/api<after>". */
int istio_note_cluster(struct plan_work *work, const struct row *row, const char *before,
		       const struct registry_object *object, const char *after);
/* A note about no host in particular. */
int istio_note_general(struct istio_plan *plan, const char *line);
/* The same: "N destination(s) <rest>"; nothing if there are none. */
int istio_note_count(struct istio_plan *plan, uint64_t n, const char *rest);

/* Rows */

/* Judge all rows of the list that are not internal. work->rows point into it. */
int istio_rows_fill(struct plan_work *work);
void istio_rows_free(struct plan_work *work);
/* Tell what is left out, one note for each host and reason. Changes the order of the rows. */
int istio_note_hosts(struct plan_work *work);

/* The host of the object that the row belongs to. */
const char *istio_row_host(const struct row *row);
bool istio_row_registered(const struct row *row);
/* The same, and meant: nothing is to be generated for it. */
bool istio_row_covered(const struct row *row);
/* Plaintext to port 80 that does not leave over TLS now. */
bool istio_row_is_plain_80(const struct row *row);
/* Whether all selected rows are covered, and none. */
bool istio_group_covered(const struct group *group);
bool istio_group_uncovered(const struct group *group);
/* The client and what it asks for, for the registry; labels is room for what ret points to. */
#define ROW_LABELS_MAX 4
struct registry_query istio_row_query(const struct row *row,
				      struct registry_label labels[ROW_LABELS_MAX]);

/* Wildcards: give the rows of hosts that fold together their wildcard. groups: of one host each. */
int istio_fold(struct plan_work *work, struct group *groups, size_t n);

/* The cluster, as it is for one object. All NULL where nothing is known. */
struct cluster {
	const struct registry_object *ours[ISTIO_KIND_MAX]; /* what the object replaces */
	/* Somebody else's that do not keep it from being made, but keep these documents out */
	const struct registry_object *rule, *route;
	/* What keeps it from being made, and why: "KIND NS/NAME<after>" */
	const struct registry_object *in_the_way;
	const char *after;
	bool has_host; /* it is in the way because it has the host */
};

/* Fill a row's `state` and `stray`. */
void istio_cluster_judge(const struct plan_work *work, struct row *row);
/* With a mesh-wide scope: tell of, and unselect, the rows that an object of their own namespace takes first. */
int istio_cluster_private(struct plan_work *work);
/* Where a host stands before objects are made: its rows' `foldable`, and `wildcard` if one of ours covers it. */
int istio_cluster_settle(struct plan_work *work, struct group *group);
void istio_cluster_look(const struct plan_work *work, const char *ns, const char *host,
			struct cluster *ret);
/* The group gets no object because of cluster->in_the_way. */
int istio_cluster_note(struct plan_work *work, const struct group *group,
		       const struct cluster *cluster);
/* Whether a plaintext request of each of the group's clients to port 80 would leave over TLS already. */
bool istio_cluster_originates(const struct plan_work *work, const struct group *group);
/* Tell which workloads' Sidecars would not import the object; *ret_none: none would. */
int istio_cluster_imports(struct plan_work *work, const struct group *group, bool *ret_none);
/* Whether all of the object's documents are in the cluster as they are. */
int istio_cluster_has(const struct plan_work *work, const struct istio_object *object, bool *ret);

/* The host with hyphens for dots, cut to fit, and a hash. */
void istio_object_name(const char *host, char ret[NAME_BUF]);
/* The object for a group of useful rows. -ENOENT: none, and a note says why. */
int istio_object_make(struct plan_work *work, const struct group *group,
		      const struct cluster *cluster, struct istio_object *object);
void istio_object_free(struct istio_object *object);
/* Take over the object; it is empty then. */
int istio_plan_push(struct istio_plan *plan, struct istio_object *object);
/* Find the port or insert it where it belongs; istio_object_make() has left room for 80 and 443. */
struct istio_port *istio_object_port(struct istio_object *object, uint16_t number);
/* Whether the sidecar is to open TLS, and how. -ENOENT as above. */
int istio_object_originate(struct plan_work *work, const struct group *group,
			   const struct cluster *cluster, struct istio_object *object);
/* Whether TLS could be originated for the group: the host answered TLS on 443, and port 80 has none itself. */
bool istio_tls_possible(const struct group *group);

/* Plan the Sidecars, or refuse. */
int istio_lockdown(struct plan_work *work);

/* plan->retired. */
int istio_retired_add(struct plan_work *work, const struct registry_object *object, const char *why,
		      const char *by);
int istio_retired_find(struct plan_work *work);

#endif
