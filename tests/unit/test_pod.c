// SPDX-License-Identifier: Apache-2.0
/* Unit tests of user/pod*.c: Istio's naming rules, every kind of container, and what stays. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "alloc.h"
#include "json_tree.h"
#include "pod.h"
#include "util.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define ID_D "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
#define ID_E "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
#define UID  "2f4cdd6a-11f2-4d4c-8d3e-0a1b2c3d4e5f"
#define HASH "00112233445566778899aabbccddeeff"

/* Single quotes stand for double ones, to keep the JSON below readable. */
static cJSON *json(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	cJSON *tree = NULL;
	const char *why = NULL;

	for (char *c = copy; *c; c++)
		*c = (char)(*c == '\'' ? '"' : *c);
	if (json_tree_parse(copy, strlen(copy), &tree, &why) < 0)
		fail_msg("%s: %s", why, copy);
	return tree;
}

static int add(struct pods *p, const char *text)
{
	_cleanup_(json_tree_freep) cJSON *tree = json(text);

	return pods_object(tree, p);
}

static int pods_make(void **state)
{
	return pods_new((struct pods **)state);
}

static int pods_remove(void **state)
{
	pods_free(*state);
	return 0;
}

static struct pods_counts counts_of(struct pods *p)
{
	struct pods_counts c;

	pods_get_counts(p, &c);
	return c;
}

/* ---- names ---- */

#define OWNER(kind, name)                                                         \
	"'generateName':'x-','ownerReferences':[{'kind':'" kind "','name':'" name \
	"','controller':true}],"
#define NO_OWNER ""

