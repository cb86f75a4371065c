/* SPDX-License-Identifier: MIT */
/*
 * gguf_value: typed access to the metadata of an open GGUF file, see daemon/gguf.h.
 *
 * The parser has checked that every value lies inside the file; here only its type and range are
 * compared with what the caller asks for. Values are unaligned in the file, hence the memcpy
 * loads. Any thread; nothing is written but the caller's *out and err.
 */
#include "daemon/gguf_private.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF values are loaded as they lie");

size_t gguf_value_bytes(enum gguf_value_type type)
{
	static const uint8_t n_bytes[GGUF_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

	return n_bytes[type];
}

const struct gguf_entry *gguf_entry_find(const struct gguf *g, const char *key)
{
	uint64_t lo = 0, hi = g->n_entries;
	size_t len = strlen(key);

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		const struct gguf_str *k = &g->entries[mid].key;
		int order = memcmp(key, k->data, len < k->len ? len : k->len);

		if (!order)
			order = (len > k->len) - (len < k->len);
		if (!order)
			return &g->entries[mid];
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

static bool is_integer(enum gguf_value_type type)
{
	return type != GGUF_VALUE_F32 && type != GGUF_VALUE_F64 && type != GGUF_VALUE_BOOL &&
	       type != GGUF_VALUE_STR && type != GGUF_VALUE_ARRAY;
}

static bool is_float(enum gguf_value_type type)
{
	return type == GGUF_VALUE_F32 || type == GGUF_VALUE_F64;
}

static int absent(const char *key, struct error *err)
{
	return error_set(err, -ENOENT, "metadata key %s is missing", key);
}

static int wrong_type(const struct gguf_entry *e, const char *key, const char *want,
		      struct error *err)
{
	if (e->type == GGUF_VALUE_ARRAY)
		return error_set(err, -EINVAL, "metadata key %s is an array of %s, %s expected",
				 key, gguf_value_type_name(e->elem_type), want);
	return error_set(err, -EINVAL, "metadata key %s is %s, %s expected", key,
			 gguf_value_type_name(e->type), want);
}

/* Loads an integer of any width. A U64 above INT64_MAX comes back negative: callers check. */
static int64_t load_i64(enum gguf_value_type type, const uint8_t *p)
{
	uint16_t u16;
	int16_t i16;
	uint32_t u32;
	int32_t i32;
	int64_t i64;

	switch (type) {
	case GGUF_VALUE_U8:
		return *p;
	case GGUF_VALUE_I8:
		return (int8_t)*p;
	case GGUF_VALUE_U16:
		memcpy(&u16, p, sizeof(u16));
		return u16;
	case GGUF_VALUE_I16:
		memcpy(&i16, p, sizeof(i16));
		return i16;
	case GGUF_VALUE_U32:
		memcpy(&u32, p, sizeof(u32));
		return u32;
	case GGUF_VALUE_I32:
		memcpy(&i32, p, sizeof(i32));
		return i32;
	default:
		memcpy(&i64, p, sizeof(i64));
		return i64;
	}
}

static double load_f64(enum gguf_value_type type, const uint8_t *p)
{
	float f32;
	double f64;

	if (type == GGUF_VALUE_F32) {
		memcpy(&f32, p, sizeof(f32));
		return (double)f32;
	}
	memcpy(&f64, p, sizeof(f64));
	return f64;
}

int gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct error *err)
{
	const struct gguf_entry *e = gguf_entry_find(g, key);
	int64_t v;

	if (!e)
		return absent(key, err);
	if (!is_integer(e->type))
		return wrong_type(e, key, "an integer", err);
	v = load_i64(e->type, e->value);
	if (e->type == GGUF_VALUE_U64 && v < 0)
		return error_set(err, -ERANGE,
				 "metadata key %s is %" PRIu64 ", at most %" PRId64 " expected",
				 key, (uint64_t)v, INT64_MAX);
	*out = v;
	return 0;
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct error *err)
{
	int64_t v = 0;
	int ret = gguf_get_i64(g, key, &v, err);

	if (ret)
		return ret;
	if (v < 0 || v > UINT32_MAX)
		return error_set(err, -ERANGE,
				 "metadata key %s is %" PRId64 ", 0 to %" PRIu32 " expected", key,
				 v, UINT32_MAX);
	*out = (uint32_t)v;
	return 0;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct error *err)
{
	const struct gguf_entry *e = gguf_entry_find(g, key);
	double v;

	if (!e)
		return absent(key, err);
	if (!is_float(e->type))
		return wrong_type(e, key, "a float", err);
	v = load_f64(e->type, e->value);
	if (!isfinite(v) || !isfinite((float)v))
		return error_set(err, -ERANGE,
				 "metadata key %s is %g, a finite 32-bit float expected", key, v);
	*out = (float)v;
	return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct error *err)
{
	const struct gguf_entry *e = gguf_entry_find(g, key);

	if (!e)
		return absent(key, err);
	if (e->type != GGUF_VALUE_BOOL)
		return wrong_type(e, key, "BOOL", err);
	*out = *e->value != 0;
	return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct error *err)
{
	const struct gguf_entry *e = gguf_entry_find(g, key);
	uint64_t len;

	if (!e)
		return absent(key, err);
	if (e->type != GGUF_VALUE_STR)
		return wrong_type(e, key, "STR", err);
	memcpy(&len, e->value, sizeof(len));
	out->data = (const char *)e->value + sizeof(len);
	out->len = len;
	return 0;
}

int gguf_get_array(const struct gguf *g, const char *key, enum gguf_value_type type,
		   struct gguf_array *out, struct error *err)
{
	const struct gguf_entry *e = gguf_entry_find(g, key);

	if (!e)
		return absent(key, err);
	if (e->type != GGUF_VALUE_ARRAY)
		return error_set(err, -EINVAL, "metadata key %s is %s, an array of %s expected",
				 key, gguf_value_type_name(e->type), gguf_value_type_name(type));
	if (e->elem_type != type && !(is_integer(e->elem_type) && is_integer(type)))
		return wrong_type(e, key, gguf_value_type_name(type), err);
	out->type = e->elem_type;
	out->n = e->n;
	out->data = e->value;
	return 0;
}

int gguf_get_type(const struct gguf *g, const char *key)
{
	const struct gguf_entry *e = gguf_entry_find(g, key);

	return e ? (int)e->type : -ENOENT;
}

int64_t gguf_array_i64(const struct gguf_array *a, size_t i)
{
	return load_i64(a->type, a->data + i * gguf_value_bytes(a->type));
}

double gguf_array_f64(const struct gguf_array *a, size_t i)
{
	return load_f64(a->type, a->data + i * gguf_value_bytes(a->type));
}

struct gguf_str gguf_array_next_str(const struct gguf_array *a, size_t *pos)
{
	struct gguf_str s;
	uint64_t len;

	memcpy(&len, a->data + *pos, sizeof(len));
	s.data = (const char *)a->data + *pos + sizeof(len);
	s.len = len;
	*pos += sizeof(len) + len;
	return s;
}
