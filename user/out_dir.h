/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents into a directory, one file each: all of them, or as far as one can tell none.
 *
 * Must not know: what is in a document, who is told of it.
 */
#ifndef OUT_DIR_H
#define OUT_DIR_H

#include "config.h"

/*
 * Write KIND-NS-NAME.yaml for every document, in place of files of these names. The directory is made if it is not
 * there, and nothing is left behind after a failure. *ret_renamed: how many files have their names; it is set on failure,
 * too. SIGINT, SIGTERM, SIGHUP and SIGQUIT take effect when it is over.
 */
int out_dir_store(const char *path, const struct config *config, size_t *ret_renamed);

#endif
