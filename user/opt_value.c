// SPDX-License-Identifier: Apache-2.0
/*
 * Values of options as text, see opt_work.h.
 *
 * Owns: what a number, a duration, a word or a flag looks like. Must not know: where the text comes from.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "opt_work.h"
#include "util.h"

/* Durations beyond ten thousand days are typing errors; the product still fits in 64 bits. */
#define OPT_DURATION_MAX_MS (10000ull * 24 * 3600 * 1000)

/* Digits only: no sign, no space, no base. Advances *text behind them. */
static int opt_parse_digits(const char **text, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	for (; isdigit((unsigned char)**text); (*text)++) {
		value = value * 10 + (uint64_t)(**text - '0');
		if (value > max)
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

static uint32_t opt_uint_max(const struct opt *opt)
{
	uint32_t max = opt->type == OPT_UINT_OFF ? OPT_OFF - 1 : UINT32_MAX;

	return opt->max ? opt->max : max;
}

static int opt_parse_uint(const struct opt *opt, const char *text, union opt_value *ret)
{
	uint32_t max = opt_uint_max(opt);
	uint64_t value = 0;

	if (opt->type == OPT_UINT_OFF && strcmp(text, "off") == 0) {
		ret->number = OPT_OFF;
		return 0;
	}
	if (opt_parse_digits(&text, max, &value) || *text || value < opt->min)
		return -EINVAL;
	ret->number = (uint32_t)value;
	return 0;
}

static int opt_parse_duration(const struct opt *opt, const char *text, union opt_value *ret)
{
	static const struct {
		const char *word;
		uint64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
	uint64_t value = 0;

	if (opt_parse_digits(&text, OPT_DURATION_MAX_MS, &value))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(text, units[i].word) != 0)
			continue;
		if (value > OPT_DURATION_MAX_MS / units[i].ms)
			return -EINVAL;
		/* 0 stands for "not given" there, so nobody may mean something by it. */
		if (!value && opt->type == OPT_OPTIONAL_DURATION)
			return -EINVAL;
		if (value * units[i].ms < opt->min)
			return -EINVAL;
		ret->ms = value * units[i].ms;
		return 0;
	}
	return -EINVAL;
}

int opt_count_choices(const struct opt *opt)
{
	int n = 0;

	while (opt->choices[n])
		n++;
	return n;
}

static int opt_parse_choice(const struct opt *opt, const char *text, union opt_value *ret)
{
	for (int i = 0; opt->choices[i]; i++) {
		if (strcmp(text, opt->choices[i]) == 0) {
			ret->choice = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int opt_parse_flag(const char *text, union opt_value *ret)
{
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return -EINVAL;
	ret->flag = *text == 't';
	return 0;
}

int opt_parse_value(const struct opt *opt, const char *text, union opt_value *ret)
{
	switch (opt->type) {
	case OPT_STRING:
	case OPT_LIST:
		ret->string = text;
		return 0;
	case OPT_UINT:
	case OPT_UINT_OFF:
		return opt_parse_uint(opt, text, ret);
	case OPT_DURATION:
	case OPT_OPTIONAL_DURATION:
		return opt_parse_duration(opt, text, ret);
	case OPT_CHOICE:
		return opt_parse_choice(opt, text, ret);
	case OPT_FLAG:
	case OPT_FLAG_OFF:
		return opt_parse_flag(text, ret);
	}
	return -EINVAL;
}

void opt_put_value(const struct opt *opt, void *target, union opt_value value)
{
	void *at = (char *)target + opt->offset;

	switch (opt->type) {
	case OPT_LIST:
		return;
	case OPT_STRING:
		*(const char **)at = value.string;
		return;
	case OPT_UINT:
	case OPT_UINT_OFF:
		*(uint32_t *)at = value.number;
		return;
	case OPT_DURATION:
	case OPT_OPTIONAL_DURATION:
		*(uint64_t *)at = value.ms;
		return;
	case OPT_CHOICE:
		*(int *)at = value.choice;
		return;
	case OPT_FLAG:
	case OPT_FLAG_OFF:
		*(bool *)at = value.flag == (opt->type == OPT_FLAG);
		return;
	}
}

static const char *opt_format_number(const struct opt *opt, const void *at, char *buf, size_t size)
{
	uint32_t number = *(const uint32_t *)at;

	if (opt->type == OPT_UINT_OFF && number == OPT_OFF)
		return "off";
	snprintf(buf, size, "%u", number);
	return buf;
}

static const char *opt_format_choice(const struct opt *opt, const void *at)
{
	int choice = *(const int *)at;

	/* OPT_ANY has no word. */
	return choice < opt_count_choices(opt) ? opt->choices[choice] : NULL;
}

static const char *opt_format_any(const struct opt *opt, const void *at, char *buf, size_t size)
{
	switch (opt->type) {
	case OPT_STRING:
		return *(const char *const *)at;
	case OPT_UINT:
	case OPT_UINT_OFF:
		return opt_format_number(opt, at, buf, size);
	case OPT_DURATION:
	case OPT_OPTIONAL_DURATION:
		snprintf(buf, size, "%" PRIu64 "ms", *(const uint64_t *)at);
		return buf;
	case OPT_CHOICE:
		return opt_format_choice(opt, at);
	case OPT_FLAG:
	case OPT_FLAG_OFF:
		return *(const bool *)at == (opt->type == OPT_FLAG) ? "true" : "false";
	default:
		return NULL;
	}
}

static bool opt_same_string(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool opt_is_default(const struct opt *opt, const void *at)
{
	union opt_value def = {0};

	if (opt->def && opt->type == OPT_CHOICE && !*opt->def)
		def.choice = opt_count_choices(opt);
	else if (opt->def)
		opt_parse_value(opt, opt->def, &def);
	switch (opt->type) {
	case OPT_STRING:
		return opt_same_string(*(const char *const *)at, def.string);
	case OPT_UINT:
	case OPT_UINT_OFF:
		return *(const uint32_t *)at == def.number;
	case OPT_DURATION:
	case OPT_OPTIONAL_DURATION:
		return *(const uint64_t *)at == def.ms;
	case OPT_CHOICE:
		return *(const int *)at == def.choice;
	case OPT_FLAG:
		return *(const bool *)at == def.flag;
	default:
		return false;
	}
}

const char *opt_format_value(const struct opt *opt, const void *target, char *buf, size_t size)
{
	const void *at = (const char *)target + opt->offset;

	return opt_is_default(opt, at) ? NULL : opt_format_any(opt, at, buf, size);
}

void opt_join_choices(const struct opt *opt, const char *separator, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (int i = 0; opt->choices[i] && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? separator : "",
				      opt->choices[i]);
}

void opt_describe(const struct opt *opt, char *buf, size_t size)
{
	char words[256];

	switch (opt->type) {
	case OPT_UINT:
	case OPT_UINT_OFF:
		snprintf(buf, size, "%sa number from %u to %u",
			 opt->type == OPT_UINT_OFF ? "off or " : "", opt->min, opt_uint_max(opt));
		return;
	case OPT_DURATION:
		snprintf(buf, size, "a duration%s (500ms, 10s, 5m, 24h, 7d)",
			 opt->min ? " above 0" : "");
		return;
	case OPT_OPTIONAL_DURATION:
		snprintf(buf, size, "a duration above 0 (500ms, 10s, 5m)");
		return;
	case OPT_CHOICE:
		opt_join_choices(opt, ", ", words, sizeof(words));
		snprintf(buf, size, "one of %s", words);
		return;
	default:
		snprintf(buf, size, "true or false");
	}
}
