/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kube.c (the server, the loop), kube_watch.c (one collection's requests) and kube_object.c (what comes out of
 * their answers) share.
 */
#ifndef KUBE_WORK_H
#define KUBE_WORK_H

#include "fetch.h"
#include "kube.h"
#include "kube_scan.h"

#define KUBE_LIMIT     500  /* objects in one page of a list */
#define KUBE_PAGES_MAX 1024 /* of one list */
#define KUBE_REPLY_MAX 1024 /* bytes read of an answer that is an error */

struct kube {
	char *url, *token_file, *ca_file;
	struct kube_timing timing;
	struct fetcher *fetcher;
	struct kube_watch *watches;
	uint64_t random;
};

enum kube_phase { KUBE_WAITING, KUBE_LISTING, KUBE_WATCHING };

struct kube_watch {
	struct kube *kube;
	struct kube_watch *next;
	char *path, *selector;
	const struct kube_sink *sink;
	void *data;

	struct fetch *fetch;
	enum kube_phase phase;
	uint64_t due_ms;   /* waiting: to begin; else: when it has taken too long */
	uint64_t began_ms; /* the present request */
	bool head;         /* its answer has begun */
	uint64_t bytes, bytes_goal;
	uint64_t events_before; /* status.events when it began */
	unsigned int watch_ms;  /* how long the server was asked to go on */

	bool relist; /* the next request is a list */
	bool first;  /* no list was tried yet: the server may answer from what it has at hand */
	unsigned int pages;
	char version[KUBE_VERSION_MAX + 1];
	char page[KUBE_CONTINUE_MAX + 1]; /* token for the next page; "" for the first */

	unsigned int failures;   /* in a row */
	enum kube_error stopped; /* why the present answer is not read on */
	char stop_text[KUBE_ERROR_TEXT_MAX + 1];
	struct kube_scan scan;
	struct kube_index index;
	struct kube_status status;
	size_t reply_size;
	char reply[KUBE_REPLY_MAX];
};

uint64_t kube_now_ms(void);
/* From 0 to max. */
uint64_t kube_random(struct kube *k, uint64_t max);
/* "Authorization: Bearer ...", owned by the caller; NULL without a token file. -ENOENT and others: it cannot be read. */
int kube_authorization(const struct kube *k, char **ret_header);

int kube_watch_new(struct kube *k, const char *path, const char *selector,
		   const struct kube_sink *sink, void *data, struct kube_watch **ret);
void kube_watch_free(struct kube_watch *w);
void kube_watch_run(struct kube_watch *w, uint64_t now);

/* Count an error and remember what was said about it. */
void kube_note(struct kube_watch *w, enum kube_error reason, const char *why);
/* For what is found while an answer is read: it is not read on, and its end is this failure. Returns -ECANCELED. */
int kube_stop(struct kube_watch *w, enum kube_error reason, const char *why);
/* What a Status object says, or else its text; returns its code, or 0. */
long kube_status_read(const char *text, size_t size, char ret_why[KUBE_ERROR_TEXT_MAX + 1]);
/* The kube_scan_sink of a watch. Negative: kube_stop() was called, or -ENOMEM. */
int kube_on_item(const struct kube_item *item, void *data);
/* What has vanished, for kube_index_sweep(). */
void kube_on_gone(const struct kube_id *id, void *data);

#endif
