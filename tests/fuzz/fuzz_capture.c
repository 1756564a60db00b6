// SPDX-License-Identifier: Apache-2.0
/*
 * A capture file with any content: read, put in order, counted. Nothing may be given out twice or backwards without a
 * gap, and no more may be held than the limits say.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <stdio.h>

#include "capture.h"
#include "stream.h"

static bool on_stream(enum stream_event event, const struct stream_end *from,
		      const struct stream_end *to, uint32_t seq, const uint8_t *data, size_t size,
		      uint64_t frame, void *ctx)
{
	uint64_t *sum = ctx;

	if ((from->family != 4 && from->family != 6) || from->family != to->family)
		abort();
	if (event != STREAM_DATA && size)
		abort();
	if (event == STREAM_DATA && (!size || !frame))
		abort();
	for (size_t i = 0; i < size; i++)
		*sum += data[i];
	return seq % 7 == 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("capture", 0);
	struct streams *streams = NULL;
	struct capture *c = NULL;
	struct capture_packet p;
	char path[64], *why = NULL;
	uint64_t sum = 0, packets, skipped;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!capture_open(path, &c, &why)) {
		if (streams_new(on_stream, &sum, &streams))
			abort();
		while (capture_next(c, &p, &why) == 1)
			streams_packet(streams, p.data, p.size, p.number);
		capture_counts(c, &packets, &skipped);
		if (skipped > packets)
			abort();
		streams_finish(streams);
		streams_free(streams);
		capture_close(c);
	}
	free(why);
	close(fd);
	return 0;
}
