/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind metrics.h share: rows in groups, and the lines of one exposition.
 *
 * metrics.c goes over the families, metrics_family.c says what they are, metrics_rows.c puts rows together,
 * metrics_write.c knows the two formats' spelling, metrics_health.c the agent's own families. Must not know: the
 * same as metrics.h.
 */
#ifndef METRICS_WORK_H
#define METRICS_WORK_H

#include "metrics.h"
#include "text.h"

/* What the rows of one endpoint are told apart by; the word is the label request_protocol. */
enum kind { KIND_TCP, KIND_HTTP, KIND_QUIC, KIND_UDP, KIND_MAX };

/* One source, host and port. Rows of kind k: begin[k]..begin[k + 1]-1. */
struct endpoint {
	uint32_t begin[KIND_MAX + 1];
};

/* Pointers into a list, sorted by labels, then kind, and grouped. */
struct metrics_rows {
	const struct destination **rows;
	size_t n;
	struct endpoint *endpoints;
	size_t n_endpoints;
};

int metrics_rows_of(const struct destination_list *list, struct metrics_rows *ret); /* -ENOMEM */
void metrics_rows_done(struct metrics_rows *rows);

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_TYPE_MAX };

/* A family's head; name is without _total. */
struct metric {
	const char *name;
	enum metric_type type;
	const char *help;
};

/* Lines as they are made. Errors stick in both texts; metrics_read() reports them. */
struct lines {
	enum metrics_format format;
	struct text out;
	struct text labels; /* of the samples at hand: '{name="value",...' */
	bool headed;        /* the present family's head stands already */
};

void metrics_head(struct lines *l, const struct metric *m);

/* Labels of the samples that follow: a destination's, one more, none. */
void metrics_labels(struct lines *l, const struct destination *d, enum kind kind);
void metrics_label(struct lines *l, const char *name, const char *value);
void metrics_label_none(struct lines *l);

/* 'name_suffix{labels'; the head before it, if it is the family's first line. Then a value ends the line. */
void metrics_sample(struct lines *l, const struct metric *m, const char *suffix);
void metrics_value(struct lines *l, uint64_t value);
void metrics_number(struct lines *l,
		    double value); /* with as few digits as read back as the same */

/* When a counter or histogram was 0: a line of its own, in OpenMetrics. */
void metrics_created(struct lines *l, const struct metric *m, uint64_t unix_ms);

/* A distribution; bounds ascending, in microseconds, one less than there are counts. */
struct times {
	const uint32_t *bounds_us;
	size_t n; /* of counts */
	uint64_t sum_ns;
	uint64_t counts[EA_LONG_BUCKETS]; /* not cumulative */
};
void metrics_histogram(struct lines *l, const struct metric *m, const struct times *t,
		       uint64_t created_ms);

struct family {
	struct metric metric;
	enum kind first, last; /* the rows that have it, by kind */
	enum kind word;        /* request_protocol */
	size_t field;          /* offset of the number in struct destination, where it is one */
	/*
	 * The endpoint's lines number `item`, a few at a time, so that a block stays small however many
	 * an endpoint has. Whether there may be more.
	 */
	bool (*write)(struct lines *l, const struct family *f, const struct metrics_rows *rows,
		      const struct endpoint *e, size_t item);
};

const struct family *metrics_families(size_t *ret_n);

/* All families of the agent's health. -EINVAL: one has no help. */
int metrics_health(struct lines *l, const struct agent_health *health);

#endif
