/* SPDX-License-Identifier: MIT */
/*
 * gguf_image: writes small GGUF files into memory, right or wrong on purpose, for tests and as the
 * seeds of fuzzing. Out of memory ends the test.
 */
#ifndef DEVLLM_GGUF_IMAGE_H
#define DEVLLM_GGUF_IMAGE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/gguf.h"

struct gguf_image {
	uint8_t *data; /* [n] aligned for `gguf_open_memory` */
	size_t n, cap;
};

static inline void image_put(struct gguf_image *im, const void *bytes, size_t n)
{
	if (im->n + n > im->cap) {
		im->cap = 2 * (im->n + n) + 256;
		im->data = realloc(im->data, im->cap);
		if (!im->data) {
			perror("gguf_image");
			exit(1);
		}
	}
	if (n)
		memcpy(im->data + im->n, bytes, n);
	im->n += n;
}

static inline void image_put_u32(struct gguf_image *im, uint32_t v)
{
	image_put(im, &v, sizeof(v));
}

static inline void image_put_u64(struct gguf_image *im, uint64_t v)
{
	image_put(im, &v, sizeof(v));
}

static inline void image_put_f32(struct gguf_image *im, float v)
{
	image_put(im, &v, sizeof(v));
}

static inline void image_put_bytes(struct gguf_image *im, const char *text, size_t len)
{
	image_put_u64(im, len);
	image_put(im, text, len);
}

static inline void image_put_str(struct gguf_image *im, const char *text)
{
	image_put_bytes(im, text, strlen(text));
}

/* Begins the file anew; the counts are taken at their word by nobody. */
static inline void image_begin(struct gguf_image *im, uint64_t n_tensors, uint64_t n_keys)
{
	im->n = 0;
	image_put(im, "GGUF", 4);
	image_put_u32(im, 3);
	image_put_u64(im, n_tensors);
	image_put_u64(im, n_keys);
}

static inline void image_key(struct gguf_image *im, const char *key, uint32_t type)
{
	image_put_str(im, key);
	image_put_u32(im, type);
}

static inline void image_key_u32(struct gguf_image *im, const char *key, uint32_t v)
{
	image_key(im, key, GGUF_VALUE_U32);
	image_put_u32(im, v);
}

static inline void image_key_str(struct gguf_image *im, const char *key, const char *text)
{
	image_key(im, key, GGUF_VALUE_STR);
	image_put_str(im, text);
}

static inline void image_key_bool(struct gguf_image *im, const char *key, uint8_t v)
{
	image_key(im, key, GGUF_VALUE_BOOL);
	image_put(im, &v, 1);
}

/* The elements follow. */
static inline void image_key_array(struct gguf_image *im, const char *key, uint32_t type,
				   uint64_t n)
{
	image_key(im, key, GGUF_VALUE_ARRAY);
	image_put_u32(im, type);
	image_put_u64(im, n);
}

/* A record of the tensor table: cols x rows of a type. */
static inline void image_tensor(struct gguf_image *im, const char *name, uint32_t type,
				const uint64_t dims[2], uint64_t off)
{
	image_put_str(im, name);
	image_put_u32(im, 2);
	image_put_u64(im, dims[0]);
	image_put_u64(im, dims[1]);
	image_put_u32(im, type);
	image_put_u64(im, off);
}

static inline void image_pad(struct gguf_image *im, size_t to_bytes)
{
	while (im->n % to_bytes)
		image_put(im, "", 1);
}

static inline void image_exit(struct gguf_image *im)
{
	free(im->data);
	*im = (struct gguf_image){0};
}

#endif
