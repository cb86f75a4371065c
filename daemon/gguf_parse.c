/* SPDX-License-Identifier: MIT */
/*
 * gguf_parse: checks every record of a GGUF file and fills both name indexes, see daemon/gguf.h.
 *
 * One pass with a cursor that cannot leave the file. Counts are compared with the bytes that are
 * left before anything is allocated for them, so memory stays below a small multiple of the
 * file's size. Both indexes are sorted arrays: no hash for a hostile file to attack. Errors name
 * the key or tensor and both numbers.
 *
 * Called by `gguf_open` and `gguf_open_memory` alone, on their thread.
 */
#include "daemon/gguf_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 24	    /* magic, version, both counts */
#define ENTRY_BYTES_MIN 13  /* empty key, type, one byte of value */
#define TENSOR_BYTES_MIN 32 /* empty name, one dimension, type, offset */
#define ALIGNMENT_DEFAULT 32
#define ALIGNMENT_MIN 8 /* the specification: a multiple of 8 */
#define ALIGNMENT_MAX 1048576

/* A place in the file and what is being read there, for the error. */
struct cursor {
	const struct gguf *g;
	uint64_t off;
	const char *what; /* "metadata key tokenizer.ggml.tokens" */
	char label[144];  /* where `what` points when it holds a name of the file */
	struct error *err;
};

static int truncated(const struct cursor *c, uint64_t n_bytes)
{
	return error_set(c->err, -EBADMSG,
			 "%s needs %" PRIu64 " bytes at offset %" PRIu64 ", the file has %" PRIu64,
			 c->what, n_bytes, c->off, c->g->n_bytes);
}

/* The next n bytes, or NULL with the error set. */
static const uint8_t *take(struct cursor *c, uint64_t n_bytes)
{
	const uint8_t *p = c->g->map + c->off;

	if (n_bytes > c->g->n_bytes - c->off) {
		truncated(c, n_bytes);
		return NULL;
	}
	c->off += n_bytes;
	return p;
}

static int take_u32(struct cursor *c, uint32_t *out)
{
	const uint8_t *p = take(c, sizeof(*out));

	if (!p)
		return -EBADMSG;
	memcpy(out, p, sizeof(*out));
	return 0;
}

static int take_u64(struct cursor *c, uint64_t *out)
{
	const uint8_t *p = take(c, sizeof(*out));

	if (!p)
		return -EBADMSG;
	memcpy(out, p, sizeof(*out));
	return 0;
}

static int take_str(struct cursor *c, struct gguf_str *out)
{
	const uint8_t *p;
	uint64_t len;

	if (take_u64(c, &len))
		return -EBADMSG;
	p = take(c, len);
	if (!p)
		return -EBADMSG;
	out->data = (const char *)p;
	out->len = len;
	return 0;
}

/*
 * A key or a tensor's name: 1 to max printable ASCII bytes, so that every message can print it.
 */
static int take_name(struct cursor *c, struct gguf_str *out, size_t max)
{
	uint64_t at = c->off;

	if (take_str(c, out))
		return -EBADMSG;
	if (!out->len || out->len > max)
		return error_set(c->err, -EBADMSG,
				 "%s: name at offset %" PRIu64 " has %zu bytes, 1 to %zu expected",
				 c->what, at, out->len, max);
	for (size_t i = 0; i < out->len; i++) {
		unsigned char b = (unsigned char)out->data[i];

		if (b <= ' ' || b > '~')
			return error_set(c->err, -EBADMSG,
					 "%s: name at offset %" PRIu64
					 " has byte 0x%02x at %zu, printable ASCII expected",
					 c->what, at, b, i);
	}
	return 0;
}

/* Walks the elements of an array; e->n and e->elem_type are set. */
static int check_array(struct cursor *c, const struct gguf_entry *e)
{
	uint64_t left = c->g->n_bytes - c->off;
	size_t elem_bytes = gguf_value_bytes(e->elem_type);
	size_t least = elem_bytes ? elem_bytes : sizeof(uint64_t);
	struct gguf_str s;

	if (e->n > left / least)
		return error_set(c->err, -EBADMSG,
				 "%s: array of %" PRIu64 " %s, the file has %" PRIu64 " bytes left",
				 c->what, e->n, gguf_value_type_name(e->elem_type), left);
	if (elem_bytes) {
		for (uint64_t i = 0; e->elem_type == GGUF_VALUE_BOOL && i < e->n; i++) {
			if (e->value[i] > 1)
				return error_set(c->err, -EBADMSG,
						 "%s: element %" PRIu64 " is %u, BOOL is 0 or 1",
						 c->what, i, e->value[i]);
		}
		c->off += e->n * elem_bytes;
		return 0;
	}
	for (uint64_t i = 0; i < e->n; i++) {
		if (take_str(c, &s))
			return -EBADMSG;
	}
	return 0;
}

