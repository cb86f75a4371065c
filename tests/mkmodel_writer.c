/* SPDX-License-Identifier: MIT */
/*
 * mkmodel: writes GGUF 3, little-endian
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mkmodel.h"

#define ALIGN 32

enum {
	VALUE_U32 = 4,
	VALUE_I32 = 5,
	VALUE_F32 = 6,
	VALUE_BOOL = 7,
	VALUE_STR = 8,
	VALUE_ARRAY = 9,
};

static void *grow(struct bytes *b, size_t n)
{
	if (b->n + n > b->cap) {
		b->cap = (b->n + n) * 2;
		b->data = realloc(b->data, b->cap);
		if (!b->data)
			abort();
	}
	b->n += n;
	return b->data + b->n - n;
}

static void put(struct bytes *b, const void *data, size_t n)
{
	memcpy(grow(b, n), data, n);
}

static void put_u32(struct bytes *b, uint32_t v)
{
	put(b, &v, sizeof(v));
}

static void put_u64(struct bytes *b, uint64_t v)
{
	put(b, &v, sizeof(v));
}

static void put_str(struct bytes *b, const char *s)
{
	put_u64(b, strlen(s));
	put(b, s, strlen(s));
}

static void put_key(struct gguf_writer *w, const char *key, uint32_t type)
{
	put_str(&w->keys, key);
	put_u32(&w->keys, type);
	w->n_keys++;
}

void writer_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
	put_key(w, key, VALUE_U32);
	put_u32(&w->keys, value);
}

void writer_f32(struct gguf_writer *w, const char *key, float value)
{
	put_key(w, key, VALUE_F32);
	put(&w->keys, &value, sizeof(value));
}

void writer_bool(struct gguf_writer *w, const char *key, int value)
{
	const uint8_t byte = value != 0;

	put_key(w, key, VALUE_BOOL);
	put(&w->keys, &byte, 1);
}

void writer_str(struct gguf_writer *w, const char *key, const char *value)
{
	put_key(w, key, VALUE_STR);
	put_str(&w->keys, value);
}

void writer_strs(struct gguf_writer *w, const char *key, char *const *values, size_t n)
{
	put_key(w, key, VALUE_ARRAY);
	put_u32(&w->keys, VALUE_STR);
	put_u64(&w->keys, n);
	for (size_t i = 0; i < n; i++)
		put_str(&w->keys, values[i]);
}

void writer_i32s(struct gguf_writer *w, const char *key, const int32_t *values, size_t n)
{
	put_key(w, key, VALUE_ARRAY);
	put_u32(&w->keys, VALUE_I32);
	put_u64(&w->keys, n);
	put(&w->keys, values, n * sizeof(*values));
}

static void pad(struct bytes *b, size_t at)
{
	static const uint8_t zeros[ALIGN];

	put(b, zeros, (ALIGN - at % ALIGN) % ALIGN);
}

void writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, const float *x,
		   const uint32_t shape[2])
{
	const uint32_t rows = shape[0], cols = shape[1];

	put_str(&w->infos, name);
	put_u32(&w->infos, rows ? 2 : 1);
	put_u64(&w->infos, cols);
	if (rows)
		put_u64(&w->infos, rows);
	put_u32(&w->infos, type);
	put_u64(&w->infos, w->data.n);
	w->n_tensors++;
	for (size_t r = 0; r < (rows ? rows : 1); r++)
		quant_row(type, x + r * cols, cols, grow(&w->data, quant_bytes(type, cols)));
	pad(&w->data, w->data.n);
}

int writer_finish(struct gguf_writer *w, const char *path)
{
	struct bytes head = { 0 };
	FILE *f = fopen(path, "wb");
	int rc = f ? 0 : -1;

	put(&head, "GGUF", 4);
	put_u32(&head, 3);
	put_u64(&head, w->n_tensors);
	put_u64(&head, w->n_keys);
	put(&head, w->keys.data, w->keys.n);
	put(&head, w->infos.data, w->infos.n);
	pad(&head, head.n);
	if (f) {
		if (fwrite(head.data, 1, head.n, f) != head.n ||
		    fwrite(w->data.data, 1, w->data.n, f) != w->data.n)
			rc = -1;
		if (fclose(f))
			rc = -1;
	}
	free(head.data);
	free(w->keys.data);
	free(w->infos.data);
	free(w->data.data);
	return rc;
}
