// SPDX-License-Identifier: Apache-2.0
/*
 * The registry against a slow reference over thousands of random registries.
 *
 * The reference is written the other way round: where the registry looks up a connection, it builds everything a
 * sidecar would be sent (services, listeners, filter chains, routes), by plain loops over the objects as they were
 * made up, and then goes through all of it. It shares no code with the registry and does not read JSON.
 */
#include "registry_help.h"

#include "text.h"

/* SEED=N ROUNDS=N in the environment play one again. */
#define ROUNDS    2500
#define QUESTIONS 60

static uint64_t random_state;

static unsigned int rnd(unsigned int n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned int)((random_state >> 32) % n);
}

/* One time in n. */
static bool once_in(unsigned int n)
{
	return rnd(n) == 0;
}

#define PICK(list) (list)[rnd(ARRAY_SIZE(list))]
/* Every other registry has few names and ports, so that more of its objects meet. */
#define SOME(list, few) (list)[rnd(crowded ? (few) : ARRAY_SIZE(list))]

static bool crowded;

static const char *const spaces[] = {"a", "b", "c", "root"};
static const char *const hosts[] = {
	"x.com", "a.x.com", "*.x.com", "b.a.x.com", "*.a.x.com",
	"*.com", "y.org",   "*x.com",  "*-q.x.com", "web.a.svc.cluster.local"};
static const char *const asked[] = {"x.com",
				    "a.x.com",
				    "b.a.x.com",
				    "c.x.com",
				    "z.com",
				    "y.org",
				    "yx.com",
				    "t-q.x.com",
				    "-q.x.com",
				    "com",
				    "web.a",
				    "web",
				    "web.a.svc.cluster.local",
				    "1.1.1.1",
				    ""};
static const unsigned int ports[] = {80, 443, 9000};
static const char *const addresses[] = {"1.1.1.1", "2.2.2.2", "1.1.1.0/24", "1.1.0.0/16",
					"1.1.1.1/32"};
static const char *const reached[] = {"1.1.1.1", "1.1.1.9",     "1.1.9.9",    "2.2.2.2",
				      "9.9.9.9", "240.240.0.1", "240.240.0.2"};
static const char *const words[] = {"HTTP", "TLS", "TCP", "", "HTTPS", "GRPC", "UDP", "MONGO"};

/* What is made up */

enum kind { ENTRY, SERVICE, RULE, SIDECAR, ROUTE };

struct policy_text {
	unsigned int
		tls; /* 0 absent, 1 SIMPLE, 2 DISABLE, 3 ISTIO_MUTUAL, 4 with credential, 5 other settings */
	unsigned int port; /* 0: none */
	unsigned int port_tls;
};

struct thing {
	enum kind kind;
	char ns[8], name[16];
	unsigned int created;
	const char *hosts[3];
	unsigned int n_hosts;
	struct {
		unsigned int number;
		const char *word;
	} ports[3];
	unsigned int n_ports;
	const char *addresses[2];
	unsigned int n_addresses;
	const char *allocated;   /* of the first host */
	unsigned int resolution; /* 0 NONE 1 STATIC 2 DNS */
	unsigned int label;
	bool selector; /* app=x */
	const char *export[3];
	unsigned int n_export;
	struct policy_text policy;
	bool has_policy, subset; /* RULE: subset "s" with the policy of a port 443: SIMPLE */
	/* SIDECAR */
	struct {
		unsigned int port, word;
		const char *ns[2], *host[2];
		unsigned int n;
	} listeners[2];
	unsigned int n_listeners;
	unsigned int outbound; /* 0 absent 1 ALLOW_ANY 2 REGISTRY_ONLY */
	/* ROUTE */
	unsigned int match_port, to_port;
	const char *to;
	bool to_subset, conditional, for_label;
};

#define THINGS_MAX 24

static struct thing things[THINGS_MAX];
static unsigned int n_things;
static struct registry_options options;

static bool is_wild(const char *host)
{
	return host[0] == '*';
}

static void make_export(struct thing *t, bool nobody)
{
	static const char *const sets[][3] = {{"*"},      {"."},      {"a"},      {"b"},
					      {".", "b"}, {"b", "c"}, {"a", "c"}, {"~"}};
	unsigned int which = rnd(nobody ? 8 : 7);
	unsigned int own = 0;

	t->n_export = 0;
	if (once_in(2))
		return;
	for (unsigned int i = 0; i < 3 && sets[which][i]; i++) {
		own += !strcmp(sets[which][i], ".") || !strcmp(sets[which][i], t->ns);
		t->export[t->n_export++] = sets[which][i];
	}
	/* `.` together with the namespace itself is not valid. */
	if (own > 1)
		t->n_export = 1;
}

static char word_class(const char *word)
{
	if (!*word)
		return 'A';
	if (!strcmp(word, "UDP"))
		return 'U';
	if (!strcmp(word, "TLS") || !strcmp(word, "HTTPS"))
		return 'T';
	return strcmp(word, "HTTP") && strcmp(word, "GRPC") ? 'C' : 'H';
}

