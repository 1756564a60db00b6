// SPDX-License-Identifier: Apache-2.0
/*
 * What the text of a YAML scalar means, see yaml_scalar.h.
 *
 * Owns: the core schema's words and numbers. Must not know: libyaml, where the scalar stands.
 */
#include "yaml_scalar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define TAG_PREFIX "tag:yaml.org,2002:"
/* More digits than a double can tell apart; a longer number is somebody's joke. */
#define NUMBER_MAX 64

static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const false_words[] = {"false", "False", "FALSE", NULL};
static const char *const true_words[] = {"true", "True", "TRUE", NULL};
static const char *const odd_words[] = {".nan",  ".NaN",  ".NAN",  ".inf",  ".Inf",
					".INF",  "-.inf", "-.Inf", "-.INF", "+.inf",
					"+.Inf", "+.INF", NULL};

static bool is_one_of(const char *text, const char *const words[])
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static size_t digits(const char *s)
{
	return strspn(s, "0123456789");
}

/* 0o17 and 0x1f; no sign. */
static bool is_based(const char *s)
{
	if (s[0] != '0' || (s[1] != 'o' && s[1] != 'x') || !s[2])
		return false;
	return s[2 + strspn(s + 2, s[1] == 'o' ? "01234567" : "0123456789abcdefABCDEF")] == '\0';
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? and with it every decimal integer */
static bool is_decimal(const char *s)
{
	size_t whole, fraction = 0;

	s += *s == '-' || *s == '+';
	whole = digits(s);
	s += whole;
	if (*s == '.') {
		fraction = digits(++s);
		s += fraction;
	}
	if (whole + fraction == 0)
		return false;
	if (*s == 'e' || *s == 'E') {
		s++;
		s += *s == '-' || *s == '+';
		if (digits(s) == 0)
			return false;
		s += digits(s);
	}
	return *s == '\0';
}

/* The locale is "C": nothing in this program sets another one. */
static double number_value(const char *text)
{
	if (text[0] == '0' && text[1] == 'o')
		return (double)strtoull(text + 2, NULL, 8);
	if (is_based(text))
		return (double)strtoull(text + 2, NULL, 16);
	return strtod(text, NULL);
}

static cJSON *make_number(const char *text, const char **ret_why)
{
	double value;

	if (strlen(text) > NUMBER_MAX) {
		*ret_why = "a number with too many digits";
		return NULL;
	}
	value = number_value(text);
	if (value - value != 0) {
		*ret_why = "a number too large for JSON";
		return NULL;
	}
	return cJSON_CreateNumber(value);
}

/* NULL: no memory, or *ret_why is set. */
static cJSON *make_plain(const char *text, const char **ret_why)
{
	if (is_one_of(text, null_words))
		return cJSON_CreateNull();
	if (is_one_of(text, true_words) || is_one_of(text, false_words))
		return cJSON_CreateBool(is_one_of(text, true_words));
	if (is_one_of(text, odd_words)) {
		*ret_why = "a number that JSON does not have";
		return NULL;
	}
	if (is_based(text) || is_decimal(text))
		return make_number(text, ret_why);
	return cJSON_CreateString(text);
}

/* The type the tag asks for must be the one the text has; !!float takes an integer, too. */
static bool fits_tag(const char *tag, const char *text, const cJSON *value)
{
	if (strcmp(tag, TAG_PREFIX "null") == 0)
		return cJSON_IsNull(value);
	if (strcmp(tag, TAG_PREFIX "bool") == 0)
		return cJSON_IsBool(value);
	if (strcmp(tag, TAG_PREFIX "int") == 0)
		return cJSON_IsNumber(value) && (is_based(text) || !strpbrk(text, ".eE"));
	return strcmp(tag, TAG_PREFIX "float") == 0 && cJSON_IsNumber(value);
}

int yaml_scalar_value(const char *text, size_t length, const char *tag, bool plain, cJSON **ret,
		      const char **ret_why)
{
	const char *why = NULL;
	cJSON *value = NULL;
	bool string = tag ? !strcmp(tag, "!") || !strcmp(tag, TAG_PREFIX "str") : !plain;

	if (strlen(text) != length)
		why = "a text has a zero byte";
	else if (string)
		value = cJSON_CreateString(text);
	else
		value = make_plain(text, &why);
	if (!why && !value)
		return -ENOMEM;
	if (!why && tag && !string && !fits_tag(tag, text, value))
		why = "a tag does not fit the value";
	if (why) {
		cJSON_Delete(value);
		*ret_why = why;
		return -EINVAL;
	}
	*ret = value;
	return 0;
}
