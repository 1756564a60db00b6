// SPDX-License-Identifier: Apache-2.0
/*
 * DestinationRules out of JSON, with the checks of istiod's webhook (ValidateDestinationRule, ValidateTLS).
 *
 * Owns: the spec of a DestinationRule, what its policies say of TLS. Must not know: the other settings of a policy
 * (registry_policy.c), single fields, the index.
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

static const char *const tls_modes[] = {"DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", NULL};
enum { MODE_DISABLE, MODE_SIMPLE, MODE_MUTUAL, MODE_ISTIO };

static int reject_policy(struct parse *parse, const char *why)
{
	return reg_parse_reject(parse, REGISTRY_REASON_POLICY, why);
}

/* Fields of a tls block. */
struct tls {
	size_t mode;
	bool credential, certificate, key, ca, crl, sni, names, skip;
	const char *credential_name;
};

static int tls_text(struct parse *parse, const cJSON *in, const char *key, bool *ret)
{
	const char *text;
	int r = reg_parse_text(parse, in, key, "tls: a field is not a text", &text);

	*ret = !r && text && *text;
	return r;
}

static int tls_read(struct parse *parse, const cJSON *in, struct tls *ret)
{
	const struct {
		const char *key;
		bool *to;
	} texts[] = {
		{"credentialName", &ret->credential},
		{"clientCertificate", &ret->certificate},
		{"privateKey", &ret->key},
		{"caCertificates", &ret->ca},
		{"caCrl", &ret->crl},
		{"sni", &ret->sni},
	};
	const char *mode;
	const cJSON *names;
	int r = reg_parse_text(parse, in, "mode", "tls.mode: not a word", &mode);

	for (size_t i = 0; i < ARRAY_SIZE(texts) && !r; i++)
		r = tls_text(parse, in, texts[i].key, texts[i].to);
	if (!r)
		r = reg_parse_list(parse, in, "subjectAltNames", ITEMS_MAX,
				   "tls.subjectAltNames: not a list", &names);
	if (!r)
		r = reg_parse_bool(parse, in, "insecureSkipVerify",
				   "tls.insecureSkipVerify: neither true nor false", &ret->skip);
	if (!r)
		r = reg_parse_text(parse, in, "credentialName", "tls: a field is not a text",
				   &ret->credential_name);
	if (r)
		return r;
	ret->names = cJSON_GetArraySize(names) > 0;
	if (mode && !reg_valid_word(mode, tls_modes, &ret->mode))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE,
					"tls.mode: none of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL");
	return 0;
}

/* configmap://name or configmap://namespace/name; only of the rule's own namespace. */
static bool credential_is_foreign(const struct parse *parse, const char *name)
{
	static const char prefix[] = "configmap://";
	const char *ns = parse->object->public.ns, *slash;

	if (!name || strncmp(name, prefix, strlen(prefix)) != 0)
		return false;
	name += strlen(prefix);
	slash = strchr(name, '/');
	return slash &&
	       (strlen(ns) != (size_t)(slash - name) || strncmp(name, ns, strlen(ns)) != 0);
}

/* D7 */
static int tls_check(struct parse *parse, const struct tls *tls)
{
	bool files = tls->certificate || tls->key || tls->ca || tls->crl;
	bool simple = tls->mode == MODE_SIMPLE, mutual = tls->mode == MODE_MUTUAL;

	if (simple && tls->skip && (tls->ca || tls->credential || tls->names))
		return reject_policy(parse, "tls: insecureSkipVerify with something to verify by");
	if (credential_is_foreign(parse, tls->credential_name))
		return reject_policy(parse, "tls: credentialName of another namespace");
	if ((simple || mutual) && tls->credential)
		return files ? reject_policy(parse, "tls: credentialName together with files") : 0;
	if (mutual && (!tls->certificate || !tls->key))
		return reject_policy(parse, "tls: MUTUAL without clientCertificate and privateKey");
	return 0;
}

static int parse_tls(struct parse *parse, const cJSON *in, uint8_t *ret)
{
	struct tls tls = {0};
	const cJSON *block;
	int r = reg_parse_object(parse, in, "tls", "tls: not a mapping", &block);

	if (r || !block)
		return r;
	r = tls_read(parse, block, &tls);
	if (!r)
		r = tls_check(parse, &tls);
	if (r)
		return r;
	if (tls.mode == MODE_DISABLE)
		*ret = TLS_OFF;
	else if (tls.mode == MODE_ISTIO)
		*ret = TLS_ISTIO;
	else
		/* D8: a sidecar fetches a credential only for a rule that is for certain workloads. */
		*ret = tls.credential && !parse->object->has_selector ? TLS_OFF : TLS_ORIGINATE;
	return 0;
}

static int parse_port_policy(struct parse *parse, const cJSON *in, struct port_policy *ret)
{
	const cJSON *port;
	int r;

	if (!cJSON_IsObject(in))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE,
					"portLevelSettings: not mappings");
	r = reg_parse_object(parse, in, "port", "portLevelSettings: a port is not a mapping",
			     &port);
	if (!r)
		r = reg_parse_port(parse, port, "number",
				   "portLevelSettings: a port is not 1 to 65535", &ret->number);
	if (!r && !ret->number)
		r = reject_policy(parse, "portLevelSettings: one has no port");
	if (!r && !reg_parse_has(in, "outlierDetection") && !reg_parse_has(in, "connectionPool") &&
	    !reg_parse_has(in, "loadBalancer") && !reg_parse_has(in, "tls"))
		r = reject_policy(parse, "portLevelSettings: one has no settings");
	if (!r)
		r = parse_tls(parse, in, &ret->tls);
	return r ? r : reg_parse_policy_settings(parse, in);
}

