// SPDX-License-Identifier: Apache-2.0
/*
 * Answers of the Kubernetes API, cut into objects; see kube_scan.h.
 *
 * A scanner, not a parser: it follows strings and brackets, enough to find where an object ends whatever stands in it.
 * Whether the object itself is JSON is for whoever parses it.
 */
#include "kube_scan.h"

#include <errno.h>
#include <string.h>

#include "util.h"

#define SCAN_KEEP (64u << 10) /* a larger buffer is not kept for the next answer */

static const char *const key_words[] = {
	[KUBE_KEY_OTHER] = NULL,
	[KUBE_KEY_TYPE] = "type",
	[KUBE_KEY_OBJECT] = "object",
	[KUBE_KEY_METADATA] = "metadata",
	[KUBE_KEY_ITEMS] = "items",
	[KUBE_KEY_NAME] = "name",
	[KUBE_KEY_NAMESPACE] = "namespace",
	[KUBE_KEY_UID] = "uid",
	[KUBE_KEY_VERSION] = "resourceVersion",
	[KUBE_KEY_CONTINUE] = "continue",
};
_Static_assert(ARRAY_SIZE(key_words) == KUBE_KEY_MAX, "a word for every key");

void kube_scan_start(struct kube_scan *s, enum kube_scan_form form, kube_scan_sink *sink,
		     void *data)
{
	struct text object = s->object, token = s->token;

	if (object.capacity > SCAN_KEEP)
		text_done(&object);
	object.size = token.size = 0;
	object.error = token.error = 0;
	object.max = KUBE_OBJECT_MAX + 1;
	token.max = KUBE_CONTINUE_MAX + 1;
	*s = (struct kube_scan){
		.form = form, .sink = sink, .data = data, .object = object, .token = token};
}

void kube_scan_done(struct kube_scan *s)
{
	text_done(&s->object);
	text_done(&s->token);
	*s = (struct kube_scan){0};
}

/* ---- strings of interest ---- */

static enum kube_key key_of(const struct text *token)
{
	for (enum kube_key k = KUBE_KEY_OTHER + 1; k < KUBE_KEY_MAX; k++) {
		if (strlen(key_words[k]) == token->size &&
		    memcmp(key_words[k], token->data, token->size) == 0)
			return k;
	}
	return KUBE_KEY_OTHER;
}

/* The level on which objects stand: below it are their own keys. */
static size_t object_level(const struct kube_scan *s)
{
	return s->form == KUBE_SCAN_WATCH ? 1 : 2;
}

/* Is this level within an object, or where its value begins? */
static bool at_object(const struct kube_scan *s)
{
	return s->keys[1] == (s->form == KUBE_SCAN_WATCH ? KUBE_KEY_OBJECT : KUBE_KEY_ITEMS);
}

static bool is_of_interest(const struct kube_scan *s)
{
	return s->depth >= 1 && s->depth <= KUBE_SCAN_LEVELS;
}

static void keep(const struct text *token, char *to, size_t size, bool *bad)
{
	/* Names and versions need no escapes: one that has any is none of ours. */
	if (token->error || token->size >= size ||
	    (token->size && memchr(token->data, '\\', token->size))) {
		*bad = true;
		return;
	}
	if (token->size)
		memcpy(to, token->data, token->size);
	to[token->size] = '\0';
}

static void keep_of_object(struct kube_scan *s)
{
	struct kube_fields *f = &s->fields;

	switch (s->keys[s->depth]) {
	case KUBE_KEY_NAME:
		keep(&s->token, f->name, sizeof(f->name), &f->bad);
		break;
	case KUBE_KEY_NAMESPACE:
		keep(&s->token, f->ns, sizeof(f->ns), &f->bad);
		break;
	case KUBE_KEY_UID:
		keep(&s->token, f->uid, sizeof(f->uid), &f->bad);
		break;
	case KUBE_KEY_VERSION:
		keep(&s->token, f->version, sizeof(f->version), &f->bad);
		break;
	default:
		break;
	}
}

/* A string that was a value: is it one we want? */
static void value_ended(struct kube_scan *s)
{
	size_t level = object_level(s);
	enum kube_key key = s->keys[s->depth];

	if (at_object(s)) {
		if (s->depth == level + 2 && s->keys[level + 1] == KUBE_KEY_METADATA)
			keep_of_object(s);
		return;
	}
	if (s->form == KUBE_SCAN_WATCH) {
		if (s->depth == 1 && key == KUBE_KEY_TYPE)
			keep(&s->token, s->fields.type, sizeof(s->fields.type), &s->fields.bad);
		return;
	}
	if (s->depth != 2 || s->keys[1] != KUBE_KEY_METADATA)
		return;
	if (key == KUBE_KEY_VERSION)
		keep(&s->token, s->version, sizeof(s->version), &s->bad_list);
	else if (key == KUBE_KEY_CONTINUE)
		keep(&s->token, s->next, sizeof(s->next), &s->bad_list);
}

/* The byte behind a string tells what it was. */
static void string_settle(struct kube_scan *s, char next)
{
	s->string_ended = false;
	if (!is_of_interest(s))
		return;
	if (next == ':')
		s->keys[s->depth] = s->token.error ? KUBE_KEY_OTHER : key_of(&s->token);
	else
		value_ended(s);
}

/* ---- objects ---- */

