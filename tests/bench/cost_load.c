// SPDX-License-Identifier: Apache-2.0
/*
 * Traffic for cost.py: small servers, and a client that does one thing as fast as it can for a short while.
 *
 *	cost_load serve PORT			hello on PORT, rr on PORT + 1, bulk on PORT + 2; both families
 *						(http is expected on PORT + 3, tls on PORT + 4)
 *	cost_load client PORT ADDRESS4 ADDRESS6	a command a line on stdin, an answer a line on stdout:
 *		WORKLOAD FAMILY MS NAMES MOST	-> OPERATIONS NANOSECONDS ALL
 *
 * FAMILY is 4 or 6, NAMES how many host names new connections take in turn, MOST how many operations at most (0: as MS
 * says). OPERATIONS are those within NANOSECONDS; ALL has those before, which warmed the connection up. An operation is
 *	hello	a connection: connect, send a ClientHello, wait until the server closes
 *	tls	a connection: handshake, one request, its answer, close
 *	http	a request and its answer on one connection
 *	rr	one byte there, one back, on one connection that is past what names are looked for in
 *	bulk	a byte sent on one connection
 *
 * Owns: what is sent. Must not know that anybody watches.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { HELLO, RR, BULK, SERVICES, HTTP = SERVICES, TLS };

#define HOST_FORMAT "h%06u.bench.example"
#define HOST_LEN    21
#define EVENTS_MAX  64
#define BULK_BLOCK  (128 << 10)
#define WARM_UP     16
#define PRELUDE     4096 /* bytes behind which no agent looks for a name any more */

struct client {
	struct sockaddr_storage to[2]; /* by family: 4, 6 */
	socklen_t to_len[2];
	uint16_t port;
	SSL_CTX *tls;
	uint8_t hello[2048];
	size_t hello_len;
	uint8_t *hello_host; /* within hello */
	unsigned int next_name;
	char *block;
};

struct slice {
	struct client *client;
	char workload[8];
	int family;
	unsigned int ms, names, most;
	uint64_t begin, end, operations, before;
};

static void die(const char *what)
{
	fprintf(stderr, "cost_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- servers */

static int serve_open(uint16_t port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, off = 0;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 4096))
		die("listen");
	return fd;
}

static void serve_watch(int epoll, int fd, int what)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = (uint64_t)what << 32 | (uint32_t)fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e))
		die("epoll_ctl");
}

static void serve_accept(int epoll, int listener, int service)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	serve_watch(epoll, fd, SERVICES + service);
}

static void serve_read(int fd, int service)
{
	static char buffer[BULK_BLOCK * 2];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && service == RR && write(fd, buffer, (size_t)n) == n)
		return;
	if (n > 0 && service == BULK)
		return;
	close(fd);
}

static __attribute__((noreturn)) void serve(uint16_t port)
{
	struct epoll_event events[EVENTS_MAX];
	int epoll = epoll_create1(0);

	for (int i = 0; i < SERVICES; i++)
		serve_watch(epoll, serve_open((uint16_t)(port + i)), i);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS_MAX, -1);

		for (int i = 0; i < n; i++) {
			int fd = (int)(uint32_t)events[i].data.u64;
			int what = (int)(events[i].data.u64 >> 32);

			if (what < SERVICES)
				serve_accept(epoll, fd, what);
			else
				serve_read(fd, what - SERVICES);
		}
	}
}

/* ---- client */

static void host_name(struct slice *s, char host[HOST_LEN + 1])
{
	snprintf(host, HOST_LEN + 1, HOST_FORMAT, s->client->next_name++ % s->names % 1000000);
}

static int client_connect(struct slice *s, uint16_t port)
{
	struct sockaddr_storage *to = &s->client->to[s->family == 6];
	int fd = socket(to->ss_family, SOCK_STREAM, 0), on = 1;

	/* The port stands at the same place in both families. */
	((struct sockaddr_in *)to)->sin_port = htons(port);
	if (fd < 0 || connect(fd, (struct sockaddr *)to, s->client->to_len[s->family == 6]))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static int slice_over(const struct slice *s)
{
	return s->most ? s->operations >= s->most : now_ns() >= s->begin + s->ms * 1000000ULL;
}

static void slice_begin(struct slice *s)
{
	s->before = s->operations;
	s->operations = 0;
	s->begin = now_ns();
}

/* The hello that OpenSSL would send, with room for a name. */
static void hello_make(struct client *c)
{
	char host[HOST_LEN + 1];
	SSL *ssl = SSL_new(c->tls);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	int n;

	snprintf(host, sizeof(host), HOST_FORMAT, 0U);
	SSL_set_bio(ssl, in, out);
	SSL_set_tlsext_host_name(ssl, host);
	SSL_connect(ssl);
	n = BIO_read(out, c->hello, sizeof(c->hello));
	c->hello_len = n > 0 ? (size_t)n : 0;
	c->hello_host = memmem(c->hello, c->hello_len, host, HOST_LEN);
	SSL_free(ssl);
	if (!c->hello_host)
		die("no ClientHello");
}

static void hello_one(struct slice *s)
{
	struct client *c = s->client;
	char host[HOST_LEN + 1], byte;
	int fd = client_connect(s, c->port + HELLO);

	host_name(s, host);
	memcpy(c->hello_host, host, HOST_LEN);
	if (send(fd, c->hello, c->hello_len, 0) != (ssize_t)c->hello_len || recv(fd, &byte, 1, 0))
		die("hello");
	close(fd);
}

static void tls_one(struct slice *s)
{
	char host[HOST_LEN + 1], text[256];
	SSL *ssl = SSL_new(s->client->tls);
	int fd = client_connect(s, s->client->port + TLS), n;

	host_name(s, host);
	SSL_set_fd(ssl, fd);
	SSL_set_tlsext_host_name(ssl, host);
	if (SSL_connect(ssl) != 1)
		die("TLS handshake");
	n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		     host);
	if (SSL_write(ssl, text, n) != n || SSL_read(ssl, text, sizeof(text)) <= 0)
		die("TLS request");
	while (SSL_read(ssl, text, sizeof(text)) > 0)
		;
	SSL_shutdown(ssl);
	SSL_free(ssl);
	close(fd);
}

