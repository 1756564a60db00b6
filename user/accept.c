// SPDX-License-Identifier: Apache-2.0
/* What a client accepts; see accept.h. */
#include "accept.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "util.h"

#define ACCEPT_WORD_MAX 64 /* of a name or value; a longer one is none that we know */

/* ---- lexical parts ---- */

static const char *skip_space(const char *s)
{
	return s + strspn(s, " \t");
}

/* RFC 9110 section 5.6.2, and the slash between type and subtype. */
static size_t token_len(const char *s)
{
	return strspn(
		s,
		"!#$%&'*+-.^_`|~/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

/* A token or quoted string into out (cut to what fits, which then matches nothing). NULL: neither. */
static const char *read_word(const char *s, char out[ACCEPT_WORD_MAX])
{
	bool quoted = *s == '"';
	size_t n = 0, len = quoted ? 0 : token_len(s);

	if (!quoted) {
		snprintf(out, ACCEPT_WORD_MAX, "%.*s", (int)MIN(len, (size_t)ACCEPT_WORD_MAX), s);
		return len ? s + len : NULL;
	}
	for (s++; *s && *s != '"'; s++) {
		if (*s == '\\' && s[1])
			s++;
		if (n + 1 < ACCEPT_WORD_MAX)
			out[n++] = *s;
	}
	out[n] = '\0';
	return *s == '"' ? s + 1 : NULL;
}

/* The end of this element of the list: the next comma that is not within quotes. */
static const char *element_end(const char *s)
{
	for (bool quoted = false; *s && (quoted || *s != ','); s++) {
		if (quoted && *s == '\\' && s[1])
			s++;
		else if (*s == '"')
			quoted = !quoted;
	}
	return s;
}

/* RFC 9110 section 12.4.2: 0, 1, or three decimals between them. */
static bool read_quality(const char *s, unsigned int *ret)
{
	unsigned int value, weight = 100;

	if (*s != '0' && *s != '1')
		return false;
	value = *s++ == '1' ? 1000 : 0;
	if (*s == '.')
		s++;
	else if (*s)
		return false;
	for (; *s >= '0' && *s <= '9' && weight; s++, weight /= 10)
		value += (unsigned int)(*s - '0') * weight;
	if (*s || value > 1000)
		return false;
	*ret = value;
	return true;
}

struct parameter {
	char name[ACCEPT_WORD_MAX], value[ACCEPT_WORD_MAX];
};

/* The next ';name=value'. 1: there it is, 0: the element is at its end, -1: it is malformed. */
static int read_parameter(const char **s, const char *end, struct parameter *ret)
{
	const char *p = skip_space(*s);
	bool separated = false;

	/* RFC 9110 section 5.6.6 lets parameters be empty. */
	for (; p < end && *p == ';'; p = skip_space(p + 1))
		separated = true;
	if (p >= end)
		return 0;
	if (!separated || !token_len(p))
		return -1;
	p = read_word(p, ret->name);
	if (!p || *p != '=')
		return -1;
	p = read_word(p + 1, ret->value);
	if (!p)
		return -1;
	*s = p;
	p = skip_space(p);
	return p < end && *p != ';' ? -1 : 1;
}

/* What more specific ranges say counts; of equally specific ones, the highest. */
static void quality_offer(struct accept_quality *q, unsigned int quality, unsigned int rank)
{
	if (rank > q->rank || (rank == q->rank && quality > q->quality))
		*q = (struct accept_quality){.quality = quality, .rank = rank};
}

/* ---- Accept ---- */

static const struct {
	const char *type, *major, *version;
} formats[] = {
	[METRICS_TEXT] = {"text/plain", "text/*", "0.0.4"},
	[METRICS_OPENMETRICS] = {"application/openmetrics-text", "application/*", "1.0.0"},
};
_Static_assert(ARRAY_SIZE(formats) == METRICS_FORMAT_MAX, "a media type for every format");

/* Ranks of ranges; each parameter that matches makes a whole type more specific. */
enum { RANK_NONE, RANK_ANY, RANK_MAJOR, RANK_TYPE };

static unsigned int range_rank(const char *range, enum metrics_format f)
{
	if (strcasecmp(range, formats[f].type) == 0)
		return RANK_TYPE;
	if (strcasecmp(range, formats[f].major) == 0)
		return RANK_MAJOR;
	return strcmp(range, "*/*") == 0 ? RANK_ANY : RANK_NONE;
}

/*
 * All names here are of the kind that needs no escaping, so any scheme of it leaves them as they are. A range with
 * a parameter that we do not have is another representation.
 */
static bool parameter_fits(const struct parameter *p, enum metrics_format f)
{
	if (strcasecmp(p->name, "version") == 0)
		return strcmp(p->value, formats[f].version) == 0;
	if (strcasecmp(p->name, "charset") == 0)
		return strcasecmp(p->value, "utf-8") == 0;
	return strcasecmp(p->name, "escaping") == 0;
}

static void media_element(struct accept_media *a, const char *s, const char *end)
{
	unsigned int ranks[METRICS_FORMAT_MAX], quality = 1000;
	char range[ACCEPT_WORD_MAX];
	struct parameter p;
	int r = -1;

	s = read_word(s, range);
	for (unsigned int f = 0; f < METRICS_FORMAT_MAX; f++)
		ranks[f] = range_rank(range, (enum metrics_format)f);
	while (s && (r = read_parameter(&s, end, &p)) > 0) {
		if (strcasecmp(p.name, "q") == 0) {
			/* What is behind it are extensions of the past. */
			r = read_quality(p.value, &quality) ? 0 : -1;
			break;
		}
		for (unsigned int f = 0; f < METRICS_FORMAT_MAX; f++) {
			bool fits = ranks[f] && parameter_fits(&p, (enum metrics_format)f);

			ranks[f] = fits ? ranks[f] + 1 : RANK_NONE;
		}
	}
	for (unsigned int f = 0; r == 0 && f < METRICS_FORMAT_MAX; f++) {
		if (ranks[f])
			quality_offer(&a->formats[f], quality, ranks[f]);
	}
}

void accept_media_line(struct accept_media *a, const char *line)
{
	while (*line) {
		const char *start = skip_space(line), *end = element_end(start);

		if (token_len(start))
			media_element(a, start, end);
		line = end + (*end == ',');
	}
}

enum metrics_format accept_media_choose(const struct accept_media *a)
{
	const struct accept_quality *text = &a->formats[METRICS_TEXT];
	const struct accept_quality *open = &a->formats[METRICS_OPENMETRICS];

	if (open->quality > text->quality)
		return METRICS_OPENMETRICS;
	return open->quality && open->quality == text->quality && open->rank >= RANK_TYPE
		       ? METRICS_OPENMETRICS
		       : METRICS_TEXT;
}

/* ---- Accept-Encoding ---- */

static void encoding_element(struct accept_encoding *a, const char *s, const char *end)
{
	char coding[ACCEPT_WORD_MAX];
	unsigned int quality = 1000;
	struct parameter p;
	int r;

	s = read_word(s, coding);
	r = s ? read_parameter(&s, end, &p) : -1;
	if (r < 0 || (r > 0 && (strcasecmp(p.name, "q") != 0 || !read_quality(p.value, &quality))))
		return;
	if (strcmp(coding, "*") == 0) {
		quality_offer(&a->gzip, quality, RANK_ANY);
		quality_offer(&a->identity, quality, RANK_ANY);
	} else if (strcasecmp(coding, "gzip") == 0 || strcasecmp(coding, "x-gzip") == 0) {
		quality_offer(&a->gzip, quality, RANK_TYPE);
	} else if (strcasecmp(coding, "identity") == 0) {
		quality_offer(&a->identity, quality, RANK_TYPE);
	}
}

void accept_encoding_line(struct accept_encoding *a, const char *line)
{
	while (*line) {
		const char *start = skip_space(line), *end = element_end(start);

		if (token_len(start))
			encoding_element(a, start, end);
		line = end + (*end == ',');
	}
}

bool accept_encoding_gzip(const struct accept_encoding *a)
{
	return a->gzip.quality && (!a->identity.rank || a->gzip.quality >= a->identity.quality);
}