static const struct {
	const char *owner, *labels;
	const char *workload, *kind, *service, *revision, *app, *version;
} names[] = {
	/* A Deployment's pod, as most are. */
	{OWNER("ReplicaSet", "curl-7d9f8c6b5"), "'pod-template-hash':'7d9f8c6b5','app':'curl'",
	 "curl", "Deployment", "curl", "latest", "curl", ""},
	{OWNER("ReplicaSet", "web-v1-6f4d"),
	 "'pod-template-hash':'6f4d','app':'web','version':'v1'", "web-v1", "Deployment", "web",
	 "v1", "web", "v1"},
	/* A ReplicaSet of nobody, or whose hash is another's. */
	{OWNER("ReplicaSet", "bare"), "", "bare", "ReplicaSet", "bare", "latest", "", ""},
	{OWNER("ReplicaSet", "bare-abc"), "'pod-template-hash':'xyz'", "bare-abc", "ReplicaSet",
	 "bare-abc", "latest", "", ""},
	/* Ends in the hash without a hyphen before it: a Deployment by the rule, but nothing to cut. */
	{OWNER("ReplicaSet", "bareabc"), "'pod-template-hash':'abc'", "bareabc", "Deployment",
	 "bareabc", "latest", "", ""},
	/* Argo's Rollout has a label of its own. */
	{OWNER("ReplicaSet", "shop-5b8d"), "'rollouts-pod-template-hash':'5b8d'", "shop", "Rollout",
	 "shop", "latest", "", ""},
	{OWNER("ReplicaSet", "shop-5b8d"),
	 "'rollouts-pod-template-hash':'zzzz','pod-template-hash':'5b8d'", "shop", "Deployment",
	 "shop", "latest", "", ""},
	/* OpenShift's DeploymentConfig. */
	{OWNER("ReplicationController", "api-3"), "'deploymentconfig':'api'", "api",
	 "DeploymentConfig", "api", "latest", "", ""},
	{OWNER("ReplicationController", "api-3"), "", "api-3", "ReplicationController", "api-3",
	 "latest", "", ""},
	/* A Job, and a CronJob's. */
	{OWNER("Job", "migrate"), "", "migrate", "Job", "migrate", "latest", "", ""},
	{OWNER("Job", "backup-27890123"), "", "backup", "CronJob", "backup", "latest", "", ""},
	{OWNER("Job", "backup-1600000000"), "", "backup", "CronJob", "backup", "latest", "", ""},
	{OWNER("Job", "a-1-27890123"), "", "a-1", "CronJob", "a-1", "latest", "", ""},
	{OWNER("Job", "backup-2789012"), "", "backup-2789012", "Job", "backup-2789012", "latest",
	 "", ""},
	{OWNER("Job", "backup-16000000001"), "", "backup-16000000001", "Job", "backup-16000000001",
	 "latest", "", ""},
	{OWNER("Job", "backup-2789012x"), "", "backup-2789012x", "Job", "backup-2789012x", "latest",
	 "", ""},
	{OWNER("Job", "27890123"), "", "27890123", "Job", "27890123", "latest", "", ""},
	/* All others by their own name. */
	{OWNER("StatefulSet", "db"), "", "db", "StatefulSet", "db", "latest", "", ""},
	{OWNER("DaemonSet", "kube-proxy"), "'k8s-app':'kube-proxy'", "kube-proxy", "DaemonSet",
	 "kube-proxy", "latest", "", ""},
	/* No owner, none that controls, or a name that nobody generated (static pods, StatefulSets of old). */
	{NO_OWNER, "", "pod-1", "Pod", "pod-1", "latest", "", ""},
	{"'generateName':'x-','ownerReferences':[{'kind':'ReplicaSet','name':'rs'}],", "", "pod-1",
	 "Pod", "pod-1", "latest", "", ""},
	{"'generateName':'x-','ownerReferences':[{'kind':'ReplicaSet','name':'rs','controller':"
	 "false},"
	 "{'kind':'DaemonSet','name':'ds','controller':true},{'kind':'Job','name':'j','controller':"
	 "true}],",
	 "", "ds", "DaemonSet", "ds", "latest", "", ""},
	{"'ownerReferences':[{'kind':'Node','name':'n1','controller':true}],", "", "pod-1", "Pod",
	 "pod-1", "latest", "", ""},
	{"'generateName':'','ownerReferences':[{'kind':'DaemonSet','name':'ds','controller':true}]"
	 ",",
	 "", "pod-1", "Pod", "pod-1", "latest", "", ""},
	/* The label that overrides. */
	{OWNER("ReplicaSet", "curl-7d9f8c6b5"),
	 "'pod-template-hash':'7d9f8c6b5','service.istio.io/workload-name':'named'", "named",
	 "Deployment", "named", "latest", "", ""},
	{NO_OWNER, "'service.istio.io/workload-name':''", "pod-1", "Pod", "pod-1", "latest", "",
	 ""},
	/* Canonical service and revision: which label comes first. */
	{NO_OWNER,
	 "'service.istio.io/canonical-name':'a','app.kubernetes.io/name':'b','app':'c',"
	 "'service.istio.io/canonical-revision':'1','app.kubernetes.io/version':'2','version':'3'",
	 "pod-1", "Pod", "a", "1", "c", "3"},
	{NO_OWNER,
	 "'app.kubernetes.io/name':'b','app':'c','app.kubernetes.io/version':'2','version':'3'",
	 "pod-1", "Pod", "b", "2", "c", "3"},
	{NO_OWNER, "'app':'c','version':'3'", "pod-1", "Pod", "c", "3", "c", "3"},
	{NO_OWNER, "'app':'','version':''", "pod-1", "Pod", "pod-1", "latest", "", ""},
	/* Cut to what a label can hold. */
	{OWNER("StatefulSet",
	       "a123456789a123456789a123456789a123456789a123456789a123456789a12-456789"),
	 "", "a123456789a123456789a123456789a123456789a123456789a123456789a12-456789",
	 "StatefulSet", "a123456789a123456789a123456789a123456789a123456789a123456789a12", "latest",
	 "", ""},
	{OWNER("StatefulSet",
	       "a123456789a123456789a123456789a123456789a123456789a123456789a1--4567"),
	 "", "a123456789a123456789a123456789a123456789a123456789a123456789a1--4567", "StatefulSet",
	 "a123456789a123456789a123456789a123456789a123456789a123456789a1", "latest", "", ""},
	/* Nobody checks what an owner is called. */
	{OWNER("StatefulSet", "evil\\nname"), "", "pod-1", "Pod", "pod-1", "latest", "", ""},
	{OWNER("StatefulSet", "evil\\u001b]0;x"), "", "pod-1", "Pod", "pod-1", "latest", "", ""},
	{OWNER("Evil Kind", "x"), "", "pod-1", "Pod", "pod-1", "latest", "", ""},
	{OWNER("StatefulSet", ""), "", "pod-1", "Pod", "pod-1", "latest", "", ""},
	{OWNER("", "x"), "", "pod-1", "Pod", "pod-1", "latest", "", ""},
	{"'generateName':'x-','ownerReferences':[{'kind':7,'name':['x'],'controller':true}],", "",
	 "pod-1", "Pod", "pod-1", "latest", "", ""},
	{"'generateName':'x-','ownerReferences':'none',", "", "pod-1", "Pod", "pod-1", "latest", "",
	 ""},
	{NO_OWNER, "'app':'not a label','version':7", "pod-1", "Pod", "pod-1", "latest", "", ""},
};

