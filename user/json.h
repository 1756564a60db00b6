/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON of CONTRACT.md section 3, both ways. Owner of cJSON.
 *
 * Must not know: where the text goes or comes from.
 */
#ifndef JSON_H
#define JSON_H

#include "model.h"

/* A saved list larger than this is refused (-EFBIG): 65,536 destinations take about 60 MB. */
#define JSON_INPUT_MAX (256u << 20)

#define JSON_API_VERSION "egress-agent/v1"
#define JSON_KIND        "DestinationList"

/*
 * Values in one list (a hostile file of "[[[[,": each costs about 80 bytes of memory); a row has
 * about 60.
 */
#define JSON_VALUES_MAX (8u << 20)

/*
 * Bytes in one string: longer than any host (253), Kubernetes name (253) or fully escaped file name
 * (1,020).
 */
#define JSON_STRING_MAX 1024

/* The DestinationList as text, rows in the list's order; owned by the caller, ends in a newline. */
int json_from_list(const struct destination_list *list, char **ret_text, size_t *ret_size);

/*
 * Parse a DestinationList, rows in the order of the text. Times come back in whole seconds,
 * counters beyond 2^53 rounded (cJSON reads doubles), and a row's time to first byte as one sum.
 * Unknown fields are ignored, absent ones are empty; host, port and protocol must be there.
 * -EINVAL: not JSON, another kind, or a field of the wrong type or range; *ret_why then holds a
 * short phrase naming it (destinations[3].port: not a number from 0 to 65535), owned by the caller,
 * or NULL. -EFBIG: beyond JSON_INPUT_MAX or JSON_VALUES_MAX, *ret_why says so too. Every string is
 * checked with name_classify() or printed-as-data rules: a file is as hostile as a packet.
 */
int json_to_list(const char *text, size_t size, struct destination_list *ret, char **ret_why);

#endif
