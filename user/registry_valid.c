// SPDX-License-Identifier: Apache-2.0
/*
 * Which words istiod's webhook takes (pkg/config/validation): hosts, labels, addresses, protocols, durations.
 *
 * Owns: those rules for single words. Must not know: which field a word stands in. Byte by byte, no locale.
 */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "registry_work.h"
#include "util.h"

#define LABEL_MAX 63

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* [a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?, at most 63: either case, unlike Kubernetes' own labels. */
static bool is_label(const char *label, size_t len)
{
	if (len == 0 || len > LABEL_MAX || !is_alnum(label[0]) || !is_alnum(label[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(label[i]) && label[i] != '-')
			return false;
	return true;
}

bool reg_valid_label(const char *text)
{
	return is_label(text, strlen(text));
}

bool reg_valid_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= NAME_LEN_MAX &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0' &&
	       is_alnum(text[0]) && is_alnum(text[len - 1]);
}

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

/* Labels between dots; the last one may be empty (H8) but not a number (H3), which keeps IPv4 addresses out. */
static bool is_labels(const char *host)
{
	const char *dot;

	for (; (dot = strchr(host, '.')); host = dot + 1)
		if (!is_label(host, (size_t)(dot - host)))
			return false;
	return !*host || (!is_number(host) && reg_valid_label(host));
}

bool reg_valid_fqdn(const char *host)
{
	return *host && strlen(host) <= HOST_MAX && is_labels(host);
}

/* *, LABEL, *LABEL or *-LABEL in front (H4); what follows is a host. */
bool reg_valid_wildcard_host(const char *host)
{
	const char *dot = strchr(host, '.');
	size_t first = dot ? (size_t)(dot - host) : strlen(host);
	const char *label = host;

	if (!*host || strlen(host) > HOST_MAX || first > LABEL_MAX)
		return false;
	if (*label == '*') {
		label++;
		label += *label == '-';
		first -= (size_t)(label - host);
	}
	/* "*-" alone is not a label, "*" alone is. */
	if (first == 0 ? label - host != 1 : !is_label(label, first))
		return false;
	return !dot || is_labels(dot + 1);
}

bool reg_valid_address(const char *text, uint8_t ret[16])
{
	return address_parse(text, ret) == 0;
}

static void range_cut(struct address_range *range)
{
	for (size_t bit = range->prefix; bit < 128; bit++)
		range->ip[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

static bool parse_prefix(const char *text, unsigned int max, unsigned int *ret)
{
	unsigned int value = 0;

	/* Go's netip takes no sign and no leading zero. */
	if (!is_number(text) || strlen(text) > 3 || (text[0] == '0' && text[1]))
		return false;
	for (; *text; text++)
		value = value * 10 + (unsigned int)(*text - '0');
	*ret = value;
	return value <= max;
}

bool reg_valid_range(const char *text, struct address_range *ret)
{
	const char *slash = strchr(text, '/');
	struct address_range range = {.prefix = 128};
	char address[INET6_ADDRSTRLEN];
	unsigned int prefix;
	bool v4;

	if (!slash) {
		if (!reg_valid_address(text, range.ip))
			return false;
		*ret = range;
		return true;
	}
	if ((size_t)(slash - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	v4 = !strchr(address, ':');
	if (!reg_valid_address(address, range.ip) ||
	    !parse_prefix(slash + 1, v4 ? 32 : 128, &prefix))
		return false;
	range.prefix = (uint8_t)(prefix + (v4 ? 96 : 0));
	range_cut(&range);
	*ret = range;
	return true;
}

/* Nanoseconds of one unit at the front of s, 0 if there is none. */
static double duration_unit(const char *s, size_t *ret_len)
{
	static const struct {
		const char *word;
		double ns;
	} units[] = {{"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
		     {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		*ret_len = strlen(units[i].word);
		if (strncmp(s, units[i].word, *ret_len) == 0)
			return units[i].ns;
	}
	return 0;
}

/* Go's "1h2m3.5s". Signs are left out: a negative one is not valid here either. */
bool reg_valid_duration(const char *text)
{
	double ns = 0;

	if (!*text)
		return false;
	while (*text) {
		size_t whole = strspn(text, "0123456789"), fraction = 0, unit_len;
		double value = 0, scale = 1, unit;

		for (size_t i = 0; i < whole; i++)
			value = value * 10 + (text[i] - '0');
		text += whole;
		if (*text == '.') {
			fraction = strspn(++text, "0123456789");
			for (size_t i = 0; i < fraction; i++)
				value += (text[i] - '0') * (scale /= 10);
			text += fraction;
		}
		unit = duration_unit(text, &unit_len);
		if (whole + fraction == 0 || unit == 0)
			return false;
		ns += value * unit;
		text += unit_len;
	}
	/* Half a nanosecond of slack for the arithmetic; beyond 300 years Go has no duration. */
	if (ns < 1e6 - 0.5 || ns > 9.2e18)
		return false;
	ns -= 1e6 * (double)(uint64_t)(ns / 1e6 + 0.5e-6);
	return ns < 0.5 && ns > -0.5;
}

bool reg_valid_protocol(const char *word, enum port_class *ret)
{
	static const struct {
		const char *word;
		enum port_class class;
	} protocols[] = {
		{"", PORT_AUTO},           {"http", PORT_HTTP}, {"http2", PORT_HTTP},
		{"http_proxy", PORT_HTTP}, {"grpc", PORT_HTTP}, {"grpc-web", PORT_HTTP},
		{"https", PORT_TLS},       {"tls", PORT_TLS},   {"tcp", PORT_TCP},
		{"mongo", PORT_TCP},       {"redis", PORT_TCP}, {"mysql", PORT_TCP},
		{"udp", PORT_NONE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (strcasecmp(protocols[i].word, word) != 0)
			continue;
		*ret = protocols[i].class;
		return true;
	}
	return false;
}

bool reg_valid_word(const char *word, const char *const words[], size_t *ret)
{
	for (size_t i = 0; words[i]; i++) {
		if (strcmp(words[i], word) != 0)
			continue;
		*ret = i;
		return true;
	}
	return false;
}
