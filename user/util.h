/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership attributes and small arithmetic. Owns nothing, knows nothing of the product.
 */
#ifndef UTIL_H
#define UTIL_H

#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

/* Hand a pointer over and leave NULL behind, so that its _cleanup_ does nothing. */
#define TAKE_PTR(p)                                \
	({                                         \
		__typeof__(p) *taken_from = &(p);  \
		__typeof__(p) taken = *taken_from; \
		*taken_from = NULL;                \
		taken;                             \
	})

/* The same for a file descriptor; -1 stays behind. */
static inline int util_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void util_freep(void *p)
{
	free(*(void **)p);
}

static inline void util_closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void util_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_(fn)    __attribute__((cleanup(fn)))
#define _cleanup_free_   _cleanup_(util_freep)
#define _cleanup_close_  _cleanup_(util_closep)
#define _cleanup_fclose_ _cleanup_(util_fclosep)
#define _printf_(f, a)   __attribute__((format(printf, f, a)))

#endif
