// SPDX-License-Identifier: Apache-2.0
/*
 * TLS origination of one object, see istio_work.h.
 *
 * Owns: where the sidecar may be told to open TLS, with which certificate, and why not. Must not know: ports other
 * than 80 and 443, YAML.
 *
 * An origination that is there stays there, whatever the options say: taking it away sends plaintext where TLS went
 * before. Who wants that deletes the objects, the ServiceEntry first.
 */
#include <errno.h>
#include <string.h>

#include "istio_tree.h"
#include "istio_work.h"
#include "util.h"

#define LABEL_VALUE_MAX 63

/* What decides about origination, over all useful selected rows of an object. */
struct tls_facts {
	bool tls_80, tls_443, tls_other;
	bool answered;   /* TLS on 443, by the host */
	bool originated; /* the sidecar turns the plaintext on port 80 into TLS already */
	bool plain_80;   /* plaintext on port 80 that it does not */
};

/* A ServerHello was read; or, in a list that does not tell, at least something came back. */
static bool row_answered(const struct destination *d)
{
	return d->tls_versions || (!d->tls_offered && d->received);
}

static struct tls_facts group_facts(const struct group *group)
{
	struct tls_facts facts = {0};

	for (size_t i = 0; i < group->n_selected; i++) {
		const struct row *row = &group->rows[i];
		const struct destination *d = row->d;

		if (row->verdict == VERDICT_TLS) {
			facts.tls_80 |= d->port == 80;
			facts.tls_443 |= d->port == 443;
			facts.tls_other |= d->port != 80 && d->port != 443;
			facts.answered |= d->port == 443 && row_answered(d);
		} else if (d->port == 80) {
			facts.originated |= d->tls_origination;
			facts.plain_80 |= istio_row_is_plain_80(row);
		}
	}
	return facts;
}

bool istio_tls_possible(const struct group *group)
{
	struct tls_facts facts = group_facts(group);

	return !facts.tls_80 && (facts.answered || facts.originated) &&
	       *istio_row_host(group->rows) != '*';
}

/* Why not */

static int note_not_seen(struct plan_work *work, const struct row *row,
			 const struct tls_facts *facts)
{
	if (facts->tls_80)
		return istio_note_object(work, row,
					 "no DestinationRule: port 80 itself was seen with TLS");
	if (facts->tls_443)
		return istio_note_object(
			work, row,
			"no DestinationRule: TLS was asked for on port 443, but no "
			"answer to it was seen");
	if (facts->tls_other)
		return istio_note_object(
			work, row,
			"no DestinationRule: TLS was not seen on port 443, where port 80's "
			"requests would be sent");
	return istio_note_object(
		work, row,
		"no DestinationRule needed: only plaintext HTTP was seen, which is "
		"readable as it is");
}

/* "<before>shop/cart, shop/pay<after>" */
static int note_callers(struct plan_work *work, const struct group *group,
			bool (*fits)(const struct row *row, const void *data), const void *data,
			const char *before, const char *after)
{
	struct text text = istio_note_begin(work, group->rows);
	int r;

	text_puts(&text, before);
	r = istio_text_callers(&text, group, fits, data);
	text_puts(&text, after);
	if (!r)
		return istio_note_add(&work->plan, &text);
	text_done(&text);
	return r;
}

/* Where there is no mesh, no object changes anything. */
static bool is_bystander(const struct row *row, const void *data)
{
	(void)data;
	return !row->selected && istio_row_is_plain_80(row) &&
	       row->d->interception != INTERCEPTION_NONE;
}

static bool any_row(const struct group *group,
		    bool (*fits)(const struct row *row, const void *data), const void *data)
{
	for (size_t i = 0; i < group->n; i++)
		if (fits(&group->rows[i], data))
			return true;
	return false;
}

/* Client certificates */

struct selector {
	const char *key, *value;
};

static const char *label_of(const struct row *row, const char *key)
{
	const struct source *source = &row->d->source;

	return strcmp(key, "app") == 0 ? source->app : source->canonical_service;
}

static bool label_valid(const char *value)
{
	size_t len = strlen(value);

	return len && len <= LABEL_VALUE_MAX && !strchr("-_.", value[0]) &&
	       !strchr("-_.", value[len - 1]) &&
	       value[strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789-_.")] == '\0';
}

static bool is_outside(const struct row *row, const void *data)
{
	const struct selector *selector = data;

	return strcmp(label_of(row, selector->key), selector->value) != 0;
}

static bool is_plain_outside(const struct row *row, const void *data)
{
	return row->verdict == VERDICT_HTTP && row->d->port == 80 && is_outside(row, data);
}

/* A label that all selected callers have, and only one value of it. */
static bool find_selector(const struct group *group, struct selector *ret)
{
	static const char *const keys[] = {"app", "service.istio.io/canonical-name"};
	const struct group selected = {.rows = group->rows, .n = group->n_selected};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		*ret = (struct selector){keys[i], label_of(group->rows, keys[i])};
		if (label_valid(ret->value) && !any_row(&selected, is_outside, ret))
			return true;
	}
	return false;
}

static bool is_selected(const struct row *row, const void *data)
{
	(void)data;
	return row->selected;
}

static int mutual_set(struct istio_mutual *mutual, const char *credential, const char *key,
		      const char *value)
{
	mutual->credential = strdup(credential);
	mutual->key = strdup(key);
	mutual->value = strdup(value);
	return mutual->credential && mutual->key && mutual->value ? 0 : -ENOMEM;
}

