// SPDX-License-Identifier: Apache-2.0
/*
 * Registrable domains; see domain.h.
 *
 * The list is the one that libpsl was built with (Debian: package publicsuffix): no file has to be there at run time,
 * and the same binary gives the same answer everywhere. Suffixes of the list's private section count, too: what
 * belongs to alice.github.io is not bob.github.io's.
 */
#include "domain.h"

#include <libpsl.h>
#include <stddef.h>

const char *domain_above(const char *host)
{
	const psl_ctx_t *list = psl_builtin();
	const char *domain = list ? psl_registrable_domain(list, host) : NULL;

	return domain && domain != host ? domain : NULL;
}