static void assert_text(const char *where, const char *what, const char *got, const char *want)
{
	if (strcmp(got, want) != 0)
		fail_msg("%s: %s is '%s', not '%s'", where, what, got, want);
}

static void naming_rules(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *text = NULL, *where = NULL;
		const struct pod *pod;

		assert_true(asprintf(&text,
				     "{'metadata':{%s'namespace':'shop','name':'pod-1','uid':'" UID
				     "','labels':{%s}}}",
				     names[i].owner, names[i].labels) > 0);
		assert_true(asprintf(&where, "%s %s", names[i].owner, names[i].labels) > 0);
		assert_int_equal(add(*state, text), 0);
		pod = pods_by_uid(*state, UID);
		assert_non_null(pod);
		assert_text(where, "namespace", pod->source.ns, "shop");
		assert_text(where, "name", pod->name, "pod-1");
		assert_text(where, "workload", pod->source.workload, names[i].workload);
		assert_text(where, "kind", pod->source.workload_kind, names[i].kind);
		assert_text(where, "service", pod->source.canonical_service, names[i].service);
		assert_text(where, "revision", pod->source.canonical_revision, names[i].revision);
		assert_text(where, "app", pod->source.app, names[i].app);
		assert_text(where, "version", pod->source.version, names[i].version);
	}
	assert_int_equal(counts_of(*state).live, 1);
}

static void a_long_owner_is_none(void **state)
{
	char owner[255], text[1024];

	memset(owner, 'a', sizeof(owner));
	for (size_t n = 253; n <= 254; n++) {
		owner[n] = '\0';
		snprintf(text, sizeof(text),
			 "{'metadata':{'generateName':'x','ownerReferences':[{'kind':'DaemonSet','"
			 "name':"
			 "'%s','controller':true}],'namespace':'a','name':'b','uid':'u'}}",
			 owner);
		assert_int_equal(add(*state, text), 0);
		assert_string_equal(pods_by_uid(*state, "u")->source.workload,
				    n == 253 ? owner : "b");
		owner[n] = 'a';
	}
}

static void not_a_pod(void **state)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		"7",
		"{'metadata':7}",
		"{'metadata':{'namespace':'a','name':'b'}}",
		"{'metadata':{'namespace':'a','uid':'c'}}",
		"{'metadata':{'name':'b','uid':'c'}}",
		"{'metadata':{'namespace':'a','name':'b','uid':7}}",
		"{'metadata':{'namespace':'a b','name':'b','uid':'c'}}",
		"{'metadata':{'namespace':'a','name':'b\\n','uid':'c'}}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(add(*state, texts[i]), 0);
	assert_int_equal(counts_of(*state).invalid, ARRAY_SIZE(texts));
	assert_int_equal(counts_of(*state).live, 0);
	assert_null(pods_by_uid(*state, "c"));
	assert_null(pods_by_uid(*state, ""));
	assert_null(pods_by_container(*state, "", NULL));
}

