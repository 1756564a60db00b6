// SPDX-License-Identifier: Apache-2.0
/*
 * One field of a pod's object: what it says, and whether it is a word that may be shown. The API server checks names,
 * labels and container statuses, but not what an owner is called: that is hostile input.
 *
 * Must not know: what fields there are.
 */
#include <ctype.h>
#include <string.h>

#include "pod_work.h"

const cJSON *pod_item(const cJSON *object, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(object, key);
}

const char *pod_string(const cJSON *object, const char *key)
{
	const char *s = cJSON_GetStringValue(pod_item(object, key));

	return s ? s : "";
}

bool pod_is_word(const char *s, size_t max, const char *more)
{
	size_t n = strnlen(s, max + 1);

	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)s[i]) && !strchr(more, s[i]))
			return false;
	}
	return n > 0 && n <= max;
}

bool pod_is_name(const char *s)
{
	return pod_is_word(s, POD_NAME_MAX, "-._");
}
