// SPDX-License-Identifier: Apache-2.0
/*
 * Standard output while a command runs, see opt_work.h.
 *
 * Owns: the stream that stands in for stdout. stdio remembers that a write failed, not why, and a write may fail
 * long before anybody looks; the stream here keeps the first reason, whoever printed.
 * Must not know: what is printed.
 */
#include <errno.h>
#include <string.h>

#include "log.h"
#include "opt_work.h"
#include "util.h"

static struct {
	FILE *real; /* the C library's own stdout, while ours is in its place */
	int error;  /* errno of the first write that failed */
} output;

/* After a failure nothing more is written: what came behind a hole would be taken for whole. */
static ssize_t output_write(void *cookie, const char *data, size_t size)
{
	size_t done = 0;

	(void)cookie;
	while (done < size && !output.error) {
		ssize_t n = write(STDOUT_FILENO, data + done, size - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			output.error = errno;
	}
	return output.error ? 0 : (ssize_t)size; /* 0 is an error, see fopencookie(3) */
}

int opt_output_begin(void)
{
	FILE *file = fopencookie(NULL, "w", (cookie_io_functions_t){.write = output_write});

	if (!file)
		return -ENOMEM;
	if (isatty(STDOUT_FILENO))
		setvbuf(file, NULL, _IOLBF, 0);
	fflush(stdout);
	output.real = stdout;
	output.error = 0;
	stdout = file;
	return 0;
}

int opt_flush(const char *name)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_DONE;
	if (output.error == EPIPE)
		return EXIT_CANNOT;
	return log_fail("%s: cannot write to standard output: %s; the output is not complete", name,
			strerror(output.error ? output.error : EIO));
}

int opt_output_end(const char *name, int status)
{
	/* What failed in another way has been said, and one line is enough. */
	if (status == EXIT_DONE || status == EXIT_DIFFERS) {
		int flushed = opt_flush(name);

		status = flushed ? flushed : status;
	}
	fclose(stdout);
	stdout = output.real;
	return status;
}
