// SPDX-License-Identifier: Apache-2.0
/*
 * Destinations as text for people and for cut and awk; see table.h.
 *
 * Owns: one table of columns. Must not know: terminals, where the text goes.
 *
 * All cells are written into one buffer first; then widths are known and fitted, and rows are
 * printed.
 */
#include <errno.h>
#include <string.h>

#include "table.h"
#include "text.h"
#include "util.h"

#define TABLE_TEXT_MAX (256u << 20)
#define TABLE_GAP      2 /* spaces between columns, 1 when it gets tight */

/* What a cell is made from. */
struct cell {
	struct text *out;
	const struct destination *d;
	size_t field; /* offset in struct destination, where one function serves several columns */
	bool raw;     /* for programs, not for people */
};

struct column {
	const char *name;
	void (*write)(const struct cell *c); /* writes nothing when the fact is not known */
	size_t field;
	bool wide_only;
	bool number;        /* right-aligned */
	unsigned int least; /* may be cut to this width; 0: never cut */
	const char *dull;   /* no column of a narrow table where every row says this */
	unsigned int drop;  /* 1: first to go where even that does not fit; 0: stays */
};

static const void *cell_field(const struct cell *c)
{
	return (const char *)c->d + c->field;
}

static void cell_string(const struct cell *c)
{
	text_add_printable(c->out, *(char *const *)cell_field(c));
}

static void cell_count(const struct cell *c)
{
	text_add_u64(c->out, *(const uint64_t *)cell_field(c));
}

static void cell_time(const struct cell *c)
{
	uint64_t unix_ms = *(const uint64_t *)cell_field(c);

	if (unix_ms)
		text_add_time(c->out, unix_ms);
}

/* 1023, 1.2K, 34M: at most five characters, powers of 1024, cut off and not rounded. */
static void cell_size(const struct cell *c)
{
	static const char units[] = "KMGTPE";
	uint64_t v = *(const uint64_t *)cell_field(c), tenths = 0;
	size_t unit = 0;

	if (c->raw) {
		text_add_u64(c->out, v);
		return;
	}
	for (; v >= 1024; v /= 1024, unit++)
		tenths = v % 1024 * 10 / 1024;
	text_add_u64(c->out, v);
	if (unit && v < 10) {
		text_add_char(c->out, '.');
		text_add_u64(c->out, tenths);
	}
	if (unit)
		text_add_char(c->out, units[unit - 1]);
}

static void cell_port(const struct cell *c)
{
	if (c->d->port)
		text_add_u64(c->out, c->d->port);
}

static void cell_protocol(const struct cell *c)
{
	text_puts(c->out, model_protocol_name(c->d->protocol));
}

static void cell_visibility(const struct cell *c)
{
	text_puts(c->out, model_visibility_name(c->d->visibility));
}

static void cell_active(const struct cell *c)
{
	text_add_u64(c->out, destination_active(c->d));
}

/* Requests of what cannot be read are not known, which is not the same as none. */
static void cell_requests(const struct cell *c)
{
	if (c->d->visibility == VISIBILITY_L7)
		text_add_u64(c->out, c->d->requests);
}

static void cell_interception(const struct cell *c)
{
	text_puts(c->out, model_interception_name(c->d->interception));
}

static void cell_registry(const struct cell *c)
{
	text_puts(c->out, model_registry_name(c->d->registry));
}

static void cell_name_source(const struct cell *c)
{
	text_puts(c->out, destination_name_source(c->d));
}

/* A word of a list, with a comma unless it is the first of the cell that began at `start`. */
static void cell_add_word(const struct cell *c, size_t start, const char *word)
{
	if (c->out->size > start)
		text_add_char(c->out, ',');
	text_puts(c->out, word);
}

static void cell_tls(const struct cell *c)
{
	size_t start = c->out->size;

	for (size_t i = 0; i < TLS_VERSION_MAX; i++) {
		if (c->d->tls_versions & 1u << i)
			cell_add_word(c, start, model_tls_version_name((enum tls_version)i));
	}
}

static void cell_alpn(const struct cell *c)
{
	size_t start = c->out->size;

	for (size_t i = 0; i < ALPN_MAX; i++) {
		if (c->d->alpn & 1u << i)
			cell_add_word(c, start, model_alpn_name((enum alpn)i));
	}
}

static void cell_addresses(const struct cell *c)
{
	size_t start = c->out->size;
	char buf[64];

	for (size_t i = 0; i < c->d->n_addresses; i++)
		cell_add_word(c, start, address_format(c->d->addresses[i].ip, buf, sizeof(buf)));
}

static void cell_findings(const struct cell *c)
{
	size_t start = c->out->size;

	for (size_t i = 0; i < FINDING_MAX; i++) {
		if (c->d->findings & 1u << i)
			cell_add_word(c, start, model_finding_name((enum finding)i));
	}
}

