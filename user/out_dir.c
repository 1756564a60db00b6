// SPDX-License-Identifier: Apache-2.0
/*
 * Documents into a directory; see out_dir.h.
 *
 * Owns: the names of the files, and that a file is whole or not there. Must not know: what is in a document.
 */
#include "out_dir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

#define FILE_NAME_MAX 160 /* kind, namespace (63), name (63), hyphens, .yaml */

/* One object's file on its way: complete under temporary, then renamed to name. */
struct out_file {
	char name[FILE_NAME_MAX];
	char temporary[FILE_NAME_MAX + 40];
};

struct out_dir {
	const char *path;
	int fd;
	bool made; /* by us: goes away again if nothing gets into it */
	struct out_file *files;
	size_t n, n_renamed;
};

/* Leave no temporary file, and no directory that was made for nothing. */
static void out_dir_done(struct out_dir *dir)
{
	for (size_t i = dir->n_renamed; i < dir->n; i++)
		unlinkat(dir->fd, dir->files[i].temporary, 0);
	free(dir->files);
	util_closep(&dir->fd);
	if (dir->made && !dir->n_renamed)
		rmdir(dir->path);
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t n = write(fd, text, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Write one temporary file; it is removed by out_dir_done() whatever happens. */
static int out_dir_write(struct out_dir *dir, const char *text, size_t size)
{
	struct out_file *file = &dir->files[dir->n];
	_cleanup_close_ int fd = -1;
	int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;

	snprintf(file->temporary, sizeof(file->temporary), ".%s.%ld.tmp", file->name,
		 (long)getpid());
	fd = openat(dir->fd, file->temporary, flags, 0666);
	if (fd < 0)
		return -errno;
	dir->n++;
	return write_all(fd, text, size);
}

static int out_dir_add(struct out_dir *dir, const struct config_document *document)
{
	char *name = dir->files[dir->n].name;

	snprintf(name, FILE_NAME_MAX, "%s-%s%s%s.yaml", document->kind, document->ns,
		 *document->ns ? "-" : "", document->name);
	for (; *name != '-'; name++)
		*name = (char)tolower((unsigned char)*name);
	return out_dir_write(dir, document->yaml, strlen(document->yaml));
}

static int out_dir_open(struct out_dir *dir, const struct config *config)
{
	dir->files = calloc(MAX(config->n_documents, 1u), sizeof(*dir->files));
	if (!dir->files)
		return -ENOMEM;
	if (mkdir(dir->path, 0777) == 0)
		dir->made = true;
	else if (errno != EEXIST)
		return -errno;
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir->fd < 0 ? -errno : 0;
}

/* All files are complete before the first one gets its name. */
static int out_dir_fill(struct out_dir *dir, const struct config *config)
{
	int r = out_dir_open(dir, config);

	for (size_t i = 0; i < config->n_documents && !r; i++)
		r = out_dir_add(dir, &config->documents[i]);
	for (size_t i = 0; i < dir->n && !r; i++) {
		if (renameat(dir->fd, dir->files[i].temporary, dir->fd, dir->files[i].name))
			r = -errno;
		else
			dir->n_renamed++;
	}
	return r;
}

int out_dir_store(const char *path, const struct config *config, size_t *ret_renamed)
{
	struct out_dir dir = {.path = path, .fd = -1};
	sigset_t ends, before;
	int r;

	/* Ctrl-C takes effect when no temporary file is left. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGQUIT);
	sigprocmask(SIG_BLOCK, &ends, &before);
	r = out_dir_fill(&dir, config);
	*ret_renamed = dir.n_renamed;
	out_dir_done(&dir);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}