/* Reads the value that follows a key of e->type. */
static int parse_value(struct cursor *c, struct gguf_entry *e)
{
	struct gguf_str s;
	uint32_t elem_type;

	e->n = 1;
	e->value = c->g->map + c->off;
	if (e->type == GGUF_VALUE_STR)
		return take_str(c, &s);
	if (e->type != GGUF_VALUE_ARRAY) {
		if (!take(c, gguf_value_bytes(e->type)))
			return -EBADMSG;
		if (e->type == GGUF_VALUE_BOOL && *e->value > 1)
			return error_set(c->err, -EBADMSG, "%s is %u, BOOL is 0 or 1", c->what,
					 *e->value);
		return 0;
	}
	if (take_u32(c, &elem_type) || take_u64(c, &e->n))
		return -EBADMSG;
	if (elem_type >= GGUF_VALUE_TYPES)
		return error_set(c->err, -EBADMSG,
				 "%s: array of type %" PRIu32 ", at most %d is known", c->what,
				 elem_type, GGUF_VALUE_TYPES - 1);
	if (elem_type == GGUF_VALUE_ARRAY)
		return error_set(c->err, -ENOTSUP, "%s: array of arrays is not supported", c->what);
	e->elem_type = elem_type;
	e->value = c->g->map + c->off;
	return check_array(c, e);
}

static int parse_entry(struct cursor *c, struct gguf_entry *e)
{
	uint32_t type;
	int ret;

	c->what = "metadata";
	ret = take_name(c, &e->key, GGUF_KEY_MAX);
	if (ret)
		return ret;
	snprintf(c->label, sizeof(c->label), "metadata key %.*s", (int)e->key.len, e->key.data);
	c->what = c->label;
	ret = take_u32(c, &type);
	if (ret)
		return ret;
	if (type >= GGUF_VALUE_TYPES)
		return error_set(c->err, -EBADMSG, "%s has type %" PRIu32 ", at most %d is known",
				 c->what, type, GGUF_VALUE_TYPES - 1);
	e->type = type;
	return parse_value(c, e);
}

