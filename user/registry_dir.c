// SPDX-License-Identifier: Apache-2.0
/*
 * The registry out of a folder, see registry_dir.h.
 *
 * Owns: which files are read, lists of objects. Must not know: YAML (yaml_tree.c), JSON (json_tree.c), what the
 * objects mean (registry.c).
 */
#include "registry_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "json_tree.h"
#include "text.h"
#include "util.h"
#include "yaml_tree.h"

/* A file name, an object's names and a phrase, each escaped. */
#define LINE_MAX_BYTES 4096

struct loader {
	struct registry_store *store;
	void (*note)(const char *line, void *data);
	void *data;
	const char *file; /* being read */
};

static void line_begin(const struct loader *loader, struct text *text, unsigned int line)
{
	text_add_printable(text, loader->file);
	text_puts(text, ":");
	if (line) {
		text_add_u64(text, line);
		text_puts(text, ":");
	}
	text_puts(text, " ");
}

static int fail(const struct loader *loader, unsigned int line, int error, const char *why,
		char **ret_why)
{
	struct text text = TEXT_INIT(LINE_MAX_BYTES);
	size_t size;

	line_begin(loader, &text, line);
	text_puts(&text, why);
	/* Without memory there is the error number. */
	(void)text_take(&text, ret_why, &size);
	text_done(&text);
	return error;
}

/* Objects */

static bool has_ending(const char *name, const char *ending)
{
	size_t len = strlen(name), ending_len = strlen(ending);

	return len >= ending_len && strcmp(name + len - ending_len, ending) == 0;
}

static void add_field(struct text *text, const cJSON *in, const char *key, const char *otherwise)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, key);
	const char *value = cJSON_IsString(item) ? item->valuestring : "";
	char cut[256];

	snprintf(cut, sizeof(cut), "%s", *value ? value : otherwise);
	text_add_printable(text, cut);
}

static int note_object(const struct loader *loader, const cJSON *object, enum registry_kind kind,
		       const char *why)
{
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
	struct text text = TEXT_INIT(LINE_MAX_BYTES);
	_cleanup_free_ char *line = NULL;
	size_t size;
	int r;

	if (!loader->note)
		return 0;
	line_begin(loader, &text, (unsigned int)object->valueint);
	text_puts(&text, registry_kind_name(kind));
	text_puts(&text, " ");
	add_field(&text, metadata, "namespace", "default");
	text_puts(&text, "/");
	add_field(&text, metadata, "name", "");
	text_puts(&text, ": ");
	text_puts(&text, why);
	r = text_take(&text, &line, &size);
	text_done(&text);
	if (!r)
		loader->note(line, loader->data);
	return r;
}

/* "ServiceEntryList" is a list of ServiceEntries, "List" of whatever its items say. */
static bool is_list(const cJSON *document)
{
	const cJSON *kind = cJSON_GetObjectItemCaseSensitive(document, "kind");

	return cJSON_IsString(kind) && has_ending(kind->valuestring, "List");
}

static bool is_list_of(const cJSON *document, enum registry_kind kind)
{
	const char *word = cJSON_GetObjectItemCaseSensitive(document, "kind")->valuestring;
	size_t len = strlen(registry_kind_name(kind));

	return strncmp(word, registry_kind_name(kind), len) == 0 && strcmp(word + len, "List") == 0;
}

static bool is_slice(const cJSON *object, const cJSON *list)
{
	const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "kind"));
	const char *of = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(list, "kind"));

	return kind ? strcmp(kind, "EndpointSlice") == 0
		    : of && strcmp(of, "EndpointSliceList") == 0;
}

static int put_object(const struct loader *loader, const cJSON *object, const cJSON *list)
{
	enum registry_kind kind = REGISTRY_KIND_MAX;
	const char *why = NULL;
	int r;

	/* The API names the kind of a list's items only once. */
	if (list && !cJSON_HasObjectItem(object, "kind"))
		for (kind = 0; kind < REGISTRY_KIND_MAX && !is_list_of(list, kind);)
			kind++;
	if (is_slice(object, list))
		return registry_add_endpoints(loader->store, object);
	if (kind == REGISTRY_KIND_MAX && registry_kind_of(object, &kind))
		return 0;
	r = registry_put_as(loader->store, kind, object, &why);
	if (r == -EINVAL || r == -ENOSPC)
		return note_object(loader, object, kind, why);
	return r;
}

