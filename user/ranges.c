// SPDX-License-Identifier: Apache-2.0
/* See ranges.h. */
#include <stdbool.h>
#include <string.h>

#include "ranges.h"
#include "util.h"

/* Have they an address in common? */
static bool ranges_meet(const struct ea_range *a, const struct ea_range *b)
{
	__u32 bits = MIN(a->bits, b->bits);

	if (memcmp(a->addr, b->addr, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || (a->addr[bits / 8] ^ b->addr[bits / 8]) >> (8 - bits % 8) == 0;
}

void ranges_octets(const struct ea_range *ranges, size_t n, __u64 ret[2][4])
{
	struct ea_range ipv6 = {.bits = 8},
			ipv4 = {.bits = 104, .addr = {[10] = 0xff, [11] = 0xff}};

	memset(ret, 0, 2 * sizeof(ret[0]));
	for (unsigned int octet = 0; octet < 256; octet++) {
		ipv6.addr[0] = ipv4.addr[12] = (__u8)octet;
		for (size_t i = 0; i < n; i++) {
			if (ranges_meet(&ipv6, &ranges[i]))
				ret[0][octet / 64] |= 1ULL << octet % 64;
			if (ranges_meet(&ipv4, &ranges[i]))
				ret[1][octet / 64] |= 1ULL << octet % 64;
		}
	}
}
