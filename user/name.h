/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host names as untrusted input: what is a legal host for a label, an IP literal, or neither.
 *
 * Owns: the rules of CONTRACT.md section 2 (names) and the ones Istio's webhook adds.
 * Must not know: destinations, packets, output formats.
 */
#ifndef NAME_H
#define NAME_H

#include <stdbool.h>
#include <stddef.h>

enum name_kind {
	NAME_HOST,    /* letters, digits, '-', '_' in labels of 1 to 63, at most 253 */
	NAME_IP,      /* an IPv4 or IPv6 literal (without brackets) */
	NAME_INVALID, /* anything else, empty included */
};

/* name need not be terminated; any byte may occur in it. */
enum name_kind name_classify(const char *name, size_t len);

/*
 * NULL if Istio accepts the host in a ServiceEntry that this tool would generate, else the reason
 * it does not, as a short phrase ("is an IP address", "has an underscore", "is a short name, ...",
 * ...).
 */
const char *name_unregistrable(const char *host);

#endif