static void connections(struct slice *s, void (*one)(struct slice *s))
{
	if (!s->most)
		for (; s->operations < WARM_UP; s->operations++)
			one(s);
	slice_begin(s);
	for (; !slice_over(s); s->operations++)
		one(s);
}

/* A request, and as many bytes of answer as the first one had; that one ends in a pause. */
static void http_one(struct slice *s, int fd, const char *request, size_t size, size_t *answer)
{
	char buffer[4096];
	size_t got = 0;
	ssize_t n;

	if (write(fd, request, size) != (ssize_t)size)
		die("http request");
	do {
		n = read(fd, buffer + got, sizeof(buffer) - 1 - got);
		if (n <= 0)
			die("http answer");
		got += (size_t)n;
	} while (*answer && got < *answer);
	buffer[got] = 0;
	if (!*answer && strncmp(buffer, "HTTP/1.1 200", 12) == 0)
		*answer = got;
	if (got != *answer)
		die("http answer of another size");
	s->operations++;
}

static void http(struct slice *s)
{
	char host[HOST_LEN + 1], request[256];
	int n, fd = client_connect(s, s->client->port + HTTP);
	size_t answer = 0;

	host_name(s, host);
	n = snprintf(request, sizeof(request),
		     "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
		     host);
	while (s->operations < WARM_UP)
		http_one(s, fd, request, (size_t)n, &answer);
	slice_begin(s);
	while (!slice_over(s))
		http_one(s, fd, request, (size_t)n, &answer);
	close(fd);
}

static void rr_one(struct slice *s, int fd, size_t size)
{
	char *block = s->client->block;

	if (write(fd, block, size) != (ssize_t)size ||
	    recv(fd, block, size, MSG_WAITALL) != (ssize_t)size)
		die("rr");
	s->operations++;
}

static void rr(struct slice *s)
{
	int fd = client_connect(s, s->client->port + RR);

	rr_one(s, fd, PRELUDE);
	while (s->operations < WARM_UP)
		rr_one(s, fd, 1);
	slice_begin(s);
	while (!slice_over(s))
		rr_one(s, fd, 1);
	close(fd);
}

static void bulk(struct slice *s)
{
	int fd = client_connect(s, s->client->port + BULK);
	ssize_t n;

	while (!s->begin || !slice_over(s)) {
		if (!s->begin && s->operations >= (uint64_t)WARM_UP * BULK_BLOCK)
			slice_begin(s);
		n = write(fd, s->client->block, BULK_BLOCK);
		if (n <= 0)
			die("bulk");
		s->operations += (uint64_t)n;
	}
	close(fd);
}

static void slice_run(struct slice *s)
{
	if (strcmp(s->workload, "hello") == 0)
		connections(s, hello_one);
	else if (strcmp(s->workload, "tls") == 0)
		connections(s, tls_one);
	else if (strcmp(s->workload, "http") == 0)
		http(s);
	else if (strcmp(s->workload, "rr") == 0)
		rr(s);
	else if (strcmp(s->workload, "bulk") == 0)
		bulk(s);
	s->end = now_ns();
}

static void client_address(struct client *c, const char *ip4, const char *ip6)
{
	struct sockaddr_in *a = (struct sockaddr_in *)&c->to[0];
	struct sockaddr_in6 *b = (struct sockaddr_in6 *)&c->to[1];

	a->sin_family = AF_INET;
	b->sin6_family = AF_INET6;
	c->to_len[0] = sizeof(*a);
	c->to_len[1] = sizeof(*b);
	if (inet_pton(AF_INET, ip4, &a->sin_addr) != 1 ||
	    inet_pton(AF_INET6, ip6, &b->sin6_addr) != 1)
		die("address");
}

static int client(uint16_t port, const char *ip4, const char *ip6)
{
	static struct client c;
	char line[128];

	c.port = port;
	c.tls = SSL_CTX_new(TLS_client_method());
	c.block = calloc(1, BULK_BLOCK);
	client_address(&c, ip4, ip6);
	hello_make(&c);
	signal(SIGPIPE, SIG_IGN);
	while (fgets(line, sizeof(line), stdin)) {
		struct slice s = {.client = &c};

		if (sscanf(line, "%7s %d %u %u %u", s.workload, &s.family, &s.ms, &s.names,
			   &s.most) != 5 ||
		    !s.names)
			die("a command that is none");
		slice_run(&s);
		printf("%lu %lu %lu\n", s.operations, s.end - s.begin, s.operations + s.before);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve((uint16_t)atoi(argv[2]));
	if (argc == 5 && strcmp(argv[1], "client") == 0)
		return client((uint16_t)atoi(argv[2]), argv[3], argv[4]);
	fputs("usage: cost_load serve PORT | client PORT ADDRESS4 ADDRESS6\n", stderr);
	return 2;
}
