/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libyaml's own allocations, which it makes through these symbols of its own: taken over, so that they count and fail
 * like ours (alloc.h). For one file of a program.
 */
#ifndef YAML_ALLOC_H
#define YAML_ALLOC_H

#include <stdlib.h>
#include <string.h>

void *yaml_malloc(size_t size);
void *yaml_realloc(void *p, size_t size);
char *yaml_strdup(const char *s);

void *yaml_malloc(size_t size)
{
	return malloc(size ? size : 1);
}

void *yaml_realloc(void *p, size_t size)
{
	return p ? realloc(p, size ? size : 1) : malloc(size ? size : 1);
}

char *yaml_strdup(const char *s)
{
	return s ? strdup(s) : NULL;
}

#endif