static void make_ports(struct thing *t)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(ports); i++) {
		if (once_in(3))
			continue;
		t->ports[t->n_ports].number = ports[i];
		t->ports[t->n_ports++].word = once_in(crowded ? 1 : 2) ? words[once_in(4) ? 1 : 0]
								       : PICK(words);
	}
}

static void make_entry(struct thing *t)
{
	bool wild = false, range = false, plain = true;

	t->n_hosts = 1 + once_in(3);
	for (unsigned int i = 0; i < t->n_hosts; i++) {
		t->hosts[i] = SOME(hosts, 3);
		wild = wild || is_wild(t->hosts[i]);
	}
	make_ports(t);
	for (unsigned int i = 0; i < t->n_ports; i++)
		plain = plain && strchr("HT", word_class(t->ports[i].word));
	if (once_in(3))
		for (unsigned int i = 0; i <= once_in(2); i++) {
			t->addresses[t->n_addresses++] = PICK(addresses);
			range = range || strchr(t->addresses[i], '/');
		}
	t->resolution = rnd(3);
	if (t->resolution == 2 && (wild || range))
		t->resolution = rnd(2);
	if (t->resolution && !plain)
		t->n_hosts = 1;
	if (!t->n_addresses && once_in(4))
		t->allocated = once_in(2) ? "240.240.0.1" : "240.240.0.2";
	t->label = rnd(2);
	t->selector = once_in(8);
	make_export(t, true);
}

static void make_service(struct thing *t)
{
	snprintf(t->ns, sizeof(t->ns), "a");
	snprintf(t->name, sizeof(t->name), "web");
	t->hosts[t->n_hosts++] = "web.a.svc.cluster.local";
	make_ports(t);
	if (!once_in(3))
		t->addresses[t->n_addresses++] = PICK(reached);
	make_export(t, true);
}

static void make_rule(struct thing *t)
{
	static const char *const more[] = {"*", "x.com", "*.x.com", "a.x.com", "*.com"};

	t->hosts[t->n_hosts++] = once_in(2) ? PICK(more) : SOME(hosts, 3);
	t->selector = once_in(4);
	t->subset = once_in(3);
	t->has_policy = !once_in(4);
	t->policy.tls = once_in(2) ? 1 : rnd(6);
	t->policy.port = once_in(2) ? SOME(ports, 2) : 0;
	t->policy.port_tls = 1 + rnd(5);
	if (!t->policy.tls && !t->policy.port)
		t->policy.tls = 1;
	make_export(t, false);
	if (t->selector)
		t->n_export = 0;
}

static void make_sidecar(struct thing *t)
{
	static const char *const from[] = {"*", ".", "a", "b", "~"};
	static const char *const what[] = {"*",       "*.com",   "x.com",
					   "*.x.com", "a.x.com", "*.cluster.local"};

	t->selector = once_in(2);
	t->outbound = 1 + rnd(2);
	t->n_listeners = rnd(3);
	for (unsigned int i = 0; i < t->n_listeners; i++) {
		t->listeners[i].port = i + 1 < t->n_listeners || once_in(3) ? ports[i] : 0;
		t->listeners[i].word = rnd(4);
		t->listeners[i].n = 1 + rnd(2);
		for (unsigned int j = 0; j < t->listeners[i].n; j++) {
			t->listeners[i].ns[j] = PICK(from);
			t->listeners[i].host[j] = PICK(what);
		}
	}
	if (once_in(3) && t->n_listeners)
		t->outbound = 0;
}

static void make_route(struct thing *t)
{
	t->hosts[t->n_hosts++] = SOME(hosts, 3);
	t->to = SOME(hosts, 3);
	if (is_wild(t->to))
		t->to = "x.com";
	t->to_port = once_in(2) ? PICK(ports) : 0;
	t->match_port = once_in(2) ? PICK(ports) : 0;
	t->to_subset = once_in(2);
	t->conditional = once_in(4);
	t->for_label = once_in(4);
	make_export(t, false);
}

static void make_thing(struct thing *t, unsigned int i)
{
	static const enum kind kinds[] = {ENTRY, ENTRY, ENTRY,   ENTRY, RULE,
					  RULE,  RULE,  SIDECAR, ROUTE, SERVICE};

	*t = (struct thing){.kind = PICK(kinds)};
	snprintf(t->ns, sizeof(t->ns), "%s", PICK(spaces));
	snprintf(t->name, sizeof(t->name), "n%u", i);
	t->created = rnd(3);
	switch (t->kind) {
	case ENTRY:
		make_entry(t);
		break;
	case SERVICE:
		make_service(t);
		break;
	case RULE:
		make_rule(t);
		break;
	case SIDECAR:
		make_sidecar(t);
		break;
	default:
		make_route(t);
	}
}

/* As YAML */

