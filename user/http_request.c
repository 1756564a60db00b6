// SPDX-License-Identifier: Apache-2.0
/* A request as a page sees it; see http_work.h. */
#include <string.h>
#include <strings.h>

#include "http_work.h"

static enum MHD_Result params_add(void *cls, enum MHD_ValueKind kind, const char *name,
				  size_t name_size, const char *value, size_t value_size)
{
	struct http_params *p = cls;

	(void)kind;
	if (p->n == HTTP_QUERY_PARAMS_MAX)
		p->error = "too many query parameters";
	else if (strlen(name) != name_size || (value && strlen(value) != value_size))
		p->error = "a query parameter contains a zero byte";
	if (p->error)
		return MHD_NO;
	p->names[p->n] = name;
	p->values[p->n++] = value ? value : "";
	return MHD_YES;
}

static const char *request_param(const struct http_request *req, const char *name)
{
	const struct http_params *p = req->priv;

	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->names[i], name) == 0)
			return p->values[i];
	}
	return NULL;
}

static const char *request_unknown_param(const struct http_request *req, const char *const *known)
{
	const struct http_params *p = req->priv;

	for (size_t i = 0; i < p->n; i++) {
		size_t k = 0;

		while (known[k] && strcmp(known[k], p->names[i]) != 0)
			k++;
		if (!known[k])
			return p->names[i];
	}
	return NULL;
}

static const char *request_repeated_param(const struct http_request *req)
{
	const struct http_params *p = req->priv;

	for (size_t i = 0; i < p->n; i++) {
		for (size_t k = 0; k < i; k++) {
			if (strcmp(p->names[i], p->names[k]) == 0)
				return p->names[i];
		}
	}
	return NULL;
}

static const char *request_header(const struct http_request *req, const char *name)
{
	const struct http_params *p = req->priv;

	return MHD_lookup_connection_value(p->connection, MHD_HEADER_KIND, name);
}

struct header_search {
	const char *name;
	void (*each)(void *data, const char *value);
	void *data;
};

static enum MHD_Result header_visit(void *cls, enum MHD_ValueKind kind, const char *name,
				    const char *value)
{
	const struct header_search *search = cls;

	(void)kind;
	if (value && strcasecmp(name, search->name) == 0)
		search->each(search->data, value);
	return MHD_YES;
}

static void request_each_header(const struct http_request *req, const char *name,
				void (*each)(void *data, const char *value), void *data)
{
	const struct http_params *p = req->priv;
	struct header_search search = {name, each, data};

	MHD_get_connection_values(p->connection, MHD_HEADER_KIND, header_visit, &search);
}

bool http_request_has_body(struct MHD_Connection *c)
{
	const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);

	return (length && strspn(length, "0") != strlen(length)) ||
	       MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

void http_request_read(struct MHD_Connection *connection, const char *path,
		       struct http_params *params, struct http_request *ret)
{
	*params = (struct http_params){.connection = connection};
	*ret = (struct http_request){.path = path,
				     .param = request_param,
				     .unknown_param = request_unknown_param,
				     .repeated_param = request_repeated_param,
				     .header = request_header,
				     .each_header = request_each_header,
				     .priv = params};
	MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, params_add, params);
}
