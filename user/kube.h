/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collections of the Kubernetes API, listed and then followed, on the caller's epoll loop. Each has its own list and
 * watch; what goes wrong with one is counted, and tried again for ever, ever less often.
 *
 * Owns: when to list and when to watch, versions and continue tokens, back-off, which objects have vanished. Must not
 * know: what an object means. Never logs; the caller looks at the status. It reads only, whatever it is allowed to.
 */
#ifndef KUBE_H
#define KUBE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube_index.h"

/* Where Kubernetes mounts a pod's service account. */
#define KUBE_TOKEN_FILE "/var/run/secrets/kubernetes.io/serviceaccount/token"
#define KUBE_CA_FILE    "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

/* The API server as the environment of a pod names it. -ENOENT: this is not in one; -ENOMEM. */
int kube_url_in_cluster(char **ret_url);

/* How long what may take. 0 is as usual; intervals are jittered. */
struct kube_timing {
	unsigned int connect_ms;
	/* Until an answer begins; for each 4 KiB of a list; of a watch past the end the server was told. */
	unsigned int stall_ms;
	unsigned int watch_s; /* a watch is ended by the server: then the token is read again */
	unsigned int backoff_ms, backoff_max_ms; /* after the first failure in a row; at most */
	unsigned int absent_ms;                  /* after 404 (no such collection) and 403 */
};

#define KUBE_TIMING_DEFAULT                            \
	((struct kube_timing){.connect_ms = 10000,     \
			      .stall_ms = 30000,       \
			      .watch_s = 240,          \
			      .backoff_ms = 500,       \
			      .backoff_max_ms = 60000, \
			      .absent_ms = 60000})

struct kube_options {
	/* https://HOST[:PORT]; http:// only without a token: a proxy on this machine. */
	const char *url;
	const char *token_file; /* read for every request; NULL: no token */
	const char *ca_file;    /* read for every connection; NULL: the system's CAs */
	struct kube_timing timing;
};

struct kube;
struct kube_watch;

/* -EINVAL: not such a URL; -ENOMEM. The strings are copied. */
int kube_new(const struct kube_options *options, struct kube **ret);
void kube_free(struct kube *k); /* with its watches; NULL is fine */

/* For the caller's epoll: poll for input, then call kube_run; and call it when kube_timeout_ms (-1: none) has passed. */
int kube_epoll_fd(const struct kube *k);
int kube_timeout_ms(const struct kube *k);
void kube_run(struct kube *k);

/* Called from kube_run only, and must not call kube_ functions. */
struct kube_sink {
	/*
	 * New, or changed: the caller need not care which. Negative: it could not be taken (-ENOMEM); the whole list
	 * is got again.
	 */
	int (*object)(const cJSON *object, void *data);
	/* It is gone; or one of another uid has its name now, and comes next. */
	void (*deleted)(const struct kube_id *id, void *data);
	/* May be NULL. A list begins (objects come again); it is complete, and what had vanished was deleted. */
	void (*reset)(void *data);
	void (*synced)(void *data);
};

/*
 * Follow path ("/api/v1/pods") from the next kube_run on. field_selector ("spec.nodeName=n1") or NULL. sink is kept
 * by pointer. *ret lives as long as k.
 */
int kube_watch(struct kube *k, const char *path, const char *field_selector,
	       const struct kube_sink *sink, void *data, struct kube_watch **ret);

enum kube_error {
	KUBE_ERROR_CONNECT,
	KUBE_ERROR_TLS,
	KUBE_ERROR_TIMEOUT,
	KUBE_ERROR_CUT,          /* an answer ended in the middle */
	KUBE_ERROR_EMPTY,        /* an answer without anything in it */
	KUBE_ERROR_GARBAGE,      /* not what the API answers */
	KUBE_ERROR_UNAUTHORIZED, /* 401, or no token to read */
	KUBE_ERROR_FORBIDDEN,    /* 403 */
	KUBE_ERROR_ABSENT, /* 404: no such collection; a custom resource that is not installed */
	KUBE_ERROR_GONE,   /* 410, both ways */
	KUBE_ERROR_SERVER, /* 429, 5xx */
	KUBE_ERROR_STATUS, /* any other */
	KUBE_ERROR_MEMORY,
	/* Of one object, which is skipped. What was known of it before stays. */
	KUBE_ERROR_TOO_LARGE,
	KUBE_ERROR_INVALID,
	KUBE_ERROR_FULL, /* KUBE_OBJECTS_MAX */
	KUBE_ERROR_MAX,
};

const char *kube_error_name(enum kube_error e);

#define KUBE_ERROR_TEXT_MAX 255

struct kube_status {
	bool synced;  /* a list was complete once; from then on the collection is followed */
	bool absent;  /* the last answer was 404: there are no such objects */
	bool failing; /* what was tried last failed */
	size_t objects;
	uint64_t lists, watches, events; /* lists that were complete, watches that were begun */
	uint64_t errors[KUBE_ERROR_MAX];
	char last_error[KUBE_ERROR_TEXT_MAX + 1]; /* printable ASCII; "" if there was none yet */
};

void kube_get_status(const struct kube_watch *w, struct kube_status *ret);

#endif
