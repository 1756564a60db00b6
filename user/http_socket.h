/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets the agent's HTTP server listens on: addresses as text, stale unix sockets, modes.
 *
 * Must not know: HTTP, libmicrohttpd.
 */
#ifndef HTTP_SOCKET_H
#define HTTP_SOCKET_H

#include <stddef.h>

/* Listen as http_open() says; the descriptors do not block and are the caller's. */
int http_socket_tcp(const char *text, int *ret_fd);
int http_socket_local(const char *path, int *ret_fd);

/* "127.0.0.1:9990" or "[::]:9990": what a listening TCP socket is bound to. */
int http_socket_address(int fd, char *buf, size_t size);

#endif