/* \u0000 to \ufffd: a NUL would end the string for all who read it after us. */
static void defuse(char *text, size_t n)
{
	for (char *c = text; (c = memchr(c, '\\', (size_t)(text + n - c))); c += 2) {
		if (text + n - c < 2)
			return;
		if (text + n - c >= 6 && memcmp(c, "\\u0000", 6) == 0)
			memcpy(c + 2, "fffd", 4);
	}
}

static int item_emit(struct kube_scan *s)
{
	struct kube_item item = {.fields = &s->fields, .too_large = s->too_large};
	int r;

	if (s->object.error == -ENOMEM)
		return -ENOMEM;
	if (!s->too_large && s->object.size > 0) {
		defuse(s->object.data, s->object.size);
		item.text = s->object.data;
		item.size = s->object.size;
	}
	r = s->sink(&item, s->data);
	s->fields = (struct kube_fields){0};
	s->too_large = false;
	s->values = 0;
	s->object.size = 0;
	s->object.error = 0;
	return r;
}

/* Bytes of the present object. One that gets too large is forgotten, but followed to its end. */
static void collect(struct kube_scan *s, const char *bytes, size_t n)
{
	if (s->too_large || n == 0)
		return;
	text_add(&s->object, bytes, n);
	s->too_large = s->object.error == -EFBIG || s->values > KUBE_VALUES_MAX ||
		       s->depth > KUBE_DEPTH_MAX;
	if (s->too_large)
		text_done(&s->object);
	s->object.max = KUBE_OBJECT_MAX + 1;
}

static int bracket_open(struct kube_scan *s, char c)
{
	if (s->depth == 0 && (c != '{' || s->complete))
		return -EPROTO;
	/* An array where objects are wanted, or an object in place of the items: not that form. */
	if (s->form == KUBE_SCAN_LIST && s->depth == 1 && at_object(s) && c != '[')
		return -EPROTO;
	if (s->depth == object_level(s) && at_object(s)) {
		if (c != '{')
			return -EPROTO;
		s->collecting = true;
	}
	s->depth++;
	if (is_of_interest(s))
		s->keys[s->depth] = KUBE_KEY_OTHER;
	return 0;
}

static int bracket_close(struct kube_scan *s)
{
	if (s->depth == 0)
		return -EPROTO;
	s->depth--;
	if (s->depth == object_level(s))
		s->collecting = false;
	if (s->depth == 0 && s->form == KUBE_SCAN_LIST)
		s->complete = true;
	return 0;
}

/* ---- bytes ---- */

static void string_start(struct kube_scan *s)
{
	s->in_string = true;
	s->token.size = 0;
	s->token.error = 0;
}

/* The rest of a string, its closing quote included, as far as it is there. Returns its bytes, 0 if it is none. */
static size_t string_feed(struct kube_scan *s, const char *bytes, size_t n)
{
	size_t i = 0;

	while (i < n && s->in_string) {
		unsigned char c = (unsigned char)bytes[i++];

		if (c < 0x20)
			return 0;
		if (s->escaped)
			s->escaped = false;
		else if (c == '\\')
			s->escaped = true;
		else if (c == '"')
			s->in_string = false;
	}
	s->string_ended = !s->in_string;
	if (is_of_interest(s))
		text_add(&s->token, bytes, i - s->string_ended);
	return i;
}

/* Between the items of a list there are commas, and no values but objects. */
static bool between_items(const struct kube_scan *s)
{
	return s->form == KUBE_SCAN_LIST && s->depth == 2 && at_object(s);
}

/* One byte outside of strings. */
static int byte_feed(struct kube_scan *s, char c)
{
	if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
		return 0;
	if (s->string_ended)
		string_settle(s, c);
	switch (c) {
	case '{':
	case '[':
		s->values++;
		return bracket_open(s, c);
	case '}':
	case ']':
		return bracket_close(s);
	case ',':
		s->values++;
		return s->depth == 0 ? -EPROTO : 0;
	case '"':
		string_start(s);
		break;
	default:
		if (c < 0x20 || c > 0x7e)
			return -EPROTO;
	}
	return s->depth == 0 || between_items(s) ? -EPROTO : 0;
}

/* A string's bytes or one other byte. Returns how many, or -errno. */
static ssize_t piece_feed(struct kube_scan *s, const char *bytes, size_t n)
{
	size_t k;
	int r;

	if (!s->in_string) {
		r = byte_feed(s, *bytes);
		return r < 0 ? r : 1;
	}
	k = string_feed(s, bytes, n);
	if (k == 0)
		return -EPROTO;
	return s->token.error == -ENOMEM ? -ENOMEM : (ssize_t)k;
}

int kube_scan_feed(struct kube_scan *s, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n;) {
		bool collecting = s->collecting;
		size_t depth = s->depth;
		ssize_t k = piece_feed(s, bytes + i, n - i);
		int r = 0;

		if (k < 0)
			return (int)k;
		if (collecting || s->collecting)
			collect(s, bytes + i, (size_t)k);
		i += (size_t)k;
		/* An item is passed on as it ends, an event when all of it is there: its type may stand last. */
		if (s->form == KUBE_SCAN_LIST ? collecting && !s->collecting
					      : depth == 1 && s->depth == 0)
			r = item_emit(s);
		if (r < 0)
			return r;
	}
	return 0;
}

int kube_scan_end(const struct kube_scan *s)
{
	if (s->depth > 0 || s->in_string)
		return -EPIPE;
	return s->form == KUBE_SCAN_LIST && !s->complete ? -ENODATA : 0;
}
