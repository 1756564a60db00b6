/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prometheus exposition: the families of CONTRACT.md section 4 from a list of destinations, and the
 * agent's own health, in the text format 0.0.4 and in OpenMetrics 1.0.
 *
 * It is pulled block by block: an exposition of 20,000 destinations is 300 MB, and none of it is kept.
 *
 * Must not know: HTTP, compression, the kernel.
 */
#ifndef METRICS_H
#define METRICS_H

#include "model.h"

/* The agent's own numbers, each exported as egress_agent_<...>. Filled by health.c. */
struct agent_health {
	const char *version;
	uint64_t start_unix_ms;
	struct health_counter {
		const char *family;  /* full name without _total for counters */
		const char *label;   /* label name or NULL */
		const char *value;   /* label value or NULL */
		double count;        /* whole or, for seconds, not; exact up to 2^53 */
		uint64_t created_ms; /* when it was 0, in Unix time; 0: when the agent started */
	} * counters;                /* grouped by family: all lines of a family stand together */
	size_t n_counters;
	struct health_gauge {
		const char *family;
		const char *label;
		const char *value;
		double number;
	} * gauges;
	size_t n_gauges;
	/* help text by family, NULL-family terminated; every family used above must be in it */
	const struct health_help {
		const char *family;
		const char *help;
	} * help;
};

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS, METRICS_FORMAT_MAX };

struct metrics;

/*
 * An exposition of the external destinations of `list` (normalised and judged) and of health. Rows
 * whose labels coincide are summed into one line; families without samples are left out. The list
 * must stay as it is until metrics_free(); health is only read here. -ENOMEM; -EINVAL: a family of
 * health has no help.
 */
int metrics_new(const struct destination_list *list, const struct agent_health *health,
		enum metrics_format format, struct metrics **ret);
void metrics_free(struct metrics *m); /* NULL is fine */

/*
 * The next bytes, at most size (not 0); *ret_n 0: that was all. -ENOMEM, -EFBIG: no more will come,
 * and what came is not whole.
 */
int metrics_read(struct metrics *m, char *buf, size_t size, size_t *ret_n);

#endif
