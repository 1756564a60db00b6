// SPDX-License-Identifier: Apache-2.0
/*
 * The settings of a DestinationRule's trafficPolicy that no answer depends on, but that istiod refuses if they are
 * wrong: connection pool, outlier detection, load balancer.
 *
 * Owns: those checks (D9 to D11 and the CRD's). Must not know: TLS, the index.
 */
#include <string.h>

#include "registry_work.h"
#include "util.h"

static int reject_policy(struct parse *parse, const char *why)
{
	return reg_parse_reject(parse, REGISTRY_REASON_POLICY, why);
}

static int check_duration(struct parse *parse, const cJSON *in, const char *key, const char *why)
{
	const char *text;
	int r = reg_parse_text(parse, in, key, why, &text);

	if (!r && text && !reg_valid_duration(text))
		r = reject_policy(parse, why);
	return r;
}

static int check_number(struct parse *parse, const cJSON *in, const char *key, int64_t max,
			const char *why)
{
	int64_t value;
	bool present;
	int r = reg_parse_number(parse, in, key, why, &value, &present);

	if (!r && (value < 0 || value > max))
		r = reject_policy(parse, why);
	return r;
}

static int check_http(struct parse *parse, const cJSON *in)
{
	static const char *const counts[] = {"http1MaxPendingRequests", "http2MaxRequests",
					     "maxRequestsPerConnection", "maxRetries",
					     "maxConcurrentStreams"};
	static const char why[] = "connectionPool.http: a number is negative";
	const char *upgrade;
	bool client;
	int r = check_duration(parse, in, "idleTimeout",
			       "connectionPool.http: idleTimeout is not 1ms or more");

	for (size_t i = 0; i < ARRAY_SIZE(counts) && !r; i++)
		r = check_number(parse, in, counts[i], UINT32_MAX, why);
	if (!r)
		r = reg_parse_text(parse, in, "h2UpgradePolicy",
				   "connectionPool.http: h2UpgradePolicy is not a word", &upgrade);
	if (!r)
		r = reg_parse_bool(parse, in, "useClientProtocol",
				   "connectionPool.http: useClientProtocol is neither true nor "
				   "false",
				   &client);
	if (!r && upgrade && client && strcmp(upgrade, "UPGRADE") == 0)
		r = reject_policy(parse, "connectionPool.http: UPGRADE with useClientProtocol");
	return r;
}

static int check_tcp(struct parse *parse, const cJSON *in)
{
	static const char why[] = "connectionPool.tcp: a time is not 1ms or more";
	const cJSON *alive;
	int r = check_number(parse, in, "maxConnections", UINT32_MAX,
			     "connectionPool.tcp: maxConnections is negative");

	if (!r)
		r = check_duration(parse, in, "connectTimeout", why);
	if (!r)
		r = check_duration(parse, in, "maxConnectionDuration", why);
	if (!r)
		r = check_duration(parse, in, "idleTimeout", why);
	if (!r)
		r = reg_parse_object(parse, in, "tcpKeepalive",
				     "connectionPool.tcp: tcpKeepalive is not a mapping", &alive);
	if (!r)
		r = check_duration(parse, alive, "time", why);
	return r ? r : check_duration(parse, alive, "interval", why);
}

static int check_pool(struct parse *parse, const cJSON *in)
{
	const cJSON *pool, *http, *tcp;
	int r = reg_parse_object(parse, in, "connectionPool", "connectionPool: not a mapping",
				 &pool);

	if (r || !pool)
		return r;
	r = reg_parse_object(parse, pool, "http", "connectionPool.http: not a mapping", &http);
	if (!r)
		r = reg_parse_object(parse, pool, "tcp", "connectionPool.tcp: not a mapping", &tcp);
	if (!r && !http && !tcp)
		r = reject_policy(parse, "connectionPool: empty");
	if (!r && http)
		r = check_http(parse, http);
	if (!r && tcp)
		r = check_tcp(parse, tcp);
	return r;
}

static int check_outlier(struct parse *parse, const cJSON *in)
{
	static const char why[] = "outlierDetection: a time is not 1ms or more";
	const cJSON *outlier;
	int64_t failures;
	bool present, split;
	int r = reg_parse_object(parse, in, "outlierDetection", "outlierDetection: not a mapping",
				 &outlier);

	if (r || !outlier)
		return r;
	r = check_duration(parse, outlier, "interval", why);
	if (!r)
		r = check_duration(parse, outlier, "baseEjectionTime", why);
	if (!r)
		r = check_number(parse, outlier, "maxEjectionPercent", 100,
				 "outlierDetection: maxEjectionPercent is not 0 to 100");
	if (!r)
		r = check_number(parse, outlier, "minHealthPercent", 100,
				 "outlierDetection: minHealthPercent is not 0 to 100");
	if (!r)
		r = reg_parse_number(parse, outlier, "consecutiveLocalOriginFailures",
				     "outlierDetection: a number is none", &failures, &present);
	if (!r)
		r = reg_parse_bool(parse, outlier, "splitExternalLocalOriginErrors",
				   "outlierDetection: splitExternalLocalOriginErrors is neither "
				   "true nor false",
				   &split);
	if (!r && failures > 0 && !split)
		r = reject_policy(parse, "outlierDetection: consecutiveLocalOriginFailures without "
					 "splitExternalLocalOriginErrors");
	return r;
}

/* A share of a hundred that may have a fraction; absent is right. */
static bool is_between(const cJSON *in, const char *key, double min, double max)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, key);

	return !item || cJSON_IsNull(item) ||
	       (cJSON_IsNumber(item) && item->valuedouble >= min && item->valuedouble <= max);
}

static int check_warmup(struct parse *parse, const cJSON *in)
{
	const cJSON *warmup;
	int r = reg_parse_object(parse, in, "warmup", "loadBalancer.warmup: not a mapping",
				 &warmup);

	if (r || !warmup)
		return r;
	if (!reg_parse_has(warmup, "duration"))
		return reject_policy(parse, "loadBalancer.warmup: no duration");
	r = check_duration(parse, warmup, "duration",
			   "loadBalancer.warmup: duration is not 1ms or more");
	if (!r && !is_between(warmup, "minimumPercent", 0, 100))
		r = reject_policy(parse, "loadBalancer.warmup: minimumPercent is not 0 to 100");
	if (!r && !is_between(warmup, "aggression", 1, 1e308))
		r = reject_policy(parse, "loadBalancer.warmup: aggression is less than 1");
	return r;
}

static int check_balancer(struct parse *parse, const cJSON *in)
{
	const cJSON *balancer;
	int r = reg_parse_object(parse, in, "loadBalancer", "loadBalancer: not a mapping",
				 &balancer);

	if (r || !balancer)
		return r;
	if (reg_parse_has(balancer, "simple") && reg_parse_has(balancer, "consistentHash"))
		return reject_policy(parse, "loadBalancer: simple together with consistentHash");
	r = check_duration(parse, balancer, "warmupDurationSecs",
			   "loadBalancer: warmupDurationSecs is not 1ms or more");
	return r ? r : check_warmup(parse, balancer);
}

int reg_parse_policy_settings(struct parse *parse, const cJSON *in)
{
	int r = check_pool(parse, in);

	if (!r)
		r = check_outlier(parse, in);
	return r ? r : check_balancer(parse, in);
}
