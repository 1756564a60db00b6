// SPDX-License-Identifier: Apache-2.0
/* The sockets the agent's HTTP server listens on; see http_socket.h. */
#include "http_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util.h"

#define HTTP_BACKLOG 128

static int port_parse(const char *text, in_port_t *ret)
{
	size_t n = strspn(text, "0123456789");
	unsigned long port;

	if (n == 0 || n > 5 || text[n] != '\0')
		return -EINVAL;
	port = strtoul(text, NULL, 10);
	if (port > 65535)
		return -EINVAL;
	*ret = htons((in_port_t)port);
	return 0;
}

union http_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static int listen_parse(const char *text, union http_addr *ret)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	char host[INET6_ADDRSTRLEN];
	union http_addr a = {0};
	in_port_t port;

	if (!colon || port_parse(colon + 1, &port) < 0 || n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = port;
		if (inet_pton(AF_INET6, host + 1, &a.in6.sin6_addr) != 1)
			return -EINVAL;
	} else if (n == 0) {
		a.in6.sin6_family = AF_INET6; /* in6addr_any */
		a.in6.sin6_port = port;
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_port = port;
		if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1)
			return -EINVAL;
	}
	*ret = a;
	return 0;
}

static int socket_bind(const union http_addr *a, socklen_t size, bool v6only, int *ret)
{
	_cleanup_close_ int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
					0);
	int on = 1, only = v6only;

	if (fd < 0)
		return -errno;
	if (a->sa.sa_family != AF_UNIX &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (a->sa.sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
		return -errno;
	if (bind(fd, &a->sa, size) < 0 || listen(fd, HTTP_BACKLOG) < 0)
		return -errno;
	*ret = util_take_fd(&fd);
	return 0;
}

int http_socket_address(int fd, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	union http_addr a = {0};
	socklen_t n = sizeof(a);

	if (getsockname(fd, &a.sa, &n) < 0)
		return -errno;
	if (a.sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
		snprintf(buf, size, "[%s]:%u", host, ntohs(a.in6.sin6_port));
	} else {
		inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host));
		snprintf(buf, size, "%s:%u", host, ntohs(a.in.sin_port));
	}
	return 0;
}

int http_socket_tcp(const char *text, int *ret)
{
	bool all = text[0] == ':';
	union http_addr a;
	int r = listen_parse(text, &a);

	if (r < 0)
		return r;
	r = socket_bind(&a, a.sa.sa_family == AF_INET6 ? sizeof(a.in6) : sizeof(a.in), !all, ret);
	if (all && r == -EAFNOSUPPORT) {
		/* A kernel without IPv6: all addresses are those of IPv4. */
		a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = a.in6.sin6_port};
		r = socket_bind(&a, sizeof(a.in), false, ret);
	}
	return r;
}

/* 0 if path is free now: nothing was there, or a socket where nobody answers. */
static int socket_clear_stale(const char *path, const union http_addr *a)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN: its queue is full, so somebody listens. */
	if (connect(fd, &a->sa, sizeof(a->un)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED && errno != ENOENT)
		return -errno;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int socket_make_dir(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	return mkdir(dirname(copy), 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int http_socket_local(const char *path, int *ret)
{
	union http_addr a = {.un = {.sun_family = AF_UNIX}};
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(a.un.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.un.sun_path, path, strlen(path) + 1);
	r = socket_make_dir(path);
	if (r == 0)
		r = socket_clear_stale(path, &a);
	if (r < 0)
		return r;
	mask = umask(0117); /* so that it is 0660 from its first moment */
	r = socket_bind(&a, sizeof(a.un), false, ret);
	umask(mask);
	return r;
}