static int put_document(const struct loader *loader, const cJSON *document, const cJSON *list)
{
	const cJSON *item;
	int r = 0;

	if (!cJSON_IsObject(document))
		return 0;
	if (!is_list(document))
		return put_object(loader, document, list);
	/* kubectl makes one list, not lists of lists. */
	item = list ? NULL : cJSON_GetObjectItemCaseSensitive(document, "items");
	for (item = item ? item->child : NULL; item && !r; item = item->next)
		r = put_document(loader, item, document);
	return r;
}

static int each_document(const cJSON *document, void *data)
{
	return put_document(data, document, NULL);
}

/* Files */

static int load_yaml(struct loader *loader, const char *text, size_t size, char **ret_why)
{
	char why[YAML_TREE_WHY_MAX] = "";
	unsigned int line = 0;
	int r = yaml_tree_read(text, size, each_document, loader, &line, why);

	if (!r)
		return 0;
	return fail(loader, line, r, *why ? why : strerror(-r), ret_why);
}

static int load_json(struct loader *loader, const char *text, size_t size, char **ret_why)
{
	_cleanup_(json_tree_freep) cJSON *root = NULL;
	const char *why = NULL;
	int r = json_tree_parse(text, size, &root, &why);

	if (!r)
		r = put_document(loader, root, NULL);
	return r ? fail(loader, 0, r, why ? why : strerror(-r), ret_why) : 0;
}

static int slurp(int dir, const char *name, char **ret_text, size_t *ret_size)
{
	/* A fifo in the folder must not be waited for. */
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t size = 0;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	if (st.st_size > REGISTRY_DIR_FILE_MAX)
		return -EFBIG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	/* What grows meanwhile is read as it was. */
	while (size < (size_t)st.st_size) {
		ssize_t n = read(fd, text + size, (size_t)st.st_size - size);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		size += n > 0 ? (size_t)n : 0;
	}
	*ret_text = TAKE_PTR(text);
	*ret_size = size;
	return 0;
}

static int load_file(struct loader *loader, int dir, const char *name, char **ret_why)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	loader->file = name;
	r = slurp(dir, name, &text, &size);
	/* A folder with such a name is none of ours. */
	if (r == -EISDIR)
		return 0;
	if (r)
		return fail(loader, 0, r, strerror(-r), ret_why);
	return has_ending(name, ".json") ? load_json(loader, text, size, ret_why)
					 : load_yaml(loader, text, size, ret_why);
}

/* Folder */

struct names {
	char **items;
	size_t n, capacity;
};

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->items[i]);
	free(names->items);
}

static int names_add(struct names *names, const char *name)
{
	if (names->n == REGISTRY_DIR_FILES_MAX)
		return -EFBIG;
	if (names->n == names->capacity) {
		size_t capacity = MAX(2 * names->capacity, (size_t)16);
		char **items = realloc(names->items, capacity * sizeof(*items));

		if (!items)
			return -ENOMEM;
		names->items = items;
		names->capacity = capacity;
	}
	names->items[names->n] = strdup(name);
	return names->items[names->n] ? (names->n++, 0) : -ENOMEM;
}

static int names_fill(struct names *names, DIR *dir)
{
	const struct dirent *entry;
	int r = 0;

	for (errno = 0; (entry = readdir(dir)) && !r; errno = 0) {
		const char *name = entry->d_name;

		if (*name != '.' && (has_ending(name, ".yaml") || has_ending(name, ".yml") ||
				     has_ending(name, ".json")))
			r = names_add(names, name);
	}
	return r ? r : -errno;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int load_folder(struct loader *loader, DIR *dir, char **ret_why)
{
	_cleanup_(names_done) struct names names = {0};
	int r = names_fill(&names, dir);

	if (r == -EFBIG)
		return fail(loader, 0, r, "more files than 65536", ret_why);
	if (r)
		return fail(loader, 0, r, strerror(-r), ret_why);
	if (names.n)
		qsort(names.items, names.n, sizeof(*names.items), compare_names);
	for (size_t i = 0; i < names.n && !r; i++)
		r = load_file(loader, dirfd(dir), names.items[i], ret_why);
	return r;
}

int registry_dir_load(const char *path, const struct registry_options *options,
		      void (*note)(const char *line, void *data), void *data,
		      struct registry_store **ret, char **ret_why)
{
	_cleanup_(registry_freep) struct registry_store *store = NULL;
	struct loader loader = {.note = note, .data = data, .file = path};
	DIR *dir;
	int r = registry_new(options, &store);

	*ret_why = NULL;
	if (r)
		return r;
	loader.store = store;
	dir = opendir(path);
	if (!dir) {
		r = -errno;
		return fail(&loader, 0, r, strerror(-r), ret_why);
	}
	r = load_folder(&loader, dir, ret_why);
	closedir(dir);
	if (!r)
		*ret = TAKE_PTR(store);
	return r;
}