/* ---- facts ---- */

#define POD_TEXT(metadata, spec, status)                                           \
	"{'metadata':{'namespace':'shop','name':'pod-1','uid':'" UID "'," metadata \
	"'x':1},'spec':{" spec "'x':1},'status':{" status "'x':1}}"

static const struct pod *the_pod(struct pods *p, const char *text)
{
	const struct pod *pod;

	assert_int_equal(add(p, text), 0);
	pod = pods_by_uid(p, UID);
	assert_non_null(pod);
	return pod;
}

#define INJECTED(more) "'annotations':{'sidecar.istio.io/status':'{\\'containers\\':[" more "]}'},"
#define INJECTED_NATIVE                                                                      \
	"'annotations':{'sidecar.istio.io/status':'{\\'initContainers\\':[\\'istio-init\\'," \
	"\\'istio-proxy\\'],\\'containers\\':null,\\'revision\\':\\'1-30\\'}'},"
#define PROXY(role) "{'name':'istio-proxy','args':['proxy','" role "','--domain']}"
#define BOTH(role)  "'containers':[{'name':'app'}," PROXY(role) "],"
#define NATIVE                                                                            \
	"'initContainers':[{'name':'istio-init'},{'name':'istio-proxy','args':['proxy','" \
	"sidecar'],'restartPolicy':'Always'}],'containers':[{'name':'app'}],"