static int parse_port_policies(struct parse *parse, const cJSON *in, struct policy *ret)
{
	const cJSON *list, *item;
	int r = reg_parse_list(parse, in, "portLevelSettings", 4096,
			       "portLevelSettings: not a list of at most 4096", &list);

	if (r || !list)
		return r;
	ret->ports = reg_parse_array(parse, (size_t)cJSON_GetArraySize(list), sizeof(*ret->ports));
	if (!ret->ports)
		return -ENOMEM;
	for (item = list->child; item && !r; item = item->next)
		r = parse_port_policy(parse, item, &ret->ports[ret->n_ports++]);
	return r;
}

/* D2, D5 */
static int check_fields(struct parse *parse, const cJSON *in)
{
	static const char *const fields[] = {
		"outlierDetection",  "connectionPool", "loadBalancer",  "tls",
		"portLevelSettings", "tunnel",         "proxyProtocol", "retryBudget"};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		n += reg_parse_has(in, fields[i]);
	if (!n)
		return reject_policy(parse, "trafficPolicy: empty");
	if (reg_parse_has(in, "tunnel") && reg_parse_has(in, "proxyProtocol"))
		return reject_policy(parse, "trafficPolicy: tunnel together with proxyProtocol");
	return 0;
}

static int parse_policy(struct parse *parse, const cJSON *holder, struct policy *ret)
{
	const cJSON *in;
	int r = reg_parse_object(parse, holder, "trafficPolicy", "trafficPolicy: not a mapping",
				 &in);

	if (r || !in)
		return r;
	ret->present = true;
	r = check_fields(parse, in);
	if (!r)
		r = parse_tls(parse, in, &ret->tls);
	if (!r)
		r = reg_parse_policy_settings(parse, in);
	return r ? r : parse_port_policies(parse, in, ret);
}

/* Subsets: D4 */

static int parse_subset(struct parse *parse, const cJSON *in, struct subset *ret)
{
	const char *name;
	int r;

	if (!cJSON_IsObject(in))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "subsets: not mappings");
	r = reg_parse_text(parse, in, "name", "subsets: a name is not a text", &name);
	if (!r && (!name || !reg_valid_label(name)))
		r = reject_policy(parse, "subsets: a name is not a label");
	if (!r)
		r = reg_parse_copy(parse, name, &ret->name);
	return r ? r : parse_policy(parse, in, &ret->policy);
}

static int compare_subsets(const void *a, const void *b)
{
	return strcmp(((const struct subset *)a)->name, ((const struct subset *)b)->name);
}

static int parse_subsets(struct parse *parse)
{
	struct object *object = parse->object;
	const cJSON *list;
	int r = reg_parse_list(parse, parse->spec, "subsets", ITEMS_MAX, "subsets: not a list",
			       &list);

	if (r || !list)
		return r;
	object->subsets = reg_parse_array(parse, (size_t)cJSON_GetArraySize(list),
					  sizeof(*object->subsets));
	if (!object->subsets)
		return -ENOMEM;
	for (const cJSON *item = list->child; item && !r; item = item->next)
		r = parse_subset(parse, item, &object->subsets[object->n_subsets++]);
	if (r)
		return r;
	qsort(object->subsets, object->n_subsets, sizeof(*object->subsets), compare_subsets);
	for (size_t i = 1; i < object->n_subsets; i++)
		if (compare_subsets(&object->subsets[i - 1], &object->subsets[i]) == 0)
			return reject_policy(parse, "subsets: two have one name");
	return 0;
}

/* D1; `*` is allowed and means every service. */
static int parse_rule_host(struct parse *parse)
{
	struct object *object = parse->object;
	const char *host;
	int r = reg_parse_text(parse, parse->spec, "host", "host: not a text", &host);

	if (r)
		return r;
	if (!host || !reg_valid_wildcard_host(host))
		return reg_parse_reject(parse, REGISTRY_REASON_HOST,
					"host: not a host name, with or without a wildcard");
	object->hosts = reg_parse_array(parse, 1, sizeof(*object->hosts));
	return object->hosts ? reg_parse_add_host(parse, host, true) : -ENOMEM;
}

int reg_parse_destination_rule(struct parse *parse)
{
	struct object *object = parse->object;
	int r = parse_rule_host(parse);

	/* Before the policies: a credential means something else for certain workloads. */
	if (!r)
		r = reg_parse_selector(parse, parse->spec, "workloadSelector", "matchLabels",
				       &object->has_selector, &object->selector);
	if (!r)
		r = parse_policy(parse, parse->spec, &object->policy);
	if (!r)
		r = parse_subsets(parse);
	if (!r)
		r = reg_parse_export(parse, false);
	if (r || !object->has_selector)
		return r;
	/* D6: a rule for certain workloads stays in its namespace; without exportTo, too. */
	if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(parse->spec, "exportTo")) > 0 &&
	    (object->export.all || object->export.n_others))
		return reg_parse_reject(parse, REGISTRY_REASON_EXPORT,
					"exportTo: a rule with a workloadSelector is for its own "
					"namespace");
	object->export = (struct exports){.own = true};
	return 0;
}
