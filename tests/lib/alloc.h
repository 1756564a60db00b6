/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail on demand, for tests of what happens when memory runs out.
 *
 * Owns: the wrapped malloc, calloc, realloc and strdup of the program under test.
 * Must not know: what is under test.
 *
 * Link with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup. Calls made inside shared
 * libraries (asprintf, open_memstream, cJSON) are not wrapped; code that should be tested this way
 * allocates through the four functions, or hands them to the library as its hooks.
 *
 * The usual loop; it ends by itself when the n-th allocation no longer exists:
 *
 *	for (unsigned long n = 1;; n++) {
 *		alloc_fail_at(n);
 *		r = function_under_test(...);
 *		if (!alloc_failed())
 *			break;
 *		assert_int_equal(r, -ENOMEM);
 *	}
 *	alloc_fail_at(0);
 *	assert_int_equal(r, 0);
 */
#ifndef TESTS_ALLOC_H
#define TESTS_ALLOC_H

#include <stdbool.h>

/* The n-th allocation from now on fails, once (1: the very next one); 0: none. Resets alloc_failed(). */
void alloc_fail_at(unsigned long n);

/* Whether the allocation chosen by the last alloc_fail_at() was reached. */
bool alloc_failed(void);

/* Allocations counted since the last alloc_fail_at(). */
unsigned long alloc_count(void);

#endif
