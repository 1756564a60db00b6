// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/registry_dir.c: which files are read, what is said about bad ones, and that a bad one leaves nothing.
 */
#include "registry_help.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "registry_dir.h"

#define CASES(...) ((const struct help_case[]){__VA_ARGS__, {NULL, NULL}})
#define ENTRY(name, host)                                                                      \
	V "kind: ServiceEntry\nmetadata: {name: " name ", namespace: a}\nspec: {hosts: [" host \
	  "], ports: [{number: 443, name: tls, protocol: TLS}]}\n"

struct folder {
	char path[64];
	int fd;
};

/* A test's folder goes away however the test ends. */
static int folder_make(void **state)
{
	struct folder *folder = malloc(sizeof(*folder));

	assert_non_null(folder);
	*state = folder;
	snprintf(folder->path, sizeof(folder->path), "/tmp/registry-dir-XXXXXX");
	assert_non_null(mkdtemp(folder->path));
	folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder->fd >= 0);
	return 0;
}

static int folder_remove(void **state)
{
	struct folder *folder = *state;
	DIR *dir = opendir(folder->path);
	struct dirent *entry;

	alloc_fail_at(0);

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		if (unlinkat(folder->fd, entry->d_name, 0))
			unlinkat(folder->fd, entry->d_name, AT_REMOVEDIR);
	closedir(dir);
	close(folder->fd);
	assert_int_equal(rmdir(folder->path), 0);
	free(folder);
	return 0;
}

