// SPDX-License-Identifier: Apache-2.0
/*
 * How heads, samples, labels and numbers are spelled in the text format 0.0.4 and in OpenMetrics 1.0; see
 * metrics_work.h. Must not know: which families there are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics_work.h"
#include "util.h"

static const char *const kind_words[] = {
	[KIND_TCP] = "tcp",
	[KIND_HTTP] = "http",
	[KIND_QUIC] = "quic",
	[KIND_UDP] = "udp",
};
_Static_assert(ARRAY_SIZE(kind_words) == KIND_MAX, "a word for every kind");

static const char *const type_words[] = {
	[METRIC_COUNTER] = "counter",
	[METRIC_GAUGE] = "gauge",
	[METRIC_HISTOGRAM] = "histogram",
};
_Static_assert(ARRAY_SIZE(type_words) == METRIC_TYPE_MAX, "a word for every type");

/* ---- heads ---- */

/* OpenMetrics names a family without _total; 0.0.4 knows families only by their samples. */
static void head_line(struct lines *l, const char *what, const struct metric *m)
{
	text_puts(&l->out, what);
	text_puts(&l->out, m->name);
	if (l->format == METRICS_TEXT && m->type == METRIC_COUNTER)
		text_add(&l->out, "_total", 6);
	text_add_char(&l->out, ' ');
}

/* OpenMetrics has quotes escaped here, too; to 0.0.4 a backslash before one would be a backslash. */
static void head_help(struct lines *l, const struct metric *m)
{
	head_line(l, "# HELP ", m);
	for (const char *c = m->help; *c; c++) {
		if (*c == '\n')
			text_add(&l->out, "\\n", 2);
		else if (*c == '\\' || (*c == '"' && l->format == METRICS_OPENMETRICS))
			text_add_char(&l->out, '\\');
		if (*c != '\n')
			text_add_char(&l->out, *c);
	}
	text_add_char(&l->out, '\n');
}

/* A unit must be the end of the name, so the name has it. */
static void head_unit(struct lines *l, const struct metric *m)
{
	static const char *const units[] = {"seconds", "bytes"};
	const char *last = strrchr(m->name, '_');

	for (size_t i = 0; last && i < ARRAY_SIZE(units); i++) {
		if (strcmp(last + 1, units[i]) != 0)
			continue;
		head_line(l, "# UNIT ", m);
		text_puts(&l->out, units[i]);
		text_add_char(&l->out, '\n');
	}
}

void metrics_head(struct lines *l, const struct metric *m)
{
	if (l->format == METRICS_TEXT)
		head_help(l, m);
	head_line(l, "# TYPE ", m);
	text_puts(&l->out, type_words[m->type]);
	text_add_char(&l->out, '\n');
	if (l->format == METRICS_OPENMETRICS) {
		head_unit(l, m);
		head_help(l, m);
	}
	l->headed = true;
}

/* ---- labels ---- */

/* A label's value: backslash, quote and newline escaped; what is not UTF-8 as the text \xHH. */
static void label_value(struct text *t, const char *s)
{
	size_t n = strlen(s), len = 0;

	/* Nearly all values are names and need none of it. */
	while (s[len] > 0x20 && s[len] < 0x7f && s[len] != '"' && s[len] != '\\')
		len++;
	text_add(t, s, len);
	for (s += len, n -= len; n; s += len, n -= len) {
		len = text_utf8_len(s, n);
		if (len == 0) {
			/* The backslash is one of the value, so it is escaped itself. */
			len = 1;
			text_add_char(t, '\\');
			text_add_hex(t, (unsigned char)*s);
		} else if (*s == '\n') {
			text_add(t, "\\n", 2);
		} else {
			if (*s == '"' || *s == '\\')
				text_add_char(t, '\\');
			text_add(t, s, len);
		}
	}
}

static void label(struct text *t, const char *name, const char *value)
{
	text_puts(t, name);
	text_add(t, "=\"", 2);
	label_value(t, value);
	text_add_char(t, '"');
}

void metrics_label_none(struct lines *l)
{
	l->labels.size = 0;
}

