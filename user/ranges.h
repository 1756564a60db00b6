/* SPDX-License-Identifier: Apache-2.0 */
/* Address ranges as the programs are told of them. Pure. */
#ifndef RANGES_H
#define RANGES_H

#include <stddef.h>

#include "egress.h"

/*
 * First octets of addresses that are within any of the ranges: bit n of [0] is for IPv6 addresses that begin with octet
 * n, of [1] for IPv4. For struct ea_config: programs look no further where the bit is 0.
 */
void ranges_octets(const struct ea_range *ranges, size_t n, __u64 ret[2][4]);

#endif