static void cell_origination(const struct cell *c)
{
	if (c->d->visibility == VISIBILITY_L7)
		text_puts(c->out, c->d->tls_origination ? "yes" : "no");
}

#define FIELD(name) .field = offsetof(struct destination, name)

/* For tsv the order is a promise: new columns go to the end. */
static const struct column columns[] = {
	{"NAMESPACE", cell_string, FIELD(source.ns), .least = 8, .drop = 6},
	{"WORKLOAD", cell_string, FIELD(source.workload), .least = 8, .drop = 10},
	{"HOST", cell_string, FIELD(host), .least = 20},
	{"PORT", cell_port, .number = true, .drop = 9},
	{"PROTO", cell_protocol, .drop = 2},
	{"VIS", cell_visibility, .drop = 7},
	{"CONNS", cell_count, FIELD(opened), .number = true, .drop = 8},
	{"ACTIVE", cell_active, .number = true, .drop = 1},
	{"SENT", cell_size, FIELD(sent), .number = true, .drop = 4},
	{"RECEIVED", cell_size, FIELD(received), .number = true, .drop = 5},
	{"REQUESTS", cell_requests, .number = true, .drop = 3},
	{"INTERCEPTION", cell_interception, .wide_only = true},
	{"REGISTRY", cell_registry, .drop = 7, .dull = "unknown"},
	{"SOURCE", cell_name_source, .wide_only = true},
	{"TLS", cell_tls, .wide_only = true},
	{"ALPN", cell_alpn, .wide_only = true},
	{"ADDRESSES", cell_addresses, .wide_only = true},
	{"FAILED", cell_count, FIELD(failed), .wide_only = true, .number = true},
	{"FIRST-SEEN", cell_time, FIELD(first_ms), .wide_only = true},
	{"LAST-SEEN", cell_time, FIELD(last_ms), .wide_only = true},
	{"FINDINGS", cell_findings, .wide_only = true},
	{"ORIGINATION", cell_origination, .wide_only = true},
};
#define N_COLUMNS        ARRAY_SIZE(columns)
#define COLUMN_NAMESPACE 0
#define DROP_LAST        10

struct table {
	const struct table_options *options;
	size_t n_rows;
	struct text cells; /* row by row, all columns */
	size_t *ends;      /* where each cell ends there */
	bool shown[N_COLUMNS];
	size_t widest[N_COLUMNS]; /* cell or header */
	size_t width[N_COLUMNS];  /* as printed */
	size_t gap;
	struct text out;
};

static void table_done(struct table *t)
{
	text_done(&t->cells);
	text_done(&t->out);
	free(t->ends);
}

static int table_fill(struct table *t, const struct destination_list *list)
{
	bool raw = t->options->form == TABLE_TSV;
	size_t n = 0;

	t->n_rows = list->n;
	t->ends = calloc(list->n + 1, N_COLUMNS * sizeof(*t->ends));
	if (!t->ends)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++) {
		for (size_t c = 0; c < N_COLUMNS; c++) {
			size_t start = t->cells.size;
			struct cell cell = {&t->cells, &list->items[i], columns[c].field, raw};

			columns[c].write(&cell);
			t->widest[c] = MAX(t->widest[c], t->cells.size - start);
			t->ends[n++] = t->cells.size;
		}
	}
	return t->cells.error;
}

static const char *table_cell(const struct table *t, size_t row, size_t column, size_t *ret_len);

/* Every row says the same, and that is nothing. */
static bool table_is_dull(const struct table *t, size_t column)
{
	const char *dull = columns[column].dull;

	for (size_t row = 0; row < t->n_rows; row++) {
		size_t len;
		const char *s = table_cell(t, row, column, &len);

		if (len != strlen(dull) || memcmp(s, dull, len) != 0)
			return false;
	}
	return true;
}

/* Columns of the form; off Kubernetes no row has a namespace and people need no empty column. */
static void table_choose(struct table *t)
{
	enum table_form form = t->options->form;

	for (size_t c = 0; c < N_COLUMNS; c++)
		t->shown[c] = form != TABLE_NARROW || !columns[c].wide_only;
	if (form != TABLE_TSV && t->widest[COLUMN_NAMESPACE] == 0)
		t->shown[COLUMN_NAMESPACE] = false;
	for (size_t c = 0; c < N_COLUMNS; c++) {
		if (form == TABLE_NARROW && columns[c].dull && table_is_dull(t, c))
			t->shown[c] = false;
		t->widest[c] = MAX(t->widest[c], strlen(columns[c].name));
	}
}

static size_t table_width(const struct table *t)
{
	size_t width = 0;

	for (size_t c = 0; c < N_COLUMNS; c++) {
		if (t->shown[c])
			width += (width ? t->gap : 0) + t->width[c];
	}
	return width;
}

