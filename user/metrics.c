// SPDX-License-Identifier: Apache-2.0
/*
 * One exposition, pulled block by block; see metrics.h.
 *
 * Owns: where it stands: family, endpoint, and the item of that. Must not know: HTTP, the kernel, which families
 * there are.
 */
#include <errno.h>
#include <string.h>

#include "metrics_work.h"
#include "util.h"

/* A block is made when the one before it was taken. */
#define METRICS_BLOCK (32u << 10)
/* A block ends with a whole item, at most some 20 lines more. */
#define METRICS_BLOCK_MAX  (2u << 20)
#define METRICS_LABELS_MAX (64u << 10)
#define METRICS_HEALTH_MAX (1u << 20)

struct metrics {
	struct metrics_rows rows;
	struct lines lines;
	size_t family, endpoint, item; /* what comes next */
	struct text health;            /* what comes last, made first: its numbers do not wait */
	bool ended;
	size_t taken; /* of lines.out */
};

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	metrics_rows_done(&m->rows);
	text_done(&m->lines.out);
	text_done(&m->lines.labels);
	text_done(&m->health);
	free(m);
}

static int write_health(struct metrics *m, const struct agent_health *health)
{
	int r;

	m->lines.out = TEXT_INIT(METRICS_HEALTH_MAX);
	r = metrics_health(&m->lines, health);
	if (m->lines.format == METRICS_OPENMETRICS)
		text_puts(&m->lines.out, "# EOF\n");
	m->health = m->lines.out;
	m->lines.out = TEXT_INIT(METRICS_BLOCK_MAX);
	m->lines.headed = false;
	return r < 0 ? r : m->health.error;
}

int metrics_new(const struct destination_list *list, const struct agent_health *health,
		enum metrics_format format, struct metrics **ret)
{
	struct metrics *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->lines.format = format;
	m->lines.labels = TEXT_INIT(METRICS_LABELS_MAX);
	r = write_health(m, health);
	if (r == 0)
		r = metrics_rows_of(list, &m->rows);
	if (r < 0) {
		metrics_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

/* One item more, or on to the next endpoint, or family. */
static void step(struct metrics *m, const struct family *f)
{
	const struct endpoint *e = &m->rows.endpoints[m->endpoint];

	if (m->endpoint == m->rows.n_endpoints) {
		m->family++;
		m->endpoint = 0;
		m->lines.headed = false;
		return;
	}
	if (e->begin[f->first] < e->begin[f->last + 1] &&
	    f->write(&m->lines, f, &m->rows, e, m->item)) {
		m->item++;
		return;
	}
	m->item = 0;
	m->endpoint++;
}

static int refill(struct metrics *m)
{
	size_t n;
	const struct family *families = metrics_families(&n);
	struct text *out = &m->lines.out;

	m->taken = 0;
	out->size = 0;
	while (m->family < n && out->size < METRICS_BLOCK && !out->error)
		step(m, &families[m->family]);
	if (m->family == n && !m->ended && !out->error) {
		text_add(out, m->health.data, m->health.size);
		m->ended = true;
	}
	return out->error;
}

int metrics_read(struct metrics *m, char *buf, size_t size, size_t *ret_n)
{
	int r = 0;

	if (m->taken == m->lines.out.size)
		r = refill(m);
	if (r < 0)
		return r;
	size = MIN(size, m->lines.out.size - m->taken);
	if (size)
		memcpy(buf, m->lines.out.data + m->taken, size);
	m->taken += size;
	*ret_n = size;
	return 0;
}
