/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes compressed as they are pulled, RFC 1952. Owner of zlib. Must not know: what is compressed, for whom.
 */
#ifndef GZIP_H
#define GZIP_H

#include <stddef.h>

/* Where the bytes come from: as metrics_read(). */
typedef int (*gzip_source)(void *data, char *buf, size_t size, size_t *ret_n);

struct gzip;

/* The source's data stays the caller's. -ENOMEM. */
int gzip_new(gzip_source source, void *data, struct gzip **ret);
void gzip_free(struct gzip *g); /* NULL is fine */

/* The next compressed bytes, at most size (not 0); *ret_n 0: that was all. -EIO, or what the source said. */
int gzip_read(struct gzip *g, char *buf, size_t size, size_t *ret_n);

#endif