/* What the injector put there, not what is only called so; of gateways the proxy is the application. */
static void sidecars(void **state)
{
	static const struct {
		const char *text;
		bool sidecar;
	} cases[] = {
		{POD_TEXT("", "'containers':[{'name':'app'}],", ""), false},
		{POD_TEXT(INJECTED("\\'istio-proxy\\'"), BOTH("sidecar"), ""), true},
		{POD_TEXT(INJECTED("\\'istio-proxy\\',\\'more\\'"), BOTH("sidecar"), ""), true},
		{POD_TEXT(INJECTED_NATIVE, NATIVE, ""), true},
		/* Arguments of somebody's own, or none. */
		{POD_TEXT(INJECTED("\\'istio-proxy\\'"),
			  "'containers':[{'name':'istio-proxy'},{'name':'app'}],", ""),
		 true},
		/* Only called so. */
		{POD_TEXT("", BOTH("sidecar"), ""), false},
		{POD_TEXT("", NATIVE, ""), false},
		{POD_TEXT("'annotations':{'sidecar.istio.io/status':''},", BOTH("sidecar"), ""),
		 false},
		{POD_TEXT("'annotations':{'sidecar.istio.io/status':'istio-proxy'},",
			  BOTH("sidecar"), ""),
		 false},
		{POD_TEXT("'annotations':{'sidecar.istio.io/status':{}},", BOTH("sidecar"), ""),
		 false},
		{POD_TEXT(INJECTED("\\'other\\'"), BOTH("sidecar"), ""), false},
		{POD_TEXT(INJECTED("7"), BOTH("sidecar"), ""), false},
		/* Gateways, alone or with a helper. */
		{POD_TEXT(INJECTED("\\'istio-proxy\\'"), "'containers':[" PROXY("router") "],", ""),
		 false},
		{POD_TEXT(INJECTED("\\'istio-proxy\\'"), BOTH("router"), ""), false},
		{POD_TEXT(INJECTED("\\'istio-proxy\\'"), "'containers':[{'name':'istio-proxy'}],",
			  ""),
		 false},
		/* Announced, but not there. */
		{POD_TEXT(INJECTED("\\'istio-proxy\\'"), "'containers':[{'name':'app'}],", ""),
		 false},
		{POD_TEXT(INJECTED("\\'istio-proxy\\'"), "'containers':'istio-proxy',", ""), false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (the_pod(*state, cases[i].text)->sidecar != cases[i].sidecar)
			fail_msg("%s", cases[i].text);
	}
}

static void mesh_facts(void **state)
{
	const struct pod *pod = the_pod(*state, POD_TEXT("", "", ""));

	assert_false(pod->ambient || pod->gone);
	assert_int_equal(pod->n_labels, 0);
	pod = the_pod(*state,
		      POD_TEXT("'labels':{'b':'2','a':'','istio.io/dataplane-mode':'ambient'},"
			       "'annotations':{'ambient.istio.io/redirection':'enabled'},",
			       "", ""));
	assert_true(pod->ambient);
	assert_int_equal(pod->n_labels, 3);
	assert_string_equal(pod->labels[0].key, "a");
	assert_string_equal(pod_label(pod, "a"), "");
	assert_string_equal(pod_label(pod, "b"), "2");
	assert_string_equal(pod_label(pod, "istio.io/dataplane-mode"), "ambient");
	assert_null(pod_label(pod, "c"));
	assert_int_equal(counts_of(*state).cut, 0);

	/* Facts that end. */
	pod = the_pod(*state, POD_TEXT("'annotations':{'ambient.istio.io/redirection':'disabled'},",
				       "", ""));
	assert_false(pod->ambient);
	assert_int_equal(pod->n_labels, 0);
	assert_null(pod_label(pod, "a"));
}

static void what_cannot_be_used_is_counted(void **state)
{
	the_pod(*state, POD_TEXT("'labels':{'a b':'x','ok':'no value','a':'x'},", "",
				 "'containerStatuses':["
				 "{'name':'a','containerID':'" ID_A "'},"
				 "{'name':'b','containerID':'containerd://a b'}],"));
	/* Two labels, two ids. */
	assert_int_equal(counts_of(*state).cut, 4);
	assert_null(pods_by_container(*state, ID_A, NULL));
}

/* More of everything than there is room for. */
static void limits(void **state)
{
	_cleanup_(json_tree_freep) cJSON *tree = json(POD_TEXT("'labels':{},", "", ""));
	cJSON *labels = cJSON_GetObjectItem(cJSON_GetObjectItem(tree, "metadata"), "labels");
	cJSON *status = cJSON_GetObjectItem(tree, "status");
	cJSON *containers = cJSON_AddArrayToObject(status, "containerStatuses");
	char text[128];

	for (int i = 0; i <= POD_CONTAINERS_MAX; i++) {
		cJSON *c = cJSON_CreateObject();

		snprintf(text, sizeof(text), "docker://%064d", i);
		cJSON_AddStringToObject(c, "name", "c");
		cJSON_AddStringToObject(c, "containerID", text);
		cJSON_AddItemToArray(containers, c);
	}
	for (int i = 0; i <= POD_LABELS_MAX; i++) {
		snprintf(text, sizeof(text), "l%d", i);
		cJSON_AddStringToObject(labels, text, "x");
	}
	assert_int_equal(pods_object(tree, *state), 0);
	assert_int_equal(counts_of(*state).cut, 2);
	assert_int_equal(pods_by_uid(*state, UID)->n_labels, POD_LABELS_MAX);
	snprintf(text, sizeof(text), "%064d", POD_CONTAINERS_MAX - 1);
	assert_non_null(pods_by_container(*state, text, NULL));
	snprintf(text, sizeof(text), "%064d", POD_CONTAINERS_MAX);
	assert_null(pods_by_container(*state, text, NULL));
}

/* ---- finding ---- */

static void assert_found(struct pods *p, const char *id, const char *pod_name,
			 const char *container)
{
	const char *name = NULL;
	const struct pod *pod = pods_by_container(p, id, &name);

	assert_non_null(pod);
	assert_string_equal(pod->name, pod_name);
	assert_string_equal(name, container);
}

static void by_container(void **state)
{
	the_pod(*state,
		POD_TEXT("", "",
			 "'containerStatuses':[{'name':'app','containerID':'containerd://" ID_A
			 "'},"
			 "{'name':'waiting','containerID':''},{'name':'istio-proxy','containerID':"
			 "'cri-o://" ID_B "'}],"
			 "'initContainerStatuses':[{'name':'init','containerID':'docker://" ID_C
			 "'}],"
			 "'ephemeralContainerStatuses':[{'name':'debug','containerID':"
			 "'containerd://" ID_D "'}],"));
	assert_found(*state, ID_A, "pod-1", "app");
	assert_found(*state, ID_B, "pod-1", "istio-proxy");
	assert_found(*state, ID_C, "pod-1", "init");
	assert_found(*state, ID_D, "pod-1", "debug");
	assert_null(pods_by_container(*state, ID_E, NULL));
	assert_null(pods_by_container(*state, UID, NULL));
	assert_null(pods_by_uid(*state, ID_A));
}

/* A container that was started again has a new id; the earlier ones still have counters. */
static void earlier_ids_stay(void **state)
{
	the_pod(*state,
		POD_TEXT("", "",
			 "'containerStatuses':[{'name':'app','containerID':'containerd://" ID_B
			 "','state':{'terminated':{'containerID':'containerd://" ID_B "'}},"
			 "'lastState':{'terminated':{'containerID':'containerd://" ID_A "'}}}],"));
	assert_found(*state, ID_A, "pod-1", "app");
	the_pod(*state,
		POD_TEXT("", "",
			 "'containerStatuses':[{'name':'app','containerID':'containerd://" ID_C
			 "'}],"));
	assert_found(*state, ID_A, "pod-1", "app");
	assert_found(*state, ID_B, "pod-1", "app");
	assert_found(*state, ID_C, "pod-1", "app");
	/* An object that names no container takes none away. */
	the_pod(*state, POD_TEXT("", "", ""));
	assert_found(*state, ID_B, "pod-1", "app");
	assert_int_equal(counts_of(*state).cut, 0);
}

/* A container in a crash loop: the latest ids are the ones that are kept. */
static void ids_are_bounded(void **state)
{
	char text[512], id[80];

	for (int i = 0; i < 3 * POD_CONTAINERS_MAX; i++) {
		snprintf(text, sizeof(text),
			 POD_TEXT("", "",
				  "'containerStatuses':[{'name':'app','containerID':'docker://"
				  "%064d'}],"),
			 i);
		assert_int_equal(add(*state, text), 0);
	}
	for (int i = 0; i < 3 * POD_CONTAINERS_MAX; i++) {
		snprintf(id, sizeof(id), "%064d", i);
		if (i < 2 * POD_CONTAINERS_MAX)
			assert_null(pods_by_container(*state, id, NULL));
		else
			assert_found(*state, id, "pod-1", "app");
	}
	assert_int_equal(counts_of(*state).cut, 2 * POD_CONTAINERS_MAX);
}

static void by_uid_and_hash(void **state)
{
	struct kube_id gone = {"kube-system", "etcd-n1", UID};

	/* A mirror pod: its cgroup has the hash. */
	assert_int_equal(add(*state,
			     "{'metadata':{'namespace':'kube-system','name':'etcd-n1','uid':'" UID
			     "','annotations':{'kubernetes.io/config.hash':'" HASH
			     "','kubernetes.io/config.mirror':'" HASH "'}}}"),
			 0);
	assert_string_equal(pods_by_uid(*state, HASH)->name, "etcd-n1");
	assert_string_equal(pods_by_uid(*state, UID)->name, "etcd-n1");
	/* A pod that only claims to be it. */
	assert_int_equal(add(*state,
			     "{'metadata':{'namespace':'a','name':'evil','uid':'e','annotations':{"
			     "'kubernetes.io/config.hash':'" HASH "'}}}"),
			 0);
	assert_string_equal(pods_by_uid(*state, HASH)->name, "etcd-n1");
	/* One that is a mirror pod and has another's uid for a hash: the one with that uid is meant. */
	assert_int_equal(
		add(*state, "{'metadata':{'namespace':'a','name':'mirror','uid':'m','annotations':{"
			    "'kubernetes.io/config.hash':'e','kubernetes.io/config.mirror':'e'}}}"),
		0);
	assert_string_equal(pods_by_uid(*state, "e")->name, "evil");
	/* The static pod was changed: the new one's hash leads to the new one, the old one's to the old one. */
	pods_deleted(&gone, *state);
	assert_int_equal(add(*state,
			     "{'metadata':{'namespace':'kube-system','name':'etcd-n1','uid':'new"
			     "','annotations':{'kubernetes.io/config.hash':'abc',"
			     "'kubernetes.io/config.mirror':'abc'}}}"),
			 0);
	assert_string_equal(pods_by_uid(*state, "abc")->uid, "new");
	assert_string_equal(pods_by_uid(*state, HASH)->uid, UID);
	assert_true(pods_by_uid(*state, HASH)->gone);
}

/* ---- pods that are gone ---- */

static void gone_pods_are_named(void **state)
{
	struct kube_id id = {"shop", "pod-1", UID}, other = {"shop", "pod-1", "other"},
		       third = {"shop", "late", "third"};
	const char *name = NULL;
	const struct pod *pod;

	the_pod(*state, POD_TEXT("'labels':{'app':'a'},", "",
				 "'containerStatuses':[{'name':'app','containerID':'docker://" ID_A
				 "'}],"));
	pods_deleted(&other, *state);
	assert_int_equal(counts_of(*state).live, 1);
	pods_deleted(&id, *state);
	pods_deleted(&id, *state);
	pod = pods_by_container(*state, ID_A, &name);
	assert_true(pod->gone);
	assert_string_equal(pod->source.app, "a");
	assert_string_equal(name, "app");
	assert_int_equal(counts_of(*state).live, 0);
	assert_int_equal(counts_of(*state).gone, 1);

	/* It was a mistake (a list of a server that lags). */
	pod = the_pod(*state, POD_TEXT("", "", ""));
	assert_false(pod->gone);
	assert_found(*state, ID_A, "pod-1", "app");
	assert_int_equal(counts_of(*state).live, 1);
	assert_int_equal(counts_of(*state).gone, 0);

	/* Another pod of that name, as a StatefulSet makes it. */
	pods_deleted(&id, *state);
	assert_int_equal(
		add(*state, "{'metadata':{'namespace':'shop','name':'pod-1','uid':'second'}}"), 0);
	assert_string_equal(pods_by_uid(*state, "second")->name, "pod-1");
	assert_true(pods_by_uid(*state, UID)->gone);
	/* A container id that two have: the living one is meant. */
	assert_int_equal(
		add(*state,
		    "{'metadata':{'namespace':'shop','name':'pod-1','uid':'second'},'status':"
		    "{'containerStatuses':[{'name':'new','containerID':'docker://" ID_A "'}]}}"),
		0);
	assert_found(*state, ID_A, "pod-1", "new");
	/* Whichever of them came last. */
	assert_int_equal(
		add(*state,
		    "{'metadata':{'namespace':'shop','name':'late','uid':'third'},'status':"
		    "{'containerStatuses':[{'name':'last','containerID':'docker://" ID_A "'}]}}"),
		0);
	assert_found(*state, ID_A, "late", "last");
	pods_deleted(&third, *state);
	assert_found(*state, ID_A, "pod-1", "new");
}

static void numbered(struct pods *p, int i, bool gone)
{
	char text[256], uid[32];
	struct kube_id id = {"a", "p", uid};

	snprintf(uid, sizeof(uid), "u%d", i);
	snprintf(
		text, sizeof(text),
		"{'metadata':{'namespace':'a','name':'p','uid':'%s'},'status':{'containerStatuses':"
		"[{'name':'c','containerID':'docker://c%d'}]}}",
		uid, i);
	assert_int_equal(add(p, text), 0);
	if (gone)
		pods_deleted(&id, p);
}

/* Beyond the limit the gone pod that nobody asked for longest is given up, and no living one. */
static void gone_pods_are_bounded(void **state)
{
	struct pods_counts c;

	numbered(*state, -1, false);
	for (int i = 0; i < PODS_GONE_MAX + 10; i++) {
		numbered(*state, i, true);
		if (i % 100 == 0)
			assert_non_null(pods_by_container(*state, "c0", NULL));
		if (i % 100 == 50)
			assert_non_null(pods_by_uid(*state, "u3"));
	}
	c = counts_of(*state);
	assert_int_equal(c.gone, PODS_GONE_MAX);
	assert_int_equal(c.evicted, 10);
	assert_int_equal(c.live, 1);
	assert_non_null(pods_by_uid(*state, "u-1"));
	assert_non_null(pods_by_uid(*state, "u0"));
	assert_null(pods_by_uid(*state, "u1"));
	assert_null(pods_by_container(*state, "c2", NULL));
	assert_non_null(pods_by_uid(*state, "u3"));
	assert_non_null(pods_by_uid(*state, "u12"));
	assert_null(pods_by_uid(*state, "u11"));
}

static void live_pods_are_bounded(void **state)
{
	for (int i = 0; i < PODS_LIVE_MAX + 5; i++)
		numbered(*state, i, false);
	assert_int_equal(counts_of(*state).live, PODS_LIVE_MAX);
	assert_int_equal(counts_of(*state).full, 5);
	/* Those that have a place can still change. */
	numbered(*state, 0, false);
	assert_int_equal(counts_of(*state).full, 5);
	numbered(*state, 0, true);
	numbered(*state, PODS_LIVE_MAX, false);
	assert_int_equal(counts_of(*state).full, 5);
	assert_non_null(pods_by_container(*state, "c16384", NULL));
}

/* ---- without memory ---- */

#define RICH                                                                                   \
	POD_TEXT("'labels':{'app':'a','b':'c'},'annotations':{"                                \
		 "'kubernetes.io/config.hash':'" HASH "','kubernetes.io/config.mirror':'" HASH \
		 "'},",                                                                        \
		 "",                                                                           \
		 "'containerStatuses':[{'name':'app','containerID':'docker://" ID_A "'},"      \
		 "{'name':'b','containerID':'docker://" ID_B "'},"                             \
		 "{'name':'c','containerID':'docker://" ID_C "'}],")

static void without_memory(void **state)
{
	_cleanup_(json_tree_freep) cJSON *tree = json(RICH);
	struct pods *p = NULL;
	int r;

	alloc_fail_at(1);
	assert_int_equal(pods_new(&p), -ENOMEM);
	alloc_fail_at(0);
	the_pod(*state, POD_TEXT("'labels':{'app':'before'},", "",
				 "'containerStatuses':[{'name':'app','containerID':'docker://" ID_D
				 "'}],"));
	for (unsigned long n = 1;; n++) {
		alloc_fail_at(n);
		r = pods_object(tree, *state);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
		/* What was known stays. */
		assert_string_equal(pods_by_uid(*state, UID)->source.app, "before");
		assert_found(*state, ID_D, "pod-1", "app");
		assert_null(pods_by_container(*state, ID_A, NULL));
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	assert_string_equal(pods_by_uid(*state, UID)->source.app, "a");
	assert_found(*state, ID_A, "pod-1", "app");
	assert_found(*state, ID_D, "pod-1", "app");
	pods_free(NULL);
}

#define POD_TEST(f) cmocka_unit_test_setup_teardown(f, pods_make, pods_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POD_TEST(naming_rules),
		POD_TEST(a_long_owner_is_none),
		POD_TEST(not_a_pod),
		POD_TEST(sidecars),
		POD_TEST(mesh_facts),
		POD_TEST(what_cannot_be_used_is_counted),
		POD_TEST(limits),
		POD_TEST(by_container),
		POD_TEST(earlier_ids_stay),
		POD_TEST(ids_are_bounded),
		POD_TEST(by_uid_and_hash),
		POD_TEST(gone_pods_are_named),
		POD_TEST(gone_pods_are_bounded),
		POD_TEST(live_pods_are_bounded),
		POD_TEST(without_memory),
	};

	return cmocka_run_group_tests_name("pod", tests, NULL, NULL);
}
