/* SPDX-License-Identifier: MIT */
/*
 * gguf: read-only view of a GGUF model file (versions 2 and 3, little-endian).
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The file is mapped, never
 * copied. It is hostile input: `gguf_open` walks every key, string, array and tensor record once
 * and refuses a file in which any offset, count, length, type, dimension or alignment is wrong;
 * after it has returned 0, every pointer handed out here stays inside the mapping. Errors name
 * the key or tensor and both numbers. A file that shrinks while it is mapped raises SIGBUS, as
 * every mapping does: model files belong to the administrator.
 *
 * Owns the mapping and the two name indexes. Knows nothing of architectures, vocabularies or what
 * a tensor means (daemon/model.h, daemon/tokenizer.h). Read-only after the open: any thread may
 * call any function but `gguf_close`.
 *
 * The order of the file:
 *
 *	"GGUF" version:u32 n_tensors:u64 n_keys:u64
 *	n_keys    x { key:string type:u32 value }
 *	n_tensors x { name:string n_dims:u32 dims:u64[n_dims] type:u32 offset:u64 }
 *	padding to `general.alignment` (32), then the data; each offset counts from there
 *	string = { n_bytes:u64 bytes }      array = { type:u32 n:u64 elements }
 */
#ifndef DEVLLM_GGUF_H
#define DEVLLM_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/error.h"

#define GGUF_DIMS_MAX 4		 /* dimensions of a tensor */
#define GGUF_NAME_MAX 127	 /* bytes of a tensor's name, without the terminator */
#define GGUF_KEY_MAX 1024	 /* bytes of a metadata key */
#define GGUF_KEYS_MAX 65536	 /* metadata entries of a file */
#define GGUF_TENSORS_MAX 1048576 /* tensors of a file */

/*
 * Tensor types; the numbers are the file's. Those without a comment are computed with by this
 * engine.
 */
enum gguf_type {
	GGUF_F32 = 0,
	GGUF_F16 = 1,
	GGUF_Q4_0 = 2,
	GGUF_Q4_1 = 3,
	GGUF_Q5_0 = 6,
	GGUF_Q5_1 = 7,
	GGUF_Q8_0 = 8,
	GGUF_Q8_1 = 9, /* from here to BF16: sized and named, so that a refusal names them */
	GGUF_Q2_K = 10,
	GGUF_Q3_K = 11,
	GGUF_Q4_K = 12,
	GGUF_Q5_K = 13,
	GGUF_Q6_K = 14,
	GGUF_Q8_K = 15,
	GGUF_IQ2_XXS = 16,
	GGUF_IQ2_XS = 17,
	GGUF_IQ3_XXS = 18,
	GGUF_IQ1_S = 19,
	GGUF_IQ4_NL = 20,
	GGUF_IQ3_S = 21,
	GGUF_IQ2_S = 22,
	GGUF_IQ4_XS = 23,
	GGUF_I8 = 24,
	GGUF_I16 = 25,
	GGUF_I32 = 26,
	GGUF_I64 = 27,
	GGUF_F64 = 28,
	GGUF_IQ1_M = 29,
	GGUF_BF16 = 30,
	GGUF_TQ1_0 = 34, /* the rest: sized and named only */
	GGUF_TQ2_0 = 35,
	GGUF_MXFP4 = 39,
	GGUF_NVFP4 = 40,
	GGUF_Q1_0 = 41,
	GGUF_Q2_0 = 42,
};

/* How a tensor type is stored: rows are whole blocks. */
struct gguf_type_traits {
	const char *name;     /* "Q4_0" */
	uint32_t block_elems; /* elements in a block */
	uint32_t block_bytes; /* bytes of a block */
};

