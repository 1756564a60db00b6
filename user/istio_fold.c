// SPDX-License-Identifier: Apache-2.0
/*
 * Hosts of one registrable domain into one wildcard, see istio_work.h.
 *
 * Owns: which hosts fold. Must not know: what a registrable domain is (domain.c), what is in the cluster
 * (istio_cluster.c says which hosts may fold).
 *
 * A domain folds when enough hosts below it may, and one of them is not covered yet: what is registered one by one is
 * left like that.
 */
#include <errno.h>
#include <string.h>

#include "domain.h"
#include "istio_work.h"
#include "util.h"

struct candidate {
	struct group *group;
	const char *domain;
};

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int r = strcmp(x->group->rows->ns, y->group->rows->ns);

	if (!r)
		r = strcmp(x->domain, y->domain);
	return r ? r : strcmp(x->group->rows->host, y->group->rows->host);
}

static bool same_domain(const struct candidate *a, const struct candidate *b)
{
	return strcmp(a->group->rows->ns, b->group->rows->ns) == 0 &&
	       strcmp(a->domain, b->domain) == 0;
}

static int fold_row(struct row *row, const char *domain)
{
	size_t size = strlen(domain) + sizeof("*.");

	row->wildcard = malloc(size);
	if (!row->wildcard)
		return -ENOMEM;
	snprintf(row->wildcard, size, "*.%s", domain);
	return 0;
}

static int fold_group(struct plan_work *work, const struct candidate *candidate)
{
	const struct group *group = candidate->group;
	struct cluster cluster;
	int r = 0;

	for (size_t i = 0; i < group->n && !r; i++)
		r = fold_row(&group->rows[i], candidate->domain);
	if (r)
		return r;
	istio_cluster_look(work, group->rows->ns, group->rows->host, &cluster);
	if (!cluster.ours[ISTIO_SERVICE_ENTRY])
		return 0;
	return istio_retired_add(work, cluster.ours[ISTIO_SERVICE_ENTRY], "is to be covered by",
				 group->rows->wildcard);
}

static int fold_domain(struct plan_work *work, const struct candidate *candidates, size_t n)
{
	bool covered = true;
	int r = 0;

	for (size_t i = 0; i < n; i++)
		covered &= istio_group_covered(candidates[i].group);
	if (n < work->options->wildcard || (covered && work->options->only_unregistered))
		return 0;
	for (size_t i = 0; i < n && !r; i++)
		r = fold_group(work, &candidates[i]);
	return r;
}

int istio_fold(struct plan_work *work, struct group *groups, size_t n)
{
	_cleanup_free_ struct candidate *candidates = NULL;
	size_t n_candidates = 0, end;
	int r = 0;

	if (work->options->wildcard == OPT_OFF)
		return 0;
	candidates = calloc(MAX(n, 1u), sizeof(*candidates));
	if (!candidates)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct row *row = groups[i].rows;
		const char *domain = row->foldable && !row->wildcard ? domain_above(row->host)
								     : NULL;

		if (domain)
			candidates[n_candidates++] = (struct candidate){.group = &groups[i],
									.domain = domain};
	}
	qsort(candidates, n_candidates, sizeof(*candidates), compare_candidates);
	for (size_t i = 0; i < n_candidates && !r; i = end) {
		for (end = i + 1;
		     end < n_candidates && same_domain(&candidates[i], &candidates[end]);)
			end++;
		r = fold_domain(work, candidates + i, end - i);
	}
	return r;
}
