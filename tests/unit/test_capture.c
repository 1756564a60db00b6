// SPDX-License-Identifier: Apache-2.0
/* user/capture.c: where the network header is on each link type, and what a broken file says. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "capture.h"

#define IP4 "\x45marker"
#define IP6 "\x60marker"

static char path[] = "/tmp/egress-agent-capture-XXXXXX";

/* A pcap file of one packet, whose header says `announced` bytes. */
static void write_capture(uint32_t link, const void *data, size_t size, uint32_t announced)
{
	uint32_t head[6] = {0xa1b2c3d4, 4u << 16 | 2, 0, 0, 65535, link};
	uint32_t packet[4] = {0, 0, announced, announced};
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(head, sizeof(head), 1, f), 1);
	assert_int_equal(fwrite(packet, sizeof(packet), 1, f), 1);
	assert_int_equal(fwrite(data, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

struct link_case {
	const char *title;
	uint32_t link;
	const char *data;
	size_t size;
	const char *want; /* NULL: skipped */
};

#define BYTES(text) text, sizeof(text) - 1
#define MACS        "\0\0\0\0\0\1\0\0\0\0\0\2"

static const struct link_case link_cases[] = {
	{"Ethernet", 1, BYTES(MACS "\x08\0" IP4), IP4},
	{"Ethernet, IPv6", 1, BYTES(MACS "\x86\xdd" IP6), IP6},
	{"VLAN", 1, BYTES(MACS "\x81\0\0\1\x08\0" IP4), IP4},
	{"QinQ", 1, BYTES(MACS "\x88\xa8\0\1\x81\0\0\2\x86\xdd" IP6), IP6},
	{"ARP", 1, BYTES(MACS "\x08\x06" IP4), NULL},
	{"a tag that ends the packet", 1, BYTES(MACS "\x81\0\0"), NULL},
	{"no packet at all", 1, BYTES(""), NULL},
	{"IP without a byte", 1, BYTES(MACS "\x08\0"), NULL},
	{"not what the type says", 1, BYTES(MACS "\x08\0\x35xx"), NULL},
	{"raw", 101, BYTES(IP4), IP4},
	{"raw IPv4", 228, BYTES(IP4), IP4},
	{"raw IPv6", 229, BYTES(IP6), IP6},
	{"Linux cooked", 113, BYTES("\0\0\0\1\0\6\0\0\0\0\0\0\0\0\x08\0" IP4), IP4},
	{"Linux cooked 2", 276, BYTES("\x86\xdd\0\0\0\0\0\1\0\1\0\6\0\0\0\0\0\0\0\0" IP6), IP6},
	{"loopback, this order", 0, BYTES("\2\0\0\0" IP4), IP4},
	{"loopback, that order", 108, BYTES("\0\0\0\x18" IP6), IP6},
	{"ARCnet, RFC 1051", 129, BYTES("\1\2\0\0\xf0" IP4), IP4},
	{"ARCnet, RFC 1201", 129, BYTES("\1\2\0\0\xd4\0\0\1" IP4), IP4},
	{"ARCnet, a fragment", 129, BYTES("\1\2\0\0\xd4\1\0\1" IP4), NULL},
	{"a link type that is not read", 147, BYTES(IP4), NULL},
};

static void test_links(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(link_cases) / sizeof(link_cases[0]); i++) {
		const struct link_case *l = &link_cases[i];
		uint64_t packets, skipped;
		struct capture_packet p;
		struct capture *c;
		char *why;
		int r;

		write_capture(l->link, l->data, l->size, (uint32_t)l->size);
		assert_int_equal(capture_open(path, &c, &why), 0);
		r = capture_next(c, &p, &why);
		if (r != !!l->want || (r && (p.size != strlen(l->want) || p.number != 1 ||
					     memcmp(p.data, l->want, p.size) != 0)))
			fail_msg("%s: %d", l->title, r);
		if (r)
			assert_int_equal(capture_next(c, &p, &why), 0);
		capture_counts(c, &packets, &skipped);
		assert_int_equal(packets, 1);
		assert_int_equal(skipped, !l->want);
		capture_close(c);
	}
}

static void test_cut_short(void **state)
{
	struct capture_packet p;
	struct capture *c;
	char *why;

	(void)state;
	write_capture(1, "abc", 3, 60);
	assert_int_equal(capture_open(path, &c, &why), 0);
	assert_int_equal(capture_next(c, &p, &why), -ENODATA);
	assert_non_null(strstr(why, "truncated"));
	free(why);
	capture_close(c);
	write_capture(1, "abc", 3, 0x7fffffff);
	assert_int_equal(capture_open(path, &c, &why), 0);
	assert_int_equal(capture_next(c, &p, &why), -ENODATA);
	free(why);
	capture_close(c);
}

static void test_no_capture(void **state)
{
	FILE *f = fopen(path, "w");
	struct capture *c;
	char *why;

	(void)state;
	assert_non_null(f);
	fputs("this is no capture at all, but a text", f);
	fclose(f);
	assert_int_equal(capture_open(path, &c, &why), -EINVAL);
	assert_non_null(why);
	free(why);
	assert_int_equal(capture_open("/nonexistent/file", &c, &why), -EINVAL);
	assert_non_null(strstr(why, "No such file"));
	free(why);
}

static int setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 || close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_no_capture),
	};

	return cmocka_run_group_tests_name("capture", tests, setup, teardown);
}
