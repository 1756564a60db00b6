// SPDX-License-Identifier: Apache-2.0
/*
 * Host names as untrusted input; see name.h. H1 to H9 are the rules of Istio's webhook for hosts
 * (CheckDNS1123Preconditions, ValidateWildcardDomain) as CONTRACT.md section 6 refers to them.
 *
 * Owns: those rules. Must not know: destinations, packets, output formats. Byte by byte, no locale.
 */
#include <arpa/inet.h>
#include <string.h>

#include "name.h"
#include "util.h"

#define NAME_MAX_LEN  253 /* RFC 1035 section 2.3.4: 255 octets on the wire */
#define LABEL_MAX_LEN 63

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || is_upper(c) || is_digit(c) || c == '-' || c == '_';
}

static bool is_ip(const char *name, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr ip;

	if (len >= sizeof(text) || memchr(name, '\0', len))
		return false;
	memcpy(text, name, len);
	text[len] = '\0';
	return inet_pton(AF_INET, text, &ip) == 1 || inet_pton(AF_INET6, text, &ip) == 1;
}

static bool is_host(const char *name, size_t len)
{
	size_t label = 0;

	if (len > NAME_MAX_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '.' && label > 0) {
			label = 0;
			continue;
		}
		if (!is_label_char(name[i]) || ++label > LABEL_MAX_LEN)
			return false;
	}
	return label > 0;
}

enum name_kind name_classify(const char *name, size_t len)
{
	if (len == 0)
		return NAME_INVALID;
	if (is_ip(name, len))
		return NAME_IP;
	return is_host(name, len) ? NAME_HOST : NAME_INVALID;
}

/* Why a ServiceEntry cannot have this label (H2), or NULL. */
static const char *label_fault(const char *label, size_t len)
{
	if (len == 0)
		return "has an empty label";
	if (len > LABEL_MAX_LEN)
		return "has a label longer than 63 bytes";
	for (size_t i = 0; i < len; i++) {
		if (label[i] == '_')
			return "has an underscore";
		if (label[i] == '*')
			return "has a wildcard"; /* H4 to H6: legal there, but no host anybody called */
		if (!is_label_char(label[i]))
			return "has a character that is not legal in a host name";
		/* Istio takes it, but the name of the object is made from it: lower case. */
		if (is_upper(label[i]))
			return "has an upper-case letter";
	}
	if (label[0] == '-' || label[len - 1] == '-')
		return "has a label that begins or ends with a hyphen";
	return NULL;
}

static const char *labels_fault(const char *host)
{
	const char *fault = NULL;

	while (!fault) {
		size_t len = strcspn(host, ".");

		fault = label_fault(host, len);
		if (host[len] == '\0')
			break;
		host += len + 1;
	}
	return fault;
}

/* H3. Istio asks strconv.Atoi, which gives up beyond 64 bits; no top-level domain is any number. */
static bool is_number(const char *label)
{
	return label[strspn(label, "0123456789")] == '\0';
}

static bool has_suffix(const char *host, const char *suffix)
{
	size_t len = strlen(host), n = strlen(suffix);

	return len > n && strcmp(host + len - n, suffix) == 0;
}

/*
 * Names of Kubernetes Services: the registry has them already. The cluster's domain is not known
 * here, so the form decides: SERVICE.NAMESPACE.svc, with or without a domain behind it. One label
 * before ".svc." is no Service, and there are public names like that (media.svc.ms).
 *
 * Other names below .local stay: many companies serve a .local zone by unicast DNS, and what a pod
 * reached there is as external as any other host.
 */
static bool is_cluster_name(const char *host)
{
	const char *p = strchr(host, '.');

	if (has_suffix(host, ".svc") || has_suffix(host, ".cluster.local") ||
	    strcmp(host, "cluster.local") == 0)
		return true;
	if (p)
		p = strchr(p + 1, '.');
	return p && strstr(p, ".svc.");
}

const char *name_unregistrable(const char *host)
{
	const char *fault, *last;

	if (host[0] == '\0')
		return "is empty";
	if (host[0] == '~')
		return "stands for more than one host";
	if (is_ip(host, strlen(host)))
		return "is an IP address";
	if (strlen(host) > NAME_MAX_LEN)
		return "is longer than 253 bytes"; /* stricter than H1: no DNS name is longer */
	if (host[strlen(host) - 1] == '.')
		return "ends in a dot"; /* H8: Istio takes it, but it would be a second entry for the same host */
	fault = labels_fault(host);
	if (fault)
		return fault;
	last = strrchr(host, '.');
	if (strcmp(host, "localhost") == 0 || has_suffix(host, ".localhost"))
		return "is the local host";
	if (is_number(last ? last + 1 : host))
		return "ends in a number";
	if (!last)
		/* A rule for a dot-less host is one for HOST.NAMESPACE.svc, while a ServiceEntry is not. */
		return "is a short name, which Istio takes for a Service of the namespace: no "
		       "DestinationRule or VirtualService would match it";
	return is_cluster_name(host) ? "is a name inside the cluster" : NULL;
}
