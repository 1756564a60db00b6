// SPDX-License-Identifier: Apache-2.0
/*
 * An answer of the Kubernetes API with any content, as a list and as a watch: where it is cut into pieces changes
 * nothing, and every object that comes out is bounded and without a NUL.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_tree.h"
#include "kube_scan.h"
#include "util.h"

struct seen {
	uint64_t hash;
	size_t items;
};

static void mix(struct seen *s, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s->hash = (s->hash ^ (uint8_t)bytes[i]) * UINT64_C(0x100000001b3);
}

static int on_item(const struct kube_item *item, void *data)
{
	const struct kube_fields *f = item->fields;
	_cleanup_(json_tree_freep) cJSON *tree = NULL;
	const char *why = NULL;
	struct seen *s = data;

	if (item->size > KUBE_OBJECT_MAX || (item->text && (!item->size || item->too_large)))
		abort();
	mix(s, (const char *)f, sizeof(*f));
	mix(s, item->text, item->size);
	s->items++;
	if (item->text && json_tree_parse(item->text, item->size, &tree, &why) == 0 &&
	    !cJSON_IsObject(tree))
		abort();
	if (strlen(f->name) > KUBE_NAME_MAX || strchr(f->name, '\\') || strchr(f->name, '"'))
		abort();
	return 0;
}

/* Pieces of `step` bytes. Returns what the scan ended with. */
static int scan(enum kube_scan_form form, const char *text, size_t n, size_t step,
		struct seen *seen)
{
	struct kube_scan s = {0};
	int r = 0;

	kube_scan_start(&s, form, on_item, seen);
	for (size_t i = 0; r == 0 && i < n; i += step)
		r = kube_scan_feed(&s, text + i, MIN(step, n - i));
	if (r == 0)
		r = kube_scan_end(&s);
	mix(seen, s.version, strlen(s.version));
	mix(seen, s.next, strlen(s.next));
	kube_scan_done(&s);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	for (enum kube_scan_form form = KUBE_SCAN_LIST; form <= KUBE_SCAN_WATCH; form++) {
		struct seen whole = {0};
		int r = scan(form, text, size, size ? size : 1, &whole);

		for (size_t step = 1; step < 8; step += 3) {
			struct seen cut = {0};

			if (scan(form, text, size, step, &cut) != r || cut.hash != whole.hash ||
			    cut.items != whole.items)
				abort();
		}
	}
	return 0;
}
