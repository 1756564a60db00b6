// SPDX-License-Identifier: Apache-2.0
/* ranges.c: no address within a range may lack its first octet's bit, or the programs would call it external. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ranges.h"

static bool has(__u64 octets[2][4], int ipv4, unsigned int octet)
{
	return octets[ipv4][octet / 64] >> octet % 64 & 1;
}

static unsigned int count(__u64 octets[2][4], int ipv4)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < 256; i++)
		n += has(octets, ipv4, i);
	return n;
}

static void test_known(void **state)
{
	static const struct ea_range ranges[] = {
		{104, {[10] = 0xff, [11] = 0xff, 10}},      /* 10.0.0.0/8 */
		{108, {[10] = 0xff, [11] = 0xff, 172, 16}}, /* 172.16.0.0/12 */
		{98, {[10] = 0xff, [11] = 0xff, 192}},      /* 192.0.0.0/2 */
		{7, {0xfc}},
		{128, {[15] = 1}}, /* ::1 */
	};
	__u64 octets[2][4] = {{~0ULL}};

	(void)state;
	ranges_octets(ranges, 5, octets);
	assert_true(has(octets, 1, 10) && has(octets, 1, 172) && has(octets, 1, 192) &&
		    has(octets, 1, 255) && !has(octets, 1, 191));
	assert_int_equal(count(octets, 1), 2 + 64);
	/* ::ffff:0:0/96 is IPv4's, but begins with 0 like ::1: not looked at as IPv6. */
	assert_true(has(octets, 0, 0) && has(octets, 0, 0xfc) && has(octets, 0, 0xfd));
	assert_int_equal(count(octets, 0), 3);
}

/* All of IPv6 holds the mapped IPv4 addresses, too. */
static void test_everything(void **state)
{
	static const struct ea_range all = {0};
	__u64 octets[2][4];

	(void)state;
	ranges_octets(&all, 1, octets);
	assert_int_equal(count(octets, 0) + count(octets, 1), 512);
	ranges_octets(&all, 0, octets);
	assert_int_equal(count(octets, 0) + count(octets, 1), 0);
}

static void test_random(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct ea_range range = {.bits = (__u32)(rand() % 129)};
		__u64 octets[2][4];
		__u8 address[16];
		int ipv4 = rand() % 2;

		for (int b = 0; b < 16; b++)
			range.addr[b] = (__u8)rand();
		if (ipv4) {
			memcpy(range.addr, (__u8[12]){[10] = 0xff, [11] = 0xff}, 12);
			range.bits = 96 + range.bits % 33;
		}
		memcpy(address, range.addr, 16);
		for (__u32 bit = range.bits; bit < 128; bit++)
			if (rand() % 2)
				address[bit / 8] ^= 0x80 >> bit % 8;
		for (__u32 bit = range.bits; bit < 128; bit++)
			range.addr[bit / 8] &= (__u8) ~(0x80 >> bit % 8);
		ranges_octets(&range, 1, octets);
		assert_true(has(octets, ipv4, address[ipv4 ? 12 : 0]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