static void put(struct text *text, const char *fmt, ...) _printf_(2, 3);
static void put(struct text *text, const char *fmt, ...)
{
	char buf[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	text_puts(text, buf);
}

static void put_list(struct text *text, const char *key, const char *const *items, unsigned int n)
{
	if (!n)
		return;
	put(text, "  %s: [", key);
	for (unsigned int i = 0; i < n; i++)
		put(text, "%s\"%s\"", i ? ", " : "", items[i]);
	put(text, "]\n");
}

static void put_tls(struct text *text, unsigned int tls)
{
	static const char *const settings[] = {"",
					       "tls: {mode: SIMPLE}",
					       "tls: {mode: DISABLE}",
					       "tls: {mode: ISTIO_MUTUAL}",
					       "tls: {mode: SIMPLE, credentialName: c}",
					       "connectionPool: {tcp: {maxConnections: 1}}"};

	put(text, "%s", settings[tls]);
}

static void put_entry(struct text *text, const struct thing *t)
{
	static const char *const resolutions[] = {"NONE", "STATIC", "DNS"};

	put_list(text, "hosts", t->hosts, t->n_hosts);
	put_list(text, "addresses", t->addresses, t->n_addresses);
	put_list(text, "exportTo", t->export, t->n_export);
	put(text, "  resolution: %s\n  ports:\n", resolutions[t->resolution]);
	for (unsigned int i = 0; i < t->n_ports; i++)
		put(text, "  - {number: %u, name: p%u, protocol: \"%s\"}\n", t->ports[i].number, i,
		    t->ports[i].word);
	if (t->selector)
		put(text, "  workloadSelector: {labels: {app: x}}\n");
	if (t->allocated)
		put(text, "status: {addresses: [{value: %s, host: \"%s\"}]}\n", t->allocated,
		    t->hosts[0]);
}

static void put_service(struct text *text, const struct thing *t)
{
	put(text, "  clusterIP: %s\n  ports:\n", t->n_addresses ? t->addresses[0] : "None");
	for (unsigned int i = 0; i < t->n_ports; i++)
		put(text, "  - {port: %u, name: p%u, appProtocol: \"%s\", protocol: %s}\n",
		    t->ports[i].number, i, t->ports[i].word,
		    strcmp(t->ports[i].word, "UDP") ? "TCP" : "UDP");
}

static void put_rule(struct text *text, const struct thing *t)
{
	put(text, "  host: \"%s\"\n", t->hosts[0]);
	put_list(text, "exportTo", t->export, t->n_export);
	if (t->selector)
		put(text, "  workloadSelector: {matchLabels: {app: x}}\n");
	if (t->subset)
		put(text, "  subsets: [{name: s, trafficPolicy: {portLevelSettings: [{port: "
			  "{number: 443}, tls: {mode: SIMPLE}}]}}]\n");
	if (!t->has_policy)
		return;
	put(text, "  trafficPolicy: {");
	put_tls(text, t->policy.tls);
	if (t->policy.port) {
		put(text, "%sportLevelSettings: [{port: {number: %u}, ", t->policy.tls ? ", " : "",
		    t->policy.port);
		put_tls(text, t->policy.port_tls);
		put(text, "}]");
	}
	put(text, "}\n");
}

static void put_sidecar(struct text *text, const struct thing *t)
{
	if (t->selector)
		put(text, "  workloadSelector: {labels: {app: x}}\n");
	if (t->outbound)
		put(text, "  outboundTrafficPolicy: {%s}\n",
		    t->outbound == 1 ? "mode: ALLOW_ANY" : "");
	for (unsigned int i = 0; i < t->n_listeners; i++) {
		put(text, "%s  - hosts: [", i ? "" : "  egress:\n");
		for (unsigned int j = 0; j < t->listeners[i].n; j++)
			put(text, "%s\"%s/%s\"", j ? ", " : "", t->listeners[i].ns[j],
			    t->listeners[i].host[j]);
		put(text, "]\n");
		if (t->listeners[i].port)
			put(text, "    port: {number: %u, protocol: \"%s\"}\n",
			    t->listeners[i].port, words[t->listeners[i].word]);
	}
}

static void put_route(struct text *text, const struct thing *t)
{
	put_list(text, "hosts", t->hosts, t->n_hosts);
	put_list(text, "exportTo", t->export, t->n_export);
	put(text, "  http:\n  - match: [{name: m");
	if (t->match_port)
		put(text, ", port: %u", t->match_port);
	if (t->conditional)
		put(text, ", uri: {prefix: /x}");
	if (t->for_label)
		put(text, ", sourceLabels: {app: x}");
	put(text, "}]\n    route: [{destination: {host: %s", t->to);
	if (t->to_port)
		put(text, ", port: {number: %u}", t->to_port);
	put(text, "%s}}]\n", t->to_subset ? ", subset: s" : "");
}

static void put_thing(struct text *text, const struct thing *t)
{
	static const char *const kinds[] = {"ServiceEntry", "Service", "DestinationRule", "Sidecar",
					    "VirtualService"};

	put(text, "---\napiVersion: %s\nkind: %s\nmetadata:\n  namespace: %s\n  name: %s\n",
	    t->kind == SERVICE ? "v1" : "networking.istio.io/v1", kinds[t->kind], t->ns, t->name);
	put(text, "  creationTimestamp: \"2026-01-0%uT00:00:00Z\"\n", t->created + 1);
	put(text, "  labels: {l: \"%u\"}\n", t->label);
	if (t->kind == SERVICE && t->n_export) {
		put(text, "  annotations: {networking.istio.io/exportTo: \"");
		for (unsigned int i = 0; i < t->n_export; i++)
			put(text, "%s%s", i ? "," : "", t->export[i]);
		put(text, "\"}\n");
	}
	put(text, "spec:\n");
	if (t->kind == ENTRY)
		put_entry(text, t);
	else if (t->kind == SERVICE)
		put_service(text, t);
	else if (t->kind == RULE)
		put_rule(text, t);
	else if (t->kind == SIDECAR)
		put_sidecar(text, t);
	else
		put_route(text, t);
}

/* The reference */

struct question {
	const char *ns, *host; /* host: "" if not in the connection */
	bool app_x;
	char traffic; /* H, T, C */
	unsigned int port;
	const char *address; /* NULL: not known */
};

/* Older first, as the registry has it: time, namespace, name. */
static bool older(const struct thing *a, const struct thing *b)
{
	int r = (int)a->created - (int)b->created;

	if (!r)
		r = strcmp(a->ns, b->ns);
	return (r ? r : strcmp(a->name, b->name)) < 0;
}

static bool lists(const struct thing *t, const char *word)
{
	for (unsigned int i = 0; i < t->n_export; i++)
		if (!strcmp(t->export[i], word))
			return true;
	return false;
}

static bool default_private(const struct thing *t)
{
	if (t->kind == RULE)
		return options.rules_private;
	return t->kind == ROUTE ? options.routes_private : options.services_private;
}

static bool sees(const char *ns, const struct thing *t)
{
	if (!t->n_export)
		return !default_private(t) || !strcmp(ns, t->ns);
	if (lists(t, "*"))
		return true;
	return lists(t, ns) || (lists(t, ".") && !strcmp(ns, t->ns));
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

/* A pattern over a host or another pattern, as Istio has it. */
static bool covers(const char *pattern, const char *host)
{
	if (!is_wild(pattern))
		return !strcmp(pattern, host);
	if (is_wild(host))
		return strlen(host) >= strlen(pattern) && ends_with(host + 1, pattern + 1);
	return ends_with(host, pattern + 1);
}

static bool beats(const char *a, const char *b)
{
	if (is_wild(a) != is_wild(b))
		return is_wild(b);
	return strlen(a) > strlen(b);
}

/* The client's Sidecar and listener. */
static const struct thing *ref_sidecar(const struct question *q)
{
	const struct thing *best[3] = {NULL, NULL, NULL};

	for (unsigned int i = 0; i < n_things; i++) {
		const struct thing *t = &things[i];
		int rank = -1;

		if (t->kind != SIDECAR)
			continue;
		if (!strcmp(t->ns, q->ns) && t->selector && q->app_x)
			rank = 0;
		else if (!strcmp(t->ns, q->ns) && !t->selector)
			rank = 1;
		else if (!strcmp(t->ns, "root") && !t->selector)
			rank = 2;
		if (rank >= 0 && (!best[rank] || older(t, best[rank])))
			best[rank] = t;
	}
	return best[0] ? best[0] : best[1] ? best[1] : best[2];
}

struct scope {
	const struct question *q;
	const struct thing *sidecar;
	int listener; /* -1: all there is; -2: none for the port */
	char word;    /* class of a listener with a port of its own, or 0 */
};

static struct scope ref_scope(const struct question *q)
{
	struct scope s = {.q = q, .sidecar = ref_sidecar(q), .listener = -1};

	if (!s.sidecar || !s.sidecar->n_listeners)
		return s;
	s.listener = -2;
	for (unsigned int i = 0; i < s.sidecar->n_listeners && s.listener == -2; i++) {
		unsigned int port = s.sidecar->listeners[i].port;

		if (port && port != q->port)
			continue;
		s.listener = (int)i;
		s.word = port ? word_class(words[s.sidecar->listeners[i].word]) : 0;
	}
	return s;
}

static int port_of(const struct thing *t, unsigned int number)
{
	for (unsigned int i = 0; i < t->n_ports; i++)
		if (t->ports[i].number == number && word_class(t->ports[i].word) != 'U')
			return (int)i;
	return -1;
}

static bool ref_imports(const struct scope *s, const struct thing *t, const char *host)
{
	if (!sees(s->q->ns, t))
		return false;
	if (s->listener < 0)
		return true;
	for (unsigned int i = 0; i < s->sidecar->listeners[s->listener].n; i++) {
		const char *ns = s->sidecar->listeners[s->listener].ns[i];

		if (!strcmp(ns, "."))
			ns = s->q->ns;
		if ((!strcmp(ns, "*") || !strcmp(ns, t->ns)) &&
		    covers(s->sidecar->listeners[s->listener].host[i], host))
			return !s->word || t->kind == ROUTE || port_of(t, s->q->port) >= 0;
	}
	return false;
}

/* By letter: `.` and the namespace's own name are two things. */
static bool same_export(const struct thing *a, const struct thing *b)
{
	for (unsigned int i = 0; i < a->n_export; i++)
		if (!lists(b, a->export[i]))
			return false;
	return a->n_export == b->n_export;
}

static bool ref_merges(const struct thing *a, const struct thing *b)
{
	return a->kind == ENTRY && b->kind == ENTRY && !strcmp(a->ns, b->ns) &&
	       a->resolution == b->resolution && a->label == b->label &&
	       a->selector == b->selector && same_export(a, b);
}

/* A service of the client's: one for each host. */
struct ref_service {
	const char *host;
	const struct thing *head, *from;
	char declared, class;
};

static struct ref_service services[64];
static unsigned int n_services;

static bool has_host(const struct thing *t, const char *host)
{
	for (unsigned int i = 0; i < t->n_hosts; i++)
		if (!strcmp(t->hosts[i], host))
			return true;
	return false;
}

/* Rank of a candidate for a host: own namespace, Kubernetes, age. */
static bool ref_preferred(const struct question *q, const struct thing *a, const struct thing *b)
{
	bool own_a = !strcmp(a->ns, q->ns), own_b = !strcmp(b->ns, q->ns);

	if (own_a != own_b)
		return own_a;
	if ((a->kind == SERVICE) != (b->kind == SERVICE))
		return a->kind == SERVICE;
	return older(a, b);
}

static void ref_add_service(const struct scope *s, const char *host)
{
	struct ref_service service = {.host = host};

	for (unsigned int i = 0; i < n_services; i++)
		if (!strcmp(services[i].host, host))
			return;
	for (unsigned int i = 0; i < n_things; i++) {
		const struct thing *t = &things[i];

		if ((t->kind == ENTRY || t->kind == SERVICE) && has_host(t, host) &&
		    ref_imports(s, t, host) &&
		    (!service.head || ref_preferred(s->q, t, service.head)))
			service.head = t;
	}
	if (!service.head)
		return;
	service.from = service.head;
	if (port_of(service.head, s->q->port) < 0) {
		service.from = NULL;
		for (unsigned int i = 0; i < n_things; i++) {
			const struct thing *t = &things[i];

			if (t->kind == ENTRY && has_host(t, host) && ref_imports(s, t, host) &&
			    ref_merges(service.head, t) && port_of(t, s->q->port) >= 0 &&
			    (!service.from || older(t, service.from)))
				service.from = t;
		}
	}
	if (!service.from)
		return;
	service.declared = word_class(service.from->ports[port_of(service.from, s->q->port)].word);
	service.class = s->word ? s->word : service.declared;
	services[n_services++] = service;
}

static void ref_services(const struct scope *s)
{
	n_services = 0;
	for (unsigned int i = 0; i < n_things; i++)
		for (unsigned int j = 0; j < things[i].n_hosts; j++)
			if (things[i].kind == ENTRY || things[i].kind == SERVICE)
				ref_add_service(s, things[i].hosts[j]);
}

static bool ref_headless(const struct thing *t)
{
	return t->kind == SERVICE ? !t->n_addresses : t->resolution == 0 && t->selector;
}

static bool ref_open(const struct thing *t)
{
	return !t->n_addresses && !ref_headless(t);
}

/* Bits of the prefix by which a service has the address; -1: not. 32: a listener of its own. */
static int ref_prefix(const struct ref_service *s, const char *address)
{
	const struct thing *t = s->from;
	int best = -1;

	for (unsigned int i = 0; i < t->n_addresses; i++) {
		const char *have = t->addresses[i];
		int bits = -1;

		if (!strcmp(have, address) ||
		    (!strcmp(have, "1.1.1.1/32") && !strcmp(address, "1.1.1.1")))
			bits = 32;
		else if (!strcmp(have, "1.1.1.0/24") && !strncmp(address, "1.1.1.", 6))
			bits = 24;
		else if (!strcmp(have, "1.1.0.0/16") && !strncmp(address, "1.1.", 4))
			bits = 16;
		best = MAX(best, bits);
	}
	if (t->allocated && !strcmp(t->allocated, address) && !strcmp(s->host, t->hosts[0]))
		best = 32;
	return best;
}

/* Envoy's idea of a domain: something stands for the star. */
static bool is_domain_of(const char *pattern, const char *host)
{
	return covers(pattern, host) && (!is_wild(pattern) || strlen(host) >= strlen(pattern));
}

static bool is_sni_of(const char *pattern, const char *host)
{
	return *host && is_domain_of(pattern, host) && (!is_wild(pattern) || pattern[1] == '.');
}

static unsigned int host_index(const struct ref_service *s)
{
	unsigned int i = 0;

	while (strcmp(s->from->hosts[i], s->host) != 0)
		i++;
	return i;
}

/* The one that is older; of one object, the one of the earlier host. */
static void take_older(const struct ref_service **best, const struct ref_service *s)
{
	if (!*best || older(s->from, (*best)->from) ||
	    (s->from == (*best)->from && host_index(s) < host_index(*best)))
		*best = s;
}

static const struct ref_service *ref_by_address(const struct question *q, bool *in_range)
{
	const struct ref_service *own = NULL, *tls = NULL, *tcp = NULL;
	int longest = -1;

	*in_range = false;
	if (!q->address)
		return NULL;
	for (unsigned int i = 0; i < n_services; i++) {
		int bits = ref_prefix(&services[i], q->address);

		if (services[i].class == 'H')
			continue;
		if (bits == 32)
			take_older(&own, &services[i]);
		longest = MAX(longest, bits);
	}
	if (own || longest < 0)
		return own;
	*in_range = true;
	for (unsigned int i = 0; i < n_services; i++) {
		const struct ref_service *s = &services[i];

		if (s->class == 'H' || ref_prefix(s, q->address) != longest)
			continue;
		if (s->class != 'T')
			take_older(&tcp, s);
		else if (q->traffic == 'T' && is_sni_of(s->host, q->host) &&
			 (!tls || beats(s->host, tls->host)))
			tls = s;
	}
	return tls ? tls : tcp;
}

static bool ref_reads_http(void)
{
	for (unsigned int i = 0; i < n_services; i++)
		if (services[i].class == 'H' ||
		    (services[i].class == 'A' && ref_open(services[i].from)))
			return true;
	return false;
}

static const struct ref_service *ref_rest(void)
{
	const struct ref_service *best = NULL;

	for (unsigned int i = 0; i < n_services; i++)
		if (strchr("CA", services[i].class) && ref_open(services[i].from))
			take_older(&best, &services[i]);
	return best;
}

static bool ref_takes(const struct question *q, const struct ref_service *s)
{
	bool open = !ref_headless(s->from) && (!s->from->n_addresses || !q->address);

	if (q->traffic == 'T')
		return s->class == 'T' && open;
	if (!strchr("HA", s->declared))
		return false;
	return s->class == 'H' || (s->class == 'A' && open) || ref_reads_http();
}

static const struct ref_service *ref_by_name(const struct question *q, bool any)
{
	const struct ref_service *best = NULL;

	for (unsigned int i = 0; i < n_services; i++) {
		const struct ref_service *s = &services[i];
		bool named = q->traffic == 'T' && !any ? is_sni_of(s->host, q->host)
						       : is_domain_of(s->host, q->host);

		if (*q->host && named && (any || ref_takes(q, s)) &&
		    (!best || beats(s->host, best->host)))
			best = s;
	}
	return best;
}

/* "web", "web.a" and addresses as domains. */
static const struct ref_service *ref_by_other_name(const struct question *q)
{
	bool web = !strcmp(q->host, "web.a") || (!strcmp(q->host, "web") && !strcmp(q->ns, "a")),
	     exists = false;
	const struct ref_service *best = NULL;

	for (unsigned int i = 0; i < n_things; i++)
		exists = exists || things[i].kind == SERVICE;
	for (unsigned int i = 0; i < n_services; i++)
		if (web && exists && !strcmp(services[i].host, "web.a.svc.cluster.local") &&
		    ref_takes(q, &services[i]))
			return &services[i];
	for (unsigned int i = 0; i < n_services; i++)
		if (!strcmp(q->host, "1.1.1.1") && ref_prefix(&services[i], q->host) == 32 &&
		    ref_takes(q, &services[i]))
			take_older(&best, &services[i]);
	return best;
}

static const struct ref_service *ref_match(const struct question *q)
{
	bool in_range;
	const struct ref_service *s = ref_by_address(q, &in_range);

	if (s || in_range)
		return s;
	if (q->traffic == 'C')
		return ref_rest();
	s = ref_by_name(q, false);
	if (!s && q->traffic == 'H' && *q->host)
		s = ref_by_other_name(q);
	if (s || (q->traffic == 'H' && ref_reads_http()))
		return s;
	return ref_rest();
}

/* Rules */

static bool rule_private(const struct thing *t)
{
	if (t->selector)
		return true;
	if (!t->n_export)
		return options.rules_private;
	return t->n_export == 1 && (!strcmp(t->export[0], ".") || !strcmp(t->export[0], t -> ns));
}

static bool rule_local(const struct thing *t)
{
	return t->selector || !t->n_export || lists(t, "*") || lists(t, ".") || lists(t, t->ns);
}

/* scope: l local, r local of the root namespace, e exported */
static bool rule_in(const struct thing *t, const char *ns, char scope)
{
	if (t->kind != RULE || strcmp(t->ns, ns))
		return false;
	return scope == 'l' ? rule_local(t) : scope == 'r' ? rule_private(t) : !rule_private(t);
}

static bool rule_for(const struct question *q, const struct thing *t, char scope)
{
	if (scope == 'e')
		return !t->n_export || lists(t, "*") || lists(t, q->ns);
	return !t->selector || q->app_x;
}

static unsigned int tls_of(const struct thing *t, unsigned int port)
{
	unsigned int tls = t->policy.port && t->policy.port == port ? t->policy.port_tls
								    : t->policy.tls;

	/* A credential counts for certain workloads only. */
	if (tls == 4)
		return t->selector ? 1 : 2;
	return tls;
}

static bool rule_before(const struct thing *a, const struct thing *b)
{
	if (a->selector != b->selector)
		return a->selector;
	return older(a, b);
}

static bool ref_rules_in(const struct question *q, const char *host, const char *ns, char scope,
			 unsigned int port, bool subset, const struct thing **ret,
			 unsigned int *ret_tls)
{
	const char *best = NULL;
	const struct thing *first = NULL, *policy = NULL;
	bool with_subset = false;

	for (unsigned int i = 0; i < n_things; i++) {
		const struct thing *t = &things[i];
		bool fits = rule_in(t, ns, scope) &&
			    (is_wild(host) ? is_wild(t->hosts[0]) && covers(t->hosts[0], host)
					   : covers(t->hosts[0], host));

		if (fits && (!best || beats(t->hosts[0], best)))
			best = t->hosts[0];
	}
	for (unsigned int i = 0; best && i < n_things; i++) {
		const struct thing *t = &things[i];

		if (!rule_in(t, ns, scope) || strcmp(t->hosts[0], best) || !rule_for(q, t, scope))
			continue;
		if (!first || rule_before(t, first))
			first = t;
		if (t->has_policy && (!policy || rule_before(t, policy)))
			policy = t;
		with_subset = with_subset || t->subset;
	}
	/* Exported ones are asked for in the next namespace, too, if none is for this one. */
	if (!first)
		return best && scope != 'e';
	*ret = policy ? policy : first;
	*ret_tls = policy ? tls_of(policy, port) : 0;
	if (subset && with_subset && port == 443)
		*ret_tls = 1;
	return true;
}

static const struct thing *ref_rule(const struct question *q, const char *host, const char *ns,
				    unsigned int port, bool subset, unsigned int *ret_tls)
{
	char local = strcmp(q->ns, "root") ? 'l' : 'r';
	const struct thing *rule = NULL;

	*ret_tls = 0;
	if (ref_rules_in(q, host, q->ns, local, port, subset, &rule, ret_tls) ||
	    (ns && ref_rules_in(q, host, ns, 'e', port, subset, &rule, ret_tls)) ||
	    ref_rules_in(q, host, "root", 'e', port, subset, &rule, ret_tls))
		return rule;
	return NULL;
}

static const struct thing *ref_route(const struct scope *s, const char *host)
{
	const struct thing *best = NULL;

	for (unsigned int i = 0; i < n_things; i++) {
		const struct thing *t = &things[i];

		if (t->kind != ROUTE ||
		    !(is_wild(host) ? is_wild(t->hosts[0]) && covers(t->hosts[0], host)
				    : covers(t->hosts[0], host)) ||
		    !ref_imports(s, t, t->hosts[0]))
			continue;
		if (!best || beats(t->hosts[0], best->hosts[0]) ||
		    (!beats(best->hosts[0], t->hosts[0]) && older(t, best)))
			best = t;
	}
	return best;
}

/* The namespace of a destination's service: seen without the Sidecar. */
static const char *ref_destination(const struct question *q, const char *host, unsigned int port)
{
	struct question other = *q;
	struct scope all = {.q = &other, .listener = -1};

	other.port = port;
	n_services = 0;
	ref_add_service(&all, host);
	return n_services ? services[0].head->ns : NULL;
}

static bool ref_originates(const struct scope *s, const struct ref_service *service,
			   const struct thing **ret_rule)
{
	const struct question *q = s->q;
	const struct thing *route = strchr("HA", service->declared) ? ref_route(s, service->host)
								    : NULL;
	unsigned int tls, port;

	if (route && !route->conditional && (!route->match_port || route->match_port == q->port) &&
	    (!route->for_label || q->app_x)) {
		port = route->to_port ? route->to_port : q->port;
		*ret_rule = ref_rule(q, route->to, ref_destination(q, route->to, port), port,
				     route->to_subset, &tls);
		return tls == 1;
	}
	*ret_rule = ref_rule(q, service->host, service->head->ns, q->port, false, &tls);
	return tls == 1;
}

static void add_name(char *text, size_t size, const char *word, const struct thing *t)
{
	size_t n = strlen(text);

	if (t)
		snprintf(text + n, size - n, "%s%s/%s", word, t->ns, t->name);
}

static void ref_answer(const struct question *q, bool named, char *ret, size_t size)
{
	struct scope s = ref_scope(q);
	struct question unnamed = *q;
	const struct ref_service *found = NULL;
	const struct thing *rule = NULL, *from;
	bool blocks = options.registry_only, own = s.sidecar && s.sidecar->outbound;

	n_services = 0;
	if (s.listener != -2)
		ref_services(&s);
	if (!named)
		unnamed.host = "";
	found = ref_match(&unnamed);
	if (found) {
		from = found->from;
		snprintf(ret, size, "%s",
			 q->traffic == 'H' && ref_originates(&s, found, &rule) ? "originated"
									       : "registered");
		add_name(ret, size, " ", from);
		add_name(ret, size, " by ", rule);
		return;
	}
	if (own)
		blocks = s.sidecar->outbound == 2;
	snprintf(ret, size, "%s", blocks ? "blocked" : "passthrough");
	add_name(ret, size, " ", blocks && own ? s.sidecar : NULL);
	found = ref_by_name(q, true);
	add_name(ret, size, " near ", found ? found->from : NULL);
}

/* Both */

static struct registry_store *build(char **ret_yaml)
{
	struct text text = TEXT_INIT(1u << 20);
	struct registry_store *store;
	bool service = false;
	size_t size;

	options = REGISTRY_OPTIONS_DEFAULT;
	options.root_namespace = "root";
	options.registry_only = once_in(3);
	options.services_private = once_in(4);
	options.rules_private = once_in(4);
	options.routes_private = once_in(4);
	crowded = once_in(2);
	n_things = 1 + rnd(THINGS_MAX - 1);
	for (unsigned int i = 0; i < n_things; i++) {
		do
			make_thing(&things[i], i);
		while (things[i].kind == SERVICE && service);
		service = service || things[i].kind == SERVICE;
		put_thing(&text, &things[i]);
	}
	store = help_store(&options);
	assert_int_equal(text_take(&text, ret_yaml, &size), 0);
	text_done(&text);
	help_put_all(store, *ret_yaml);
	return store;
}

static void ask(const struct registry_store *store, const char *yaml, unsigned int *by_state)
{
	static const char traffics[] = {'H', 'H', 'T', 'T', 'C'};
	struct question q = {.ns = PICK(spaces),
			     .host = SOME(asked, 3),
			     .app_x = once_in(2),
			     .traffic = PICK(traffics),
			     .port = SOME(ports, 2),
			     .address = once_in(4) ? NULL : PICK(reached)};
	bool named = q.traffic != 'C' && !once_in(8);
	char text[256], expected[256] = "", answer[256];
	struct registry_answer state;

	snprintf(text, sizeof(text), "%s%s %s%s %s:%u%s%s", q.ns, q.app_x ? "{app=x,l=2}" : "{l=2}",
		 q.traffic == 'H'   ? "http"
		 : q.traffic == 'T' ? "tls"
				    : "tcp",
		 named ? "" : "?", *q.host ? q.host : "-", q.port, q.address ? "@" : "",
		 q.address ? q.address : "");
	ref_answer(&q, named, expected, sizeof(expected));
	help_answer(store, text, answer, sizeof(answer));
	if (strcmp(answer, expected) != 0)
		/* print_error() cuts. */
		fprintf(stderr,
			"%s\nregistry_only %d private %d %d %d\n%s\n  is        %s\n  reference "
			"%s\n",
			yaml, options.registry_only, options.services_private,
			options.rules_private, options.routes_private, text, answer, expected);
	assert_string_equal(answer, expected);
	help_ask(store, text, &state);
	by_state[state.state]++;
}

static void test_against_reference(void **state)
{
	const char *seed = getenv("SEED"), *rounds = getenv("ROUNDS");
	unsigned int n = rounds ? (unsigned int)atoi(rounds) : ROUNDS, by_state[REGISTRY_MAX] = {0};

	(void)state;
	for (unsigned int i = 0; i < n; i++) {
		_cleanup_(registry_freep) struct registry_store *store = NULL;
		_cleanup_free_ char *yaml = NULL;

		random_state =
			((seed ? (uint64_t)atoll(seed) : 1) + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;
		store = build(&yaml);
		for (unsigned int j = 0; j < QUESTIONS; j++)
			ask(store, yaml, by_state);
	}
	/* A generator that only makes one state would show nothing. */
	for (enum registry s = REGISTRY_PASSTHROUGH; s < REGISTRY_MAX && !rounds; s++) {
		print_message("%s %u\n", model_registry_name(s), by_state[s]);
		assert_true(by_state[s] > n * QUESTIONS / 100);
	}
}

/* Objects in any order, replaced and deleted meanwhile, give the same answers as the last of them alone. */
static void test_order_of_events(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 300; i++) {
		_cleanup_(registry_freep) struct registry_store *store = NULL;
		_cleanup_free_ char *yaml = NULL, *first = NULL;
		unsigned int by_state[REGISTRY_MAX] = {0};
		size_t size;

		random_state = (1000 + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;
		store = build(&first);
		/* Some go, some change, in another order than they came. */
		for (unsigned int j = 0; j < 30; j++) {
			struct thing *t = &things[rnd(n_things)];
			struct text text = TEXT_INIT(1u << 20);
			static const enum registry_kind kinds[] = {
				REGISTRY_KIND_SERVICE_ENTRY, REGISTRY_KIND_SERVICE,
				REGISTRY_KIND_DESTINATION_RULE, REGISTRY_KIND_SIDECAR,
				REGISTRY_KIND_VIRTUAL_SERVICE};

			if (once_in(3) && n_things > 1) {
				assert_true(registry_delete(store, kinds[t->kind], t->ns, t->name));
				*t = things[--n_things];
				continue;
			}
			t->created = rnd(3);
			t->label = rnd(2);
			make_export(t, t->kind == ENTRY || t->kind == SERVICE);
			if (t->kind == SIDECAR || (t->kind == RULE && t->selector))
				t->n_export = 0;
			put_thing(&text, t);
			assert_int_equal(text_take(&text, &yaml, &size), 0);
			text_done(&text);
			help_put_all(store, yaml);
			free(yaml);
			yaml = NULL;
		}
		for (unsigned int j = 0; j < QUESTIONS; j++)
			ask(store, first, by_state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_reference),
		cmocka_unit_test(test_order_of_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