/* Types of metadata values; the numbers are the file's. */
enum gguf_value_type {
	GGUF_VALUE_U8 = 0,
	GGUF_VALUE_I8 = 1,
	GGUF_VALUE_U16 = 2,
	GGUF_VALUE_I16 = 3,
	GGUF_VALUE_U32 = 4,
	GGUF_VALUE_I32 = 5,
	GGUF_VALUE_F32 = 6,
	GGUF_VALUE_BOOL = 7,
	GGUF_VALUE_STR = 8,
	GGUF_VALUE_ARRAY = 9,
	GGUF_VALUE_U64 = 10,
	GGUF_VALUE_I64 = 11,
	GGUF_VALUE_F64 = 12,
	GGUF_VALUE_TYPES = 13, /* how many there are */
};

/* A string inside the mapping: no terminator, may hold NULs, not checked to be UTF-8. */
struct gguf_str {
	const char *data;
	size_t len; /* bytes */
};

/* An array value inside the mapping. Elements are unaligned: use the accessors below. */
struct gguf_array {
	enum gguf_value_type type; /* of the elements; never GGUF_VALUE_ARRAY */
	size_t n;		   /* elements */
	const uint8_t *data;	   /* first element */
};

/* One tensor. dims[0] is the contiguous one (columns of a row); unused dims are 1. */
struct gguf_tensor {
	char name[GGUF_NAME_MAX + 1]; /* terminated; printable ASCII only */
	enum gguf_type type;	      /* has traits */
	uint32_t n_dims;	      /* 1..GGUF_DIMS_MAX */
	uint64_t dims[GGUF_DIMS_MAX]; /* elements; each >= 1, their product fits in 63 bits */
	const void *data; /* in the mapping, aligned to `general.alignment`, at least 8 */
	uint64_t n_bytes; /* of the data, all of them inside the file */
};

struct gguf;

/* Traits of a type; NULL for a number that names none. */
const struct gguf_type_traits *gguf_type_traits(uint32_t type);

/* "U32", "STR"...; "?" for a number that names none. */
const char *gguf_value_type_name(uint32_t type);

/*
 * Maps and checks the file at path. Returns 0 and *out, or -errno with err set: the errno of open
 * and mmap, -EBADMSG for a malformed or truncated file, -ENOTSUP for a version, byte order or
 * tensor type that this reader does not know. Vocabulary-only files (no tensors) open.
 */
int gguf_open(const char *path, struct gguf **out, struct error *err);

/* The same for n bytes of memory, which must outlive *out and be aligned to 8 bytes. */
int gguf_open_memory(const void *data, size_t n, struct gguf **out, struct error *err);

/* Unmaps; every view taken from g becomes invalid. NULL is allowed. */
void gguf_close(struct gguf *g);

uint64_t gguf_file_bytes(const struct gguf *g);

/*
 * Metadata getters. 0; -ENOENT when the key is absent; -EINVAL when its type is another; -ERANGE
 * when the number does not fit. err is set in each case (pass NULL for an optional key); *out is
 * then untouched, so a default may be stored there before. Integers of every width are accepted
 * by u32 and i64, F32 and F64 by f32.
 */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct error *err);
int gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct error *err);
int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct error *err);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct error *err);
int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct error *err);

/*
 * An array of exactly this element type, except that an integer type accepts arrays of any
 * integers.
 */
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_value_type type,
		   struct gguf_array *out, struct error *err);

/*
 * The type of a key's value, or -ENOENT: for keys that are a number in one file, an array in
 * another.
 */
int gguf_get_type(const struct gguf *g, const char *key);

/* Element i < a->n as an integer or a float. The array must be of integers, or of F32 or F64. */
int64_t gguf_array_i64(const struct gguf_array *a, size_t i);
double gguf_array_f64(const struct gguf_array *a, size_t i);

/*
 * Walks an array of strings in order: start with *pos = 0, call a->n times. Constant time each;
 * there is no access by index because strings have no fixed stride.
 */
struct gguf_str gguf_array_next_str(const struct gguf_array *a, size_t *pos);

/* Tensors in the order of the file. */
uint32_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint32_t i);

/* The tensor of this name, or NULL. */
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name);

/*
 * Gives the memory behind a tensor's whole pages back once it has been repacked; a later read
 * faults it in from the file again. Never fails: at worst the pages stay.
 */
void gguf_tensor_release(const struct gguf *g, const struct gguf_tensor *t);

#endif