/* -ENOENT, with a note, if a certificate cannot be shown. */
static int mutual_make(struct plan_work *work, const struct group *group, bool exported,
		       struct istio_mutual *mutual)
{
	struct selector selector;
	int r;

	if (exported)
		r = istio_note_object(
			work, group->rows,
			"no client certificate, and so no DestinationRule: a rule for "
			"certain workloads counts in its own namespace only, and the "
			"ServiceEntry is exported to all");
	else if (!find_selector(group, &selector))
		r = note_callers(
			work, group, is_selected, NULL,
			"no client certificate, and so no DestinationRule: it needs a label "
			"that all of its workloads have in common, app or "
			"service.istio.io/canonical-name, and none is known for ",
			"; select one with --workload");
	else if (any_row(group, is_plain_outside, &selector))
		r = note_callers(work, group, is_plain_outside, &selector,
				 "no client certificate, and so no DestinationRule: it would count "
				 "for some workloads only, and plaintext requests to port 80 of ",
				 " would be sent to port 443 as they are");
	else
		return mutual_set(mutual, work->options->credential, selector.key, selector.value);
	return r ? r : -ENOENT;
}

static int mutual_keep(const struct registry_object *rule, struct istio_mutual *mutual)
{
	const char *key, *value, *credential = istio_tree_credential(rule, &key, &value);

	return credential ? mutual_set(mutual, credential, key, value) : 0;
}

static int object_mutual(struct plan_work *work, const struct group *group,
			 const struct registry_object *rule, struct istio_object *object)
{
	int r;

	if (!work->options->credential)
		return mutual_keep(rule, &object->mutual);
	r = mutual_make(work, group, object->exported, &object->mutual);
	return r == -ENOENT && rule ? mutual_keep(rule, &object->mutual) : r;
}

/* Together */

/*
 * 443 stays registered even when only the sidecar's TLS was seen on it: an application that moves to http:// must not
 * make its own entry shrink at the next run.
 */
static void object_set_ports(struct istio_object *object)
{
	istio_object_port(object, 80)->target_port = 443;
	istio_object_port(object, 443)->tls = true;
	object->originate = true;
}

/* What is in the cluster of ours originates. */
static int originate_still(struct plan_work *work, const struct group *group,
			   const struct registry_object *rule, const struct tls_facts *facts,
			   struct istio_object *object)
{
	int r;

	if (facts->tls_80) {
		r = istio_note_cluster(work, group->rows,
				       "left out: port 80 was seen with TLS, and ", rule,
				       " opens TLS there once more; delete it first");
		return r ? r : -ENOENT;
	}
	object->replaces[ISTIO_DESTINATION_RULE] = rule;
	object_set_ports(object);
	r = object_mutual(work, group, rule, object);
	return r == -ENOENT ? 0 : r;
}

/* 1: it may; 0: it may not, and a note says why. */
static int originate_may(struct plan_work *work, const struct group *group,
			 const struct cluster *cluster, const struct tls_facts *facts)
{
	const struct row *row = group->rows;
	int r;

	if (facts->tls_80 || (!facts->answered && !facts->originated))
		r = note_not_seen(work, row, facts);
	else if (*istio_row_host(row) == '*')
		r = istio_note_object(
			work, row,
			"no DestinationRule: TLS can only be opened for a host of one "
			"name; --wildcard off gives each one its own");
	else if (cluster->rule)
		r = istio_note_cluster(
			work, row, "no DestinationRule: ", cluster->rule,
			" has the host already; have it open TLS for port 80, and give "
			"that port of the ServiceEntry targetPort 443");
	else if (any_row(group, is_bystander, NULL))
		r = note_callers(
			work, group, is_bystander, NULL,
			"no DestinationRule: it would send plaintext requests to port 80 of ",
			" over TLS to port 443, which the selection leaves out; select "
			"them, too, if that is what they need");
	else
		return 1;
	return r;
}

static bool is_plain(const struct row *row, const void *data)
{
	(void)data;
	return istio_row_is_plain_80(row);
}

static int originate_new(struct plan_work *work, const struct group *group,
			 const struct cluster *cluster, const struct tls_facts *facts,
			 struct istio_object *object)
{
	int r = originate_may(work, group, cluster, facts);

	if (r <= 0)
		return r;
	r = object_mutual(work, group, NULL, object);
	if (r)
		return r == -ENOENT ? 0 : r;
	object_set_ports(object);
	if (!facts->plain_80)
		return 0;
	return note_callers(work, group, is_plain, NULL,
			    "plaintext requests to port 80 were seen (",
			    "); with this DestinationRule they are sent over TLS to port 443");
}

int istio_object_originate(struct plan_work *work, const struct group *group,
			   const struct cluster *cluster, struct istio_object *object)
{
	const struct registry_object *rule = cluster->ours[ISTIO_DESTINATION_RULE];
	struct tls_facts facts = group_facts(group);

	/* Seen on another node, or before. */
	for (size_t i = 0; i < object->n_ports; i++)
		facts.tls_80 |= object->ports[i].number == 80 && object->ports[i].tls;
	if (rule)
		return originate_still(work, group, rule, &facts, object);
	if (work->options->visibility == VISIBILITY_L7)
		return originate_new(work, group, cluster, &facts, object);
	if (!facts.originated)
		return 0;
	return istio_note_object(
		work, group->rows,
		"TLS origination is in use on port 80; this ServiceEntry has none and "
		"would end it; use --visibility l7");
}