static int compare_entries(const void *a, const void *b)
{
	const struct gguf_str *x = &((const struct gguf_entry *)a)->key;
	const struct gguf_str *y = &((const struct gguf_entry *)b)->key;
	int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

static int parse_entries(struct cursor *c, struct gguf *g)
{
	int ret;

	if (!g->n_entries)
		return 0;
	g->entries = calloc(g->n_entries, sizeof(*g->entries));
	if (!g->entries)
		return error_set(c->err, -ENOMEM, "no memory for %" PRIu64 " metadata keys",
				 g->n_entries);
	for (uint64_t i = 0; i < g->n_entries; i++) {
		ret = parse_entry(c, &g->entries[i]);
		if (ret)
			return ret;
	}
	qsort(g->entries, g->n_entries, sizeof(*g->entries), compare_entries);
	for (uint64_t i = 1; i < g->n_entries; i++) {
		const struct gguf_str *k = &g->entries[i].key;

		if (!compare_entries(&g->entries[i - 1], &g->entries[i]))
			return error_set(c->err, -EBADMSG, "metadata key %.*s appears twice",
					 (int)k->len, k->data);
	}
	return 0;
}

/* dims, type and n_bytes; t->name and t->n_dims are set. */
static int parse_shape(struct cursor *c, struct gguf_tensor *t)
{
	const struct gguf_type_traits *traits;
	uint64_t n_elems = 1;
	uint32_t type;

	for (uint32_t i = 0; i < GGUF_DIMS_MAX; i++) {
		t->dims[i] = 1;
		if (i >= t->n_dims)
			continue;
		if (take_u64(c, &t->dims[i]))
			return -EBADMSG;
		if (!t->dims[i] || t->dims[i] > INT64_MAX / n_elems)
			return error_set(c->err, -EBADMSG,
					 "%s: dimension %" PRIu32 " is %" PRIu64 ", 1 to %" PRIu64
					 " expected",
					 c->what, i, t->dims[i], (uint64_t)INT64_MAX / n_elems);
		n_elems *= t->dims[i];
	}
	if (take_u32(c, &type))
		return -EBADMSG;
	traits = gguf_type_traits(type);
	if (!traits)
		return error_set(c->err, -ENOTSUP, "%s has unknown type %" PRIu32, c->what, type);
	if (t->dims[0] % traits->block_elems)
		return error_set(c->err, -EBADMSG,
				 "%s: rows of %" PRIu64
				 " elements, %s needs a multiple of %" PRIu32,
				 c->what, t->dims[0], traits->name, traits->block_elems);
	t->type = type;
	n_elems /= traits->block_elems;
	if (n_elems > (uint64_t)INT64_MAX / traits->block_bytes)
		return error_set(c->err, -EBADMSG,
				 "%s: %" PRIu64 " blocks of %" PRIu32 " bytes overflow", c->what,
				 n_elems, traits->block_bytes);
	t->n_bytes = n_elems * traits->block_bytes;
	return 0;
}

/* One tensor record. Its data offset comes back in *off: where data begins is not yet known. */
static int parse_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *off)
{
	struct gguf_str name;
	int ret;

	c->what = "tensor table";
	ret = take_name(c, &name, GGUF_NAME_MAX);
	if (ret)
		return ret;
	memcpy(t->name, name.data, name.len);
	snprintf(c->label, sizeof(c->label), "tensor %s", t->name);
	c->what = c->label;
	ret = take_u32(c, &t->n_dims);
	if (ret)
		return ret;
	if (!t->n_dims || t->n_dims > GGUF_DIMS_MAX)
		return error_set(c->err, -EBADMSG,
				 "%s has %" PRIu32 " dimensions, 1 to %d expected", c->what,
				 t->n_dims, GGUF_DIMS_MAX);
	ret = parse_shape(c, t);
	if (ret)
		return ret;
	return take_u64(c, off);
}

/* Where tensor data begins. A file without tensors may end before it. */
static int find_data(struct cursor *c, struct gguf *g)
{
	int64_t align = ALIGNMENT_DEFAULT;
	int ret = 0;

	if (gguf_entry_find(g, "general.alignment"))
		ret = gguf_get_i64(g, "general.alignment", &align, c->err);
	if (ret)
		return ret;
	if (align < ALIGNMENT_MIN || align > ALIGNMENT_MAX || (align & (align - 1)))
		return error_set(c->err, -EBADMSG,
				 "general.alignment is %" PRId64
				 ", a power of two from %d to %d expected",
				 align, ALIGNMENT_MIN, ALIGNMENT_MAX);
	g->alignment_bytes = (uint64_t)align;
	g->data_off = (c->off + g->alignment_bytes - 1) & ~(g->alignment_bytes - 1);
	if (g->n_tensors && g->data_off > g->n_bytes) {
		c->what = "tensor data";
		return truncated(c, g->data_off - c->off);
	}
	return 0;
}

/* Turns the offset that the file gives for a tensor into its data pointer. */
static int place_tensor(struct cursor *c, const struct gguf *g, struct gguf_tensor *t, uint64_t off)
{
	uint64_t room = g->n_bytes - g->data_off;

	if (off % g->alignment_bytes)
		return error_set(c->err, -EBADMSG,
				 "tensor %s: offset %" PRIu64
				 " is no multiple of the alignment %" PRIu64,
				 t->name, off, g->alignment_bytes);
	if (off > room || t->n_bytes > room - off)
		return error_set(c->err, -EBADMSG,
				 "tensor %s: %" PRIu64 " bytes at data offset %" PRIu64
				 ", the file has %" PRIu64 " bytes of data",
				 t->name, t->n_bytes, off, room);
	t->data = g->map + g->data_off + off;
	return 0;
}

/* qsort has no context argument, so the index sorts through pairs. */
struct named {
	const char *name;
	uint32_t i;
};

