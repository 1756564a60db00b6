// SPDX-License-Identifier: Apache-2.0
/*
 * Values of options as text, see opt_work.h.
 *
 * Owns: what a number, a duration, a word or a flag looks like. Must not know: where the text comes from.
 */
#include <ctype.h>
#include <errno.h>
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

static int opt_parse_uint(const struct opt *opt, const char *text, union opt_value *ret)
{
	uint32_t max = opt->max ? opt->max : UINT32_MAX;
	uint64_t value = 0;

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
		snprintf(buf, size, "a number from %u to %u", opt->min,
			 opt->max ? opt->max : UINT32_MAX);
		return;
	case OPT_DURATION:
		snprintf(buf, size, "a duration (500ms, 10s, 5m, 24h, 7d)");
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
