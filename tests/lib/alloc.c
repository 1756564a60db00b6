/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns: the counter behind the wrapped allocation functions. Must not know: what is under test.
 */
#include <errno.h>
#include <stddef.h>

#include "alloc.h"

static unsigned long fail_at;
static unsigned long count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

void alloc_fail_at(unsigned long n)
{
	fail_at = n;
	count = 0;
}

bool alloc_failed(void)
{
	return fail_at && count >= fail_at;
}

unsigned long alloc_count(void)
{
	return count;
}

static bool alloc_refuse(void)
{
	if (++count != fail_at)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return alloc_refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return alloc_refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return alloc_refuse() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return alloc_refuse() ? NULL : __real_strdup(s);
}