void metrics_label(struct lines *l, const char *name, const char *value)
{
	text_add_char(&l->labels, l->labels.size ? ',' : '{');
	label(&l->labels, name, value);
}

void metrics_labels(struct lines *l, const struct destination *d, enum kind kind)
{
	struct text *t = &l->labels;

	t->size = 0;
	label(t, "{reporter", "source");
	label(t, ",source_workload", d->source.workload);
	label(t, ",source_workload_namespace", d->source.ns);
	label(t, ",source_canonical_service", d->source.canonical_service);
	label(t, ",source_canonical_revision", d->source.canonical_revision);
	label(t, ",source_app", d->source.app);
	label(t, ",source_version", d->source.version);
	label(t, ",destination_service", d->host);
	label(t, ",destination_service_name", d->host);
	text_puts(t, ",destination_port=\"");
	text_add_u64(t, d->port);
	text_puts(t, "\",request_protocol=\"");
	text_puts(t, kind_words[kind]);
	text_add_char(t, '"');
}

/* ---- samples ---- */

void metrics_sample(struct lines *l, const struct metric *m, const char *suffix)
{
	if (!l->headed)
		metrics_head(l, m);
	text_puts(&l->out, m->name);
	text_puts(&l->out, suffix);
	if (l->labels.error && !l->out.error)
		l->out.error = l->labels.error;
	text_add(&l->out, l->labels.data, l->labels.size);
}

static void sample_close(struct lines *l)
{
	if (l->labels.size)
		text_add_char(&l->out, '}');
	text_add_char(&l->out, ' ');
}

void metrics_value(struct lines *l, uint64_t value)
{
	sample_close(l);
	text_add_u64(&l->out, value);
	text_add_char(&l->out, '\n');
}

void metrics_number(struct lines *l, double value)
{
	char buf[40];
	int digits = 15;

	do {
		snprintf(buf, sizeof(buf), "%.*g", digits++, value);
	} while (digits <= 17 && strtod(buf, NULL) != value);
	sample_close(l);
	text_puts(&l->out, buf);
	text_add_char(&l->out, '\n');
}

/* value / 10^digits, exactly and without trailing zeros: 1500000000, 9 is 1.5. */
static void add_decimal(struct text *t, uint64_t value, unsigned int digits)
{
	uint64_t one = 1;

	for (unsigned int i = 0; i < digits; i++)
		one *= 10;
	text_add_u64(t, value / one);
	value %= one;
	if (!value)
		return;
	text_add_char(t, '.');
	for (; value; value %= one) {
		one /= 10;
		text_add_char(t, (char)('0' + value / one));
	}
}

void metrics_created(struct lines *l, const struct metric *m, uint64_t unix_ms)
{
	if (l->format != METRICS_OPENMETRICS || !unix_ms)
		return;
	metrics_sample(l, m, "_created");
	sample_close(l);
	add_decimal(&l->out, unix_ms, 3);
	text_add_char(&l->out, '\n');
}

/*
 * The same spelling in both formats, OpenMetrics' own (1.0, not 1): le is a label, and a bucket must not become
 * another series when a scraper changes its mind about the format.
 */
static void add_bound(struct text *t, const struct times *times, size_t i)
{
	if (i + 1 == times->n) {
		text_add(t, "+Inf", 4);
		return;
	}
	add_decimal(t, times->bounds_us[i], 6);
	if (times->bounds_us[i] % 1000000 == 0)
		text_add(t, ".0", 2);
}

void metrics_histogram(struct lines *l, const struct metric *m, const struct times *t,
		       uint64_t created_ms)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < t->n; i++) {
		sum = model_add(sum, t->counts[i]);
		metrics_sample(l, m, "_bucket");
		text_add(&l->out, ",le=\"", 5);
		add_bound(&l->out, t, i);
		text_add_char(&l->out, '"');
		metrics_value(l, sum);
	}
	metrics_sample(l, m, "_sum");
	sample_close(l);
	add_decimal(&l->out, t->sum_ns, 9);
	text_add_char(&l->out, '\n');
	metrics_sample(l, m, "_count");
	metrics_value(l, sum);
	metrics_created(l, m, created_ms);
}
