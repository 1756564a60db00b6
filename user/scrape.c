// SPDX-License-Identifier: Apache-2.0
/* One answer to GET /metrics; see scrape.h. */
#include "scrape.h"

#include <errno.h>

#include "accept.h"
#include "gzip.h"
#include "util.h"

static const char *const content_types[] = {
	[METRICS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
	[METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
};
_Static_assert(ARRAY_SIZE(content_types) == METRICS_FORMAT_MAX, "a type for every format");

struct scrape {
	struct observation *seen;
	struct metrics *metrics;
	struct gzip *gzip; /* NULL: as it is */
};

static void scrape_free(void *data)
{
	struct scrape *s = data;

	if (!s)
		return;
	gzip_free(s->gzip);
	metrics_free(s->metrics);
	observation_put(s->seen);
	free(s);
}

static int scrape_source(void *data, char *buf, size_t size, size_t *ret_n)
{
	return metrics_read(data, buf, size, ret_n);
}

static int scrape_read(void *data, char *buf, size_t size, size_t *ret_n)
{
	struct scrape *s = data;

	return s->gzip ? gzip_read(s->gzip, buf, size, ret_n)
		       : metrics_read(s->metrics, buf, size, ret_n);
}

static void media_line(void *data, const char *value)
{
	accept_media_line(data, value);
}

static void encoding_line(void *data, const char *value)
{
	accept_encoding_line(data, value);
}

static int scrape_open(struct scrape *s, const struct http_request *req,
		       const struct agent_health *health, enum metrics_format *ret_format)
{
	struct accept_encoding encoding = {0};
	struct accept_media media = {0};
	int r;

	req->each_header(req, "Accept", media_line, &media);
	req->each_header(req, "Accept-Encoding", encoding_line, &encoding);
	*ret_format = accept_media_choose(&media);
	r = metrics_new(&s->seen->list, health, *ret_format, &s->metrics);
	if (r == 0 && accept_encoding_gzip(&encoding))
		r = gzip_new(scrape_source, s->metrics, &s->gzip);
	return r;
}

int scrape_reply(const struct http_request *req, struct observation *seen,
		 const struct agent_health *health, struct http_reply *ret)
{
	struct scrape *s = calloc(1, sizeof(*s));
	enum metrics_format format;
	int r;

	if (!s) {
		observation_put(seen);
		return -ENOMEM;
	}
	s->seen = seen;
	r = scrape_open(s, req, health, &format);
	if (r < 0) {
		scrape_free(s);
		return r;
	}
	*ret = (struct http_reply){.content_type = content_types[format],
				   .encoding = s->gzip ? "gzip" : NULL,
				   .vary = "Accept, Accept-Encoding",
				   .stream = {scrape_read, scrape_free, s}};
	return 0;
}
