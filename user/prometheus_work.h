/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind prometheus.h share: getting an answer (prometheus_get.c), reading it (prometheus_answer.c), who
 * reported (prometheus_agents.c), rows from series (prometheus_rows.c), destinations from rows (prometheus_fold.c),
 * and the pages to ask in (prometheus_pages.c). prometheus.c puts them together.
 */
#ifndef PROMETHEUS_WORK_H
#define PROMETHEUS_WORK_H

#include "fetch.h"
#include "prometheus.h"
#include "text.h"
#include "util.h"

/* ---- one answer ---- */

#define PROMETHEUS_ANSWER_MAX (32u << 20) /* bytes: about 60,000 series */
#define PROMETHEUS_LABELS_MAX 128         /* of one series */
#define PROMETHEUS_NOTES_MAX  20          /* warnings of one answer that are passed on */

struct prometheus_series {
	/* Sorted by name. Valid UTF-8 of any length. */
	struct prometheus_label {
		const char *name, *value;
	} labels[PROMETHEUS_LABELS_MAX];
	size_t n_labels;
	double value; /* may be NaN or infinite */
};

/* "" where there is none, as in PromQL. */
const char *prometheus_label(const struct prometheus_series *s, const char *name);

/* The value as a count. False: it is none (negative, NaN, infinite). */
bool prometheus_count(const struct prometheus_series *s, uint64_t *ret);

struct prometheus_reader {
	int (*series)(const struct prometheus_series *s, void *data); /* negative: stop with it */
	void (*note)(const char *line, void *data); /* a warning, in printable ASCII; or NULL */
	void *note_data;
	void *data; /* of series() */
};

/*
 * The answer to an instant query: a vector, or a scalar as one series without labels. -EINVAL: not such an answer;
 * -EREMOTEIO: it says what went wrong. *ret_why is a phrase in printable ASCII then (owned, may be NULL).
 */
int prometheus_read(const char *text, size_t size, const struct prometheus_reader *reader,
		    char **ret_why);

/* ---- getting it ---- */

struct prometheus {
	const struct prometheus_options *options;
	struct fetcher *fetcher;
	struct fetch *fetch;
	char *base;                   /* the URL without slashes at its end */
	char *authorization, *tenant; /* headers, or NULL */
	uint64_t deadline_ms;
	double at; /* the moment that is asked about, Unix seconds; 0: the server's now */
	void (*note)(const char *line, void *data);
	void *note_data;
	char *why; /* the first failure, for the user; owned */

	struct text body;
	enum fetch_end end;
	long status;
	bool ended;
};

int prometheus_open(struct prometheus *p); /* from options on. -errno with p->why */
void prometheus_close(struct prometheus *p);

/* Each series of the answer to an instant query of PromQL. -errno with p->why. */
int prometheus_query(struct prometheus *p, const char *promql,
		     int (*series)(const struct prometheus_series *s, void *data), void *data);

/* A phrase for the user, the first one stays. Returns error. */
int prometheus_fail(struct prometheus *p, int error, const char *fmt, ...) _printf_(3, 4);

/* ---- who reported ---- */

#define PROMETHEUS_AGENTS_MAX 8192

/* One agent as Prometheus tells it from others: by the labels that are not the agent's own. */
struct prometheus_agent {
	char *key;
	size_t id;
	char *node; /* NULL: it does not say whose counters it has, nor since when they count */
	uint64_t since_ms, start_ms;
	uint64_t dropped, folded; /* as struct destination_list has them */
	bool superseded;          /* a later one has the same counters */
	bool reported;            /* at least one destination */
};

struct prometheus_agents {
	void *tree;
	struct prometheus_agent **items;
	size_t n;
};

void prometheus_agents_done(struct prometheus_agents *a);
/* The one that a series came from, new if need be. -ENOMEM; -ENOSPC: PROMETHEUS_AGENTS_MAX. */
int prometheus_agents_get(struct prometheus_agents *a, const struct prometheus_series *s,
			  struct prometheus_agent **ret);
/* Sets `superseded`. -ENOMEM */
int prometheus_agents_judge(struct prometheus_agents *a);

/* ---- rows ---- */

/* What the label request_protocol tells apart. */
enum prometheus_kind {
	PROMETHEUS_TCP,
	PROMETHEUS_HTTP,
	PROMETHEUS_QUIC,
	PROMETHEUS_UDP,
	PROMETHEUS_KIND_MAX,
};

/* One destination as one agent reported it. */
struct prometheus_row {
	struct prometheus_agent *agent;
	enum prometheus_kind kind;
	bool current; /* reported at the end of the range; else earlier */
	bool tls;
	bool taken; /* a sum that something was taken out of */
	struct destination d;
};

struct prometheus_rows {
	struct prometheus_row *items;
	size_t n, capacity;
	uint64_t unreadable; /* series whose labels or value make no sense */
	uint64_t orphans;    /* counters of a destination that nothing is known about */
};

void prometheus_rows_done(struct prometheus_rows *rows);

/* A series of egress_destination_info. All of them come first, then prometheus_rows_sort(). -ENOMEM, -ENOSPC */
int prometheus_rows_info(struct prometheus_rows *rows, struct prometheus_agents *agents,
			 const struct prometheus_series *s);
int prometheus_rows_sort(struct prometheus_rows *rows);

#define PROMETHEUS_FAMILIES 9
extern const char *const prometheus_families[PROMETHEUS_FAMILIES];

/*
 * The row of the probe's agent, kind, source, host and port, or NULL. For connections of HTTP, which are labelled tcp:
 * where there is no row of that kind, the one of HTTP (and the probe's kind is that).
 */
struct prometheus_row *prometheus_rows_find(const struct prometheus_rows *rows,
					    struct prometheus_row *probe);

/* A series of prometheus_families[family]. */
int prometheus_rows_count(struct prometheus_rows *rows, struct prometheus_agents *agents,
			  size_t family, const struct prometheus_series *s);

/* The rows as a normalised list, which takes what they own. */
int prometheus_rows_list(struct prometheus_rows *rows, struct destination_list *ret);

/* ---- pages ---- */

#define PROMETHEUS_PAGE_SERIES 5000 /* of one family in one answer, if one workload has not more */
#define PROMETHEUS_PAGE_TEXT   4000 /* bytes of label matchers, before they are escaped for a URL */

/* How many series a workload has. */
struct prometheus_weight {
	char *ns, *workload;
	uint64_t series;
};

struct prometheus_plan {
	struct prometheus_weight *weights;
	size_t n, capacity;
};

void prometheus_plan_done(struct prometheus_plan *plan);
/* Of a workload that was added before: more. */
int prometheus_plan_add(struct prometheus_plan *plan, const char *ns, const char *workload,
			uint64_t series);
void prometheus_plan_sort(struct prometheus_plan *plan);
/*
 * Label matchers for the workloads from *at on that make one page, *at behind it; each workload is in one page.
 * Needs a sorted plan with something left. -ENOMEM
 */
int prometheus_plan_page(const struct prometheus_plan *plan, size_t *at, char **ret_matchers);

/* NAME="VALUE" with the escapes of PromQL. */
void prometheus_matcher(struct text *t, const char *name, const char *value);

#endif