static void folder_write(const struct folder *folder, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(folder->fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC,
					0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

struct notes {
	char text[4096];
};

static void add_note(const char *line, void *data)
{
	struct notes *notes = data;

	snprintf(notes->text + strlen(notes->text), sizeof(notes->text) - strlen(notes->text),
		 "%s\n", line);
}

static struct registry_store *load(const struct folder *folder, struct notes *notes)
{
	struct registry_store *store = NULL;
	char *why = NULL;
	int r;

	notes->text[0] = '\0';
	r = registry_dir_load(folder->path, &REGISTRY_OPTIONS_DEFAULT, add_note, notes, &store,
			      &why);
	if (r)
		print_error("%s\n", why);
	assert_int_equal(r, 0);
	assert_null(why);
	return store;
}

static void test_files(void **state)
{
	struct folder *folder = *state;
	struct notes notes;
	struct registry_stats stats;
	struct registry_store *store;

	store = load(folder, &notes);
	help_check(store, "empty folder", CASES({"a tls one.com:443", "passthrough"}));
	registry_free(store);
	folder_write(folder, "1.yaml",
		     "# one\n" ENTRY("one", "one.com") "---\n" ENTRY("two", "two.com") "---\n");
	folder_write(folder, "2.yml", "apiVersion: v1\nkind: List\nitems:\n- " V "  kind: x\n");
	folder_write(folder, "3.json",
		     "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":"
		     "\"networking.istio.io/v1\",\"kind\":\"ServiceEntry\","
		     "\"metadata\":{\"name\":\"three\",\"namespace\":\"a\"},\"spec\":{\"hosts\":["
		     "\"three.com\"],\"ports\":[{\"number\":443,\"name\":\"tls\",\"protocol\":"
		     "\"TLS\"}]}},17,null]}");
	folder_write(
		folder, "4.yaml",
		"apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: web, namespace: "
		"prod}\n  spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}\n"
		"---\nkind: SomethingList\nitems:\n- metadata: {name: x}\n---\nkind: "
		"List\n---\nkind: List\nitems: x\n"
		"---\nkind: List\nitems: [{kind: List, items: [{kind: List}]}]\n---\napiVersion: "
		"v1\nkind: ConfigMap\nmetadata: {name: c}\n---\njust text\n---\n- a\n- b\n");
	folder_write(folder, "4b.yaml",
		     "kind: EndpointSliceList\nitems:\n- endpoints: [{addresses: [10.8.0.1], "
		     "targetRef: {kind: Pod}}]\n---\nkind: List\nitems:\n- kind: EndpointSlice\n  "
		     "endpoints: [{addresses: [10.8.0.2], targetRef: {kind: Pod}}]\n");
	/* Not ours: other endings, hidden ones, a folder, a fifo. */
	folder_write(folder, "5.txt", "{{{");
	folder_write(folder, ".6.yaml", "{{{");
	folder_write(folder, "yaml", "{{{");
	assert_int_equal(mkdirat(folder->fd, "7.yaml", 0700), 0);
	assert_int_equal(mkfifoat(folder->fd, "8.yaml", 0600), 0);
	/* As a mounted ConfigMap has them. */
	assert_int_equal(symlinkat("5b.txt", folder->fd, "9.yaml"), 0);
	folder_write(folder, "5b.txt", ENTRY("nine", "nine.com"));
	store = load(folder, &notes);
	assert_string_equal(notes.text, "");
	help_check(store, "files",
		   CASES({"a tls one.com:443", "registered a/one"},
			 {"a tls two.com:443", "registered a/two"},
			 {"a tls three.com:443", "registered a/three"},
			 {"a tls nine.com:443", "registered a/nine"},
			 {"a http web.prod:80", "registered prod/web"}));
	registry_get_stats(store, &stats);
	assert_int_equal(stats.pods, 2);
	registry_free(store);
}

/* Of two with one name the later one counts, in the order of file names. */
static void test_order(void **state)
{
	struct folder *folder = *state;
	struct notes notes;
	struct registry_store *store;

	folder_write(folder, "b.yaml", ENTRY("x", "b.com"));
	folder_write(folder, "a.yaml",
		     ENTRY("x", "a.com") "---\n" ENTRY("y", "first.com") "---\n" ENTRY(
			     "y", "second.com"));
	store = load(folder, &notes);
	help_check(store, "order",
		   CASES({"a tls b.com:443", "registered a/x"}, {"a tls a.com:443", "passthrough"},
			 {"a tls first.com:443", "passthrough"},
			 {"a tls second.com:443", "registered a/y"}));
	registry_free(store);
}

static void test_notes(void **state)
{
	struct registry_options options = REGISTRY_OPTIONS_DEFAULT;
	struct registry_store *store = NULL;
	struct folder *folder = *state;
	struct notes notes;
	char *why;

	folder_write(folder, "x.yaml",
		     "# comment\n" ENTRY("bad", "a_b.com") "---\n" ENTRY(
			     "good", "good.com") "---\nkind: List\nitems:\n- "
						 "apiVersion: v1\n  kind: Service\n  metadata: "
						 "{name: \"\\e[31m\"}\n  spec: {}\n");
	store = load(folder, &notes);
	assert_string_equal(
		notes.text,
		"x.yaml:2: ServiceEntry a/bad: hosts: not a host name, with or without a wildcard\n"
		"x.yaml:14: Service default/\\x1b[31m: metadata.name: none that Kubernetes "
		"takes\n");
	help_check(store, "the good one", CASES({"a tls good.com:443", "registered a/good"}));
	registry_free(store);
	assert_int_equal(registry_dir_load(folder->path, &options, NULL, NULL, &store, &why), 0);
	registry_free(store);
	options.objects_max = 0;
	notes.text[0] = '\0';
	assert_int_equal(registry_dir_load(folder->path, &options, add_note, &notes, &store, &why),
			 0);
	assert_non_null(
		strstr(notes.text, "x.yaml:7: ServiceEntry a/good: the registry is full\n"));
	registry_free(store);
}

static void check_failure(const struct folder *folder, int error, const char *expected)
{
	struct registry_store *store = NULL;
	_cleanup_free_ char *why = NULL;

	assert_int_equal(registry_dir_load(folder->path, &REGISTRY_OPTIONS_DEFAULT, NULL, NULL,
					   &store, &why),
			 error);
	assert_null(store);
	assert_non_null(why);
	if (!strstr(why, expected))
		print_error("%s\n", why);
	assert_non_null(strstr(why, expected));
}

static void test_failures(void **state)
{
	struct folder *folder = *state, none = {.path = "/nonexistent/folder"};

	folder_write(folder, "a.yaml", ENTRY("x", "x.com"));
	folder_write(folder, "b.yaml", "a: 1\nb: [\n");
	check_failure(folder, -EINVAL, "b.yaml:3: not YAML: ");
	folder_write(folder, "b.yaml", "a: 1\na: 2\n");
	check_failure(folder, -EINVAL, "b.yaml:1: the mapping from here on has the key 'a' twice");
	folder_write(folder, "b.yaml", "");
	folder_write(folder, "c.json", "{\"a\":");
	check_failure(folder, -EINVAL, "c.json: not JSON");
	unlinkat(folder->fd, "c.json", 0);
	folder_write(folder, "\x1b[1m.yaml", "{");
	check_failure(folder, -EINVAL, "\\x1b[1m.yaml:");
	unlinkat(folder->fd, "\x1b[1m.yaml", 0);
	assert_int_equal(symlinkat("nowhere", folder->fd, "d.yaml"), 0);
	check_failure(folder, -ENOENT, "d.yaml: No such file");
	unlinkat(folder->fd, "d.yaml", 0);
	/* Too large, without writing it. */
	folder_write(folder, "e.yaml", "");
	{
		_cleanup_close_ int fd = openat(folder->fd, "e.yaml", O_WRONLY | O_CLOEXEC);

		assert_int_equal(ftruncate(fd, (off_t)REGISTRY_DIR_FILE_MAX + 1), 0);
	}
	check_failure(folder, -EFBIG, "e.yaml: File too large");
	check_failure(&none, -ENOENT, "/nonexistent/folder: No such file");
}

static void test_out_of_memory(void **state)
{
	struct registry_store *store = NULL;
	struct folder *folder = *state;
	int r;

	folder_write(folder, "a.yaml", ENTRY("x", "x.com") "---\n" ENTRY("bad", "x_y.com"));
	folder_write(folder, "b.json",
		     "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"x\"},"
		     "\"spec\":{}}");
	for (unsigned long n = 1;; n++) {
		struct notes notes = {""};
		char *why = NULL;

		alloc_fail_at(n);
		r = registry_dir_load(folder->path, &REGISTRY_OPTIONS_DEFAULT, add_note, &notes,
				      &store, &why);
		free(why);
		if (!alloc_failed())
			break;
		/* Growing the index is the one thing that can be done without. */
		if (r == 0)
			registry_free(store);
		else
			assert_int_equal(r, -ENOMEM);
		assert_true(n < 10000);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	registry_free(store);
}

#define FOLDER_TEST(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(test_files),         FOLDER_TEST(test_order),
		FOLDER_TEST(test_notes),         FOLDER_TEST(test_failures),
		FOLDER_TEST(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
