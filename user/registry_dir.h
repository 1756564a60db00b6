/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry out of a folder of YAML and JSON files (--registry DIR), as `kubectl get -o yaml` writes them.
 *
 * Owns: which files are read. Must not know: what the objects mean.
 */
#ifndef REGISTRY_DIR_H
#define REGISTRY_DIR_H

#include "registry.h"

/* Files in the folder, and bytes in one. */
#define REGISTRY_DIR_FILES_MAX 65536
#define REGISTRY_DIR_FILE_MAX  (64u << 20)

/*
 * A new registry of all objects in the folder's files *.yaml, *.yml and *.json (not those that begin with a dot, nor
 * in folders below), in the order of their names: documents, and lists (kind ...List, items) of documents. Of two
 * objects with one kind, namespace and name, the later one counts. Documents of other kinds and empty ones are
 * passed over.
 *
 * note() is called with one line, in printable ASCII, for each object that istiod would not accept or that has no room: "FILE:LINE:
 * KIND NAMESPACE/NAME: why". It may be NULL. -errno if the folder or a file cannot be read, -EINVAL if a file is
 * not YAML or JSON, -EFBIG, -ENOMEM: *ret_why is then "FILE: why" or "FILE:LINE: why", owned by the caller, or
 * NULL if there is no memory for it.
 */
int registry_dir_load(const char *path, const struct registry_options *options,
		      void (*note)(const char *line, void *data), void *data,
		      struct registry_store **ret, char **ret_why);

#endif