/* Narrow the widest column that may be cut, by one. False if there is none. */
static bool table_shrink(struct table *t)
{
	size_t widest = N_COLUMNS;

	for (size_t c = 0; c < N_COLUMNS; c++) {
		if (!t->shown[c] || !columns[c].least || t->width[c] <= columns[c].least)
			continue;
		if (widest == N_COLUMNS || t->width[c] > t->width[widest])
			widest = c;
	}
	if (widest == N_COLUMNS)
		return false;
	t->width[widest]--;
	return true;
}

/* With the columns now shown: first the gaps shrink, then long names. False if it does not fit. */
static bool table_fits(struct table *t)
{
	size_t limit = t->options->form == TABLE_NARROW ? t->options->width : 0;

	memcpy(t->width, t->widest, sizeof(t->width));
	t->gap = TABLE_GAP;
	if (!limit || table_width(t) <= limit)
		return true;
	t->gap = 1;
	while (table_width(t) > limit) {
		if (!table_shrink(t))
			return false;
	}
	return true;
}

static void table_fit(struct table *t)
{
	for (unsigned int drop = 1; !table_fits(t) && drop <= DROP_LAST; drop++) {
		for (size_t c = 0; c < N_COLUMNS; c++) {
			if (columns[c].drop == drop)
				t->shown[c] = false;
		}
	}
}

static void add_spaces(struct text *t, size_t n)
{
	char *room = text_grow(t, n);

	if (room)
		memset(room, ' ', n);
}

/* At most `width` columns: the middle gives way, the beginning and the domain at the end stay. */
static void table_add_cut(struct table *t, const char *s, size_t len, size_t width)
{
	size_t dots = t->options->utf8 ? 1 : 3, head;

	if (len <= width || width <= dots) {
		text_add(&t->out, s, MIN(len, width));
		return;
	}
	head = (width - dots) / 2;
	text_add(&t->out, s, head);
	text_puts(&t->out, t->options->utf8 ? "…" : "...");
	text_add(&t->out, s + len - (width - dots - head), width - dots - head);
}

static void table_add_cell(struct table *t, size_t column, const char *s, size_t len, bool last)
{
	size_t width = t->width[column], pad = len < width ? width - len : 0;

	if (columns[column].number)
		add_spaces(&t->out, pad);
	table_add_cut(t, s, len, width);
	if (!columns[column].number && !last)
		add_spaces(&t->out, pad);
}

/* row: an index, or n_rows for the header. */
static const char *table_cell(const struct table *t, size_t row, size_t column, size_t *ret_len)
{
	size_t i = row * N_COLUMNS + column, begin = i ? t->ends[i - 1] : 0;

	if (row == t->n_rows) {
		*ret_len = strlen(columns[column].name);
		return columns[column].name;
	}
	*ret_len = t->ends[i] - begin;
	return t->cells.data + begin;
}

static void table_add_row(struct table *t, size_t row)
{
	bool tsv = t->options->form == TABLE_TSV, first = true;
	size_t last = N_COLUMNS - 1, len;

	while (!t->shown[last])
		last--;
	for (size_t c = 0; c < N_COLUMNS; c++) {
		const char *s = table_cell(t, row, c, &len);

		if (!t->shown[c])
			continue;
		if (!first && tsv)
			text_add_char(&t->out, '\t');
		else if (!first)
			add_spaces(&t->out, t->gap);
		first = false;
		if (tsv)
			text_add(&t->out, s, len);
		else
			table_add_cell(t, c, len ? s : "-", len ? len : 1, c == last);
	}
	text_add_char(&t->out, '\n');
}

/* The whole product in one line. */
static void table_add_coverage(struct table *t, const struct destination_list *list)
{
	struct coverage c;

	destination_list_coverage(list, &c);
	/* Without a registry there is nothing to say. */
	if (c.unknown == c.destinations)
		return;
	text_puts(&t->out, "\ncoverage: ");
	text_add_u64(&t->out, c.destinations);
	text_puts(&t->out,
		  c.destinations == 1 ? " external destination" : " external destinations");
	text_puts(&t->out, ", ");
	text_add_u64(&t->out, c.named);
	text_puts(&t->out, " the mesh can name (");
	text_add_u64(&t->out, c.named * 100 / c.destinations);
	text_puts(&t->out, " %), ");
	text_add_u64(&t->out, c.l7);
	text_puts(&t->out, " at L7\n");
}

int table_from_list(const struct destination_list *list, const struct table_options *options,
		    char **ret_text, size_t *ret_size)
{
	_cleanup_(table_done) struct table t = {
		.options = options,
		.cells = TEXT_INIT(TABLE_TEXT_MAX),
		.out = TEXT_INIT(TABLE_TEXT_MAX),
	};
	int r = table_fill(&t, list);

	if (r < 0)
		return r;
	table_choose(&t);
	table_fit(&t);
	table_add_row(&t, t.n_rows);
	for (size_t i = 0; i < t.n_rows; i++)
		table_add_row(&t, i);
	if (options->form != TABLE_TSV && options->coverage)
		table_add_coverage(&t, list);
	return text_take(&t.out, ret_text, ret_size);
}
