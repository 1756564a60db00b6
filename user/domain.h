/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registrable domains: where one owner's names begin (publicsuffix.org). Owner of libpsl.
 */
#ifndef DOMAIN_H
#define DOMAIN_H

/*
 * The registrable domain that the host is below: "example.co.uk" of "api.eu.example.co.uk", a pointer into host. NULL
 * if the host is one itself, or a public suffix, or the list is not there. host: lower case, without trailing dot.
 */
const char *domain_above(const char *host);

#endif
