// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"
#include "util.h"

/* Link types that libpcap of some versions has no name for. */
#ifndef DLT_LINUX_SLL2
#define DLT_LINUX_SLL2 276
#endif

#define VLAN_TAGS_MAX 8

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd

/* Read at a time: libpcap's own reads are of 4 KiB. It fits the processor's cache, from which packets are copied. */
#define BUFFER_SIZE (256u << 10)

struct capture {
	pcap_t *pcap;
	char *buffer; /* of the file that pcap reads */
	int link;
	uint64_t packets, skipped;
};

/* libpcap will own the file, and c the buffer: of stdin a duplicate is read, so that both end with c. */
static FILE *file_open(const char *path, char *buffer, char **ret_why)
{
	bool standard = strcmp(path, "-") == 0;
	int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f) {
		*ret_why = strdup(strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	setvbuf(f, buffer, _IOFBF, BUFFER_SIZE);
	return f;
}

static int capture_begin(struct capture *c, const char *path, char **ret_why)
{
	char error[PCAP_ERRBUF_SIZE] = "";
	FILE *f;

	c->buffer = malloc(BUFFER_SIZE);
	if (!c->buffer)
		return -ENOMEM;
	f = file_open(path, c->buffer, ret_why);
	if (!f)
		return -EINVAL;
	c->pcap = pcap_fopen_offline(f, error);
	if (!c->pcap) {
		fclose(f);
		*ret_why = strdup(error);
		return -EINVAL;
	}
	c->link = pcap_datalink(c->pcap);
	return 0;
}

int capture_open(const char *path, struct capture **ret, char **ret_why)
{
	struct capture *c = calloc(1, sizeof(*c));
	int r;

	*ret_why = NULL;
	if (!c)
		return -ENOMEM;
	r = capture_begin(c, path, ret_why);
	if (r)
		capture_close(c);
	else
		*ret = c;
	return r;
}

void capture_close(struct capture *c)
{
	if (!c)
		return;
	if (c->pcap)
		pcap_close(c->pcap);
	free(c->buffer);
	free(c);
}

void capture_counts(const struct capture *c, uint64_t *ret_packets, uint64_t *ret_skipped)
{
	*ret_packets = c->packets;
	*ret_skipped = c->skipped;
}

static unsigned int be16(const uint8_t *p)
{
	return (unsigned int)p[0] << 8 | p[1];
}

static bool is_vlan(unsigned int type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100 || type == 0x9200;
}

/* Over VLAN tags to the network header; `at` is behind the type. Returns its offset, 0 if it is not IP. */
static size_t over_tags(const uint8_t *data, size_t size, unsigned int type, size_t at)
{
	for (int i = 0; i < VLAN_TAGS_MAX && is_vlan(type) && at + 4 <= size; i++) {
		type = be16(data + at + 2);
		at += 4;
	}
	return type == TYPE_IPV4 || type == TYPE_IPV6 ? at : 0;
}

/* Both ways of sending IP over ARCnet: RFC 1051 (type 240), and RFC 1201 (212, IPv6 196), if not fragmented. */
static size_t over_arcnet(const uint8_t *data, size_t size)
{
	if (size >= 5 && data[4] == 240)
		return 5;
	return size >= 8 && (data[4] == 212 || data[4] == 196) && data[5] == 0 ? 8 : 0;
}

/* Offset of the network header, 0 if there is none that is IP; raw IP is the caller's. */
static size_t network_offset(int link, const uint8_t *data, size_t size)
{
	switch (link) {
	case DLT_EN10MB:
		return size >= 14 ? over_tags(data, size, be16(data + 12), 14) : 0;
	case DLT_LINUX_SLL:
		return size >= 16 ? over_tags(data, size, be16(data + 14), 16) : 0;
	case DLT_LINUX_SLL2:
		return size >= 20 ? over_tags(data, size, be16(data), 20) : 0;
	case DLT_ARCNET_LINUX:
		return over_arcnet(data, size);
	case DLT_NULL:
	case DLT_LOOP:
		return 4; /* the family's number differs from system to system: the IP version says it */
	}
	return 0;
}

static bool is_raw(int link)
{
	/* 12 and 14 stand in files for what DLT_RAW is on some systems. */
	return link == DLT_RAW || link == 12 || link == 14 || link == 101 || link == DLT_IPV4 ||
	       link == DLT_IPV6;
}

/* 1 if the packet is IP. */
static int unwrap(const struct capture *c, const struct pcap_pkthdr *header, const uint8_t *data,
		  struct capture_packet *ret)
{
	size_t size = header->caplen;
	size_t at = is_raw(c->link) ? 0 : network_offset(c->link, data, size);

	if (at >= size || (at == 0 && !is_raw(c->link)))
		return 0;
	if (data[at] >> 4 != 4 && data[at] >> 4 != 6)
		return 0;
	*ret = (struct capture_packet){
		.number = c->packets,
		.second = header->ts.tv_sec,
		.data = data + at,
		.size = size - at,
	};
	return 1;
}

int capture_next(struct capture *c, struct capture_packet *ret, char **ret_why)
{
	struct pcap_pkthdr *header;
	const u_char *data;
	int r;

	while ((r = pcap_next_ex(c->pcap, &header, &data)) == 1) {
		c->packets++;
		if (unwrap(c, header, data, ret))
			return 1;
		c->skipped++;
	}
	if (r == PCAP_ERROR_BREAK)
		return 0;
	*ret_why = strdup(pcap_geterr(c->pcap));
	/* libpcap tells only by its text whether the file could not be read, or what it holds is no packet. */
	return *ret_why && strncmp(*ret_why, "error reading ", 14) == 0 ? -EIO : -ENODATA;
}