static int compare_named(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static int index_tensors(struct gguf *g, struct error *err)
{
	struct named *order = calloc(g->n_tensors, sizeof(*order));
	int ret = 0;

	g->by_name = calloc(g->n_tensors, sizeof(*g->by_name));
	if (!order || !g->by_name) {
		ret = error_set(err, -ENOMEM, "no memory to index %" PRIu32 " tensors",
				g->n_tensors);
		goto out_free;
	}
	for (uint32_t i = 0; i < g->n_tensors; i++)
		order[i] = (struct named){g->tensors[i].name, i};
	qsort(order, g->n_tensors, sizeof(*order), compare_named);
	for (uint32_t i = 0; i < g->n_tensors; i++) {
		g->by_name[i] = order[i].i;
		if (i && !strcmp(order[i - 1].name, order[i].name)) {
			ret = error_set(err, -EBADMSG, "tensor %s appears twice", order[i].name);
			goto out_free;
		}
	}
out_free:
	free(order);
	return ret;
}

static int parse_tensors(struct cursor *c, struct gguf *g)
{
	uint64_t *offs = NULL;
	int ret = 0;

	if (!g->n_tensors)
		return find_data(c, g);
	g->tensors = calloc(g->n_tensors, sizeof(*g->tensors));
	offs = calloc(g->n_tensors, sizeof(*offs));
	if (!g->tensors || !offs) {
		ret = error_set(c->err, -ENOMEM, "no memory for %" PRIu32 " tensors", g->n_tensors);
		goto out_free;
	}
	for (uint32_t i = 0; i < g->n_tensors && !ret; i++)
		ret = parse_tensor(c, &g->tensors[i], &offs[i]);
	if (ret)
		goto out_free;
	ret = find_data(c, g);
	for (uint32_t i = 0; i < g->n_tensors && !ret; i++)
		ret = place_tensor(c, g, &g->tensors[i], offs[i]);
	if (ret)
		goto out_free;
	ret = index_tensors(g, c->err);
out_free:
	free(offs);
	return ret;
}

/* A count may not promise more records than the rest of the file can hold. */
static int check_count(const struct cursor *c, uint64_t n, size_t each_bytes, uint64_t max)
{
	uint64_t left = c->g->n_bytes - HEADER_BYTES;

	if (n > max)
		return error_set(c->err, -EBADMSG,
				 "%s is %" PRIu64 ", at most %" PRIu64 " supported", c->what, n,
				 max);
	if (n > left / each_bytes)
		return error_set(c->err, -EBADMSG,
				 "%s is %" PRIu64 ", the file has only %" PRIu64 " bytes for them",
				 c->what, n, left);
	return 0;
}

static int parse_header(struct cursor *c, struct gguf *g)
{
	uint32_t version;
	uint64_t n_tensors;
	int ret;

	c->what = "GGUF header";
	if (g->n_bytes < HEADER_BYTES)
		return truncated(c, HEADER_BYTES);
	if (memcmp(g->map, "GGUF", 4))
		return error_set(
			c->err, -EBADMSG,
			"not a GGUF file: it begins with %02x %02x %02x %02x, not \"GGUF\"",
			g->map[0], g->map[1], g->map[2], g->map[3]);
	c->off = 4;
	ret = take_u32(c, &version);
	if (ret)
		return ret;
	if (version && !(version & 0xffff))
		return error_set(c->err, -ENOTSUP,
				 "big-endian GGUF (version field 0x%08" PRIx32 ") is not supported",
				 version);
	if (version < 2 || version > 3)
		return error_set(c->err, -ENOTSUP, "GGUF version %" PRIu32 ", 2 or 3 expected",
				 version);
	if (take_u64(c, &n_tensors) || take_u64(c, &g->n_entries))
		return -EBADMSG;
	c->what = "tensor count";
	ret = check_count(c, n_tensors, TENSOR_BYTES_MIN, GGUF_TENSORS_MAX);
	if (ret)
		return ret;
	g->n_tensors = (uint32_t)n_tensors;
	c->what = "metadata count";
	return check_count(c, g->n_entries, ENTRY_BYTES_MIN, GGUF_KEYS_MAX);
}

int gguf_parse(struct gguf *g, struct error *err)
{
	struct cursor c = {.g = g, .err = err};
	int ret = parse_header(&c, g);

	if (!ret)
		ret = parse_entries(&c, g);
	if (!ret)
		ret = parse_tensors(&c, g);
	return ret;
}
