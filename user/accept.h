/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client accepts: the Accept and Accept-Encoding headers, RFC 9110 section 12.5, for the few representations
 * there are. Fed header line by header line; what is malformed is as if it were not there.
 *
 * Must not know: HTTP's other parts, how anything is written.
 */
#ifndef ACCEPT_H
#define ACCEPT_H

#include <stdbool.h>
#include <stddef.h>

#include "metrics.h"

/* Qualities are thousandths, 0 to 1000. */
struct accept_quality {
	unsigned int quality;
	unsigned int rank; /* how specific the range is that said so; 0: nobody did */
};

struct accept_media {
	struct accept_quality formats[METRICS_FORMAT_MAX];
};

/* One line of Accept. Begin with {0}. */
void accept_media_line(struct accept_media *a, const char *line);

/* OpenMetrics only for who names it, or takes nothing else; text for all others, also for who accepts neither. */
enum metrics_format accept_media_choose(const struct accept_media *a);

struct accept_encoding {
	struct accept_quality gzip, identity;
};

/* One line of Accept-Encoding. Begin with {0}. */
void accept_encoding_line(struct accept_encoding *a, const char *line);

/* Whether to compress: gzip is accepted, and no encoding is not preferred to it. */
bool accept_encoding_gzip(const struct accept_encoding *a);

#endif
