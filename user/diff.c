// SPDX-License-Identifier: Apache-2.0
/*
 * Two texts as a unified diff; see diff.h.
 *
 * Owns: the longest common subsequence of lines, hunks. Must not know: what the lines mean.
 */
#include "diff.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "util.h"

#define CONTEXT 3

struct line {
	const char *text;
	size_t size; /* with its newline */
};

struct side {
	struct line *lines;
	size_t n;
};

/* One line of the result: kept (' '), gone ('-') or new ('+'). */
struct edit {
	char sign;
	const struct line *line;
};

struct edits {
	struct edit *items;
	size_t n;
};

static int side_split(const char *text, struct side *ret)
{
	size_t n = 0;

	for (const char *c = text; *c; c++)
		n += *c == '\n';
	ret->lines = calloc(MAX(n, 1u), sizeof(*ret->lines));
	if (!ret->lines)
		return -ENOMEM;
	while (*text && ret->n < n) {
		size_t size = strcspn(text, "\n") + 1;

		ret->lines[ret->n++] = (struct line){text, size};
		text += size;
	}
	return 0;
}

static bool line_equal(const struct line *a, const struct line *b)
{
	return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

static void edits_add(struct edits *edits, char sign, const struct line *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		edits->items[edits->n++] = (struct edit){sign, &lines[i]};
}

/* cells[i * (b->n + 1) + j]: how many lines a from i on and b from j on have in common, in order. */
static void fill_cells(const struct side *a, const struct side *b, uint32_t *cells)
{
	size_t width = b->n + 1;

	for (size_t i = a->n; i-- > 0;) {
		for (size_t j = b->n; j-- > 0;) {
			uint32_t *cell = &cells[i * width + j];

			*cell = line_equal(&a->lines[i], &b->lines[j]) ? cell[width + 1] + 1
								       : MAX(cell[width], cell[1]);
		}
	}
}

/* The middle, where both sides differ at both ends. */
static int edits_middle(const struct side *a, const struct side *b, struct edits *edits)
{
	_cleanup_free_ uint32_t *cells = NULL;
	size_t width = b->n + 1, i = 0, j = 0;

	if (a->n && b->n && (a->n + 1) <= DIFF_CELLS_MAX / width) {
		cells = calloc((a->n + 1) * width, sizeof(*cells));
		if (!cells)
			return -ENOMEM;
		fill_cells(a, b, cells);
	}
	while (cells && i < a->n && j < b->n) {
		if (line_equal(&a->lines[i], &b->lines[j])) {
			edits_add(edits, ' ', &a->lines[i++], 1);
			j++;
		} else if (cells[(i + 1) * width + j] >= cells[i * width + j + 1]) {
			edits_add(edits, '-', &a->lines[i++], 1);
		} else {
			edits_add(edits, '+', &b->lines[j++], 1);
		}
	}
	edits_add(edits, '-', a->lines + i, a->n - i);
	edits_add(edits, '+', b->lines + j, b->n - j);
	return 0;
}

static int edits_make(const struct side *a, const struct side *b, struct edits *ret)
{
	size_t head = 0, tail = 0, shorter = MIN(a->n, b->n);
	struct side middle_a, middle_b;
	int r;

	ret->items = calloc(MAX(a->n + b->n, 1u), sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	while (head < shorter && line_equal(&a->lines[head], &b->lines[head]))
		head++;
	while (tail < shorter - head &&
	       line_equal(&a->lines[a->n - tail - 1], &b->lines[b->n - tail - 1]))
		tail++;
	edits_add(ret, ' ', a->lines, head);
	middle_a = (struct side){a->lines + head, a->n - head - tail};
	middle_b = (struct side){b->lines + head, b->n - head - tail};
	r = edits_middle(&middle_a, &middle_b, ret);
	edits_add(ret, ' ', a->lines + a->n - tail, tail);
	return r;
}

/* Hunks */

/* " -3,7" or " +3": where a hunk begins and how long it is. Behind nothing it begins at line 0. */
static void print_range(struct text *out, char sign, size_t start, size_t n)
{
	text_add_char(out, ' ');
	text_add_char(out, sign);
	text_add_u64(out, n ? start + 1 : start);
	if (n == 1)
		return;
	text_add_char(out, ',');
	text_add_u64(out, n);
}

/* edits[begin..end) are one hunk; a and b: lines of each side before it, moved behind it. */
static void print_hunk(struct text *out, const struct edits *edits, size_t begin, size_t end,
		       size_t *a, size_t *b)
{
	size_t n_a = 0, n_b = 0;

	for (size_t i = begin; i < end; i++) {
		n_a += edits->items[i].sign != '+';
		n_b += edits->items[i].sign != '-';
	}
	text_puts(out, "@@");
	print_range(out, '-', *a, n_a);
	print_range(out, '+', *b, n_b);
	text_puts(out, " @@\n");
	for (size_t i = begin; i < end; i++) {
		text_add_char(out, edits->items[i].sign);
		text_add(out, edits->items[i].line->text, edits->items[i].line->size);
	}
	*a += n_a;
	*b += n_b;
}

/* The first line from i on that is not kept, or the end. */
static size_t next_change(const struct edits *edits, size_t i)
{
	while (i < edits->n && edits->items[i].sign == ' ')
		i++;
	return i;
}

/* Behind the last line of the hunk that has a change at i. */
static size_t hunk_end(const struct edits *edits, size_t i)
{
	size_t next;

	for (;; i = next) {
		while (i < edits->n && edits->items[i].sign != ' ')
			i++;
		next = next_change(edits, i);
		if (next == edits->n || next - i > 2 * CONTEXT)
			return MIN(i + CONTEXT, edits->n);
	}
}

static void print_hunks(struct text *out, const struct edits *edits)
{
	size_t done = 0, a = 0, b = 0;

	for (size_t i = next_change(edits, 0); i < edits->n; i = next_change(edits, done)) {
		size_t begin = i - MIN(i - done, (size_t)CONTEXT);
		size_t end = hunk_end(edits, i);

		a += begin - done;
		b += begin - done;
		print_hunk(out, edits, begin, end, &a, &b);
		done = end;
	}
}

int diff_unified(const char *from_name, const char *from, const char *to_name, const char *to,
		 struct text *out)
{
	struct side a = {0}, b = {0};
	struct edits edits = {0};
	int r = 0;

	if (strcmp(from, to) == 0)
		return 0;
	r = side_split(from, &a);
	if (!r)
		r = side_split(to, &b);
	if (!r)
		r = edits_make(&a, &b, &edits);
	if (!r) {
		text_puts(out, "--- ");
		text_puts(out, from_name ? from_name : "/dev/null");
		text_puts(out, "\n+++ ");
		text_puts(out, to_name ? to_name : "/dev/null");
		text_add_char(out, '\n');
		print_hunks(out, &edits);
	}
	free(a.lines);
	free(b.lines);
	free(edits.items);
	return r;
}
