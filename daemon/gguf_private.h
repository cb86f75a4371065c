/* SPDX-License-Identifier: MIT */
/*
 * gguf_private: the open file, shared by the parser (daemon/gguf_parse.c), the mapping
 * (daemon/gguf.c) and the metadata getters (daemon/gguf_value.c). Nobody else includes it.
 * Written while the file is opened, never after.
 */
#ifndef DEVLLM_GGUF_PRIVATE_H
#define DEVLLM_GGUF_PRIVATE_H

#include "daemon/gguf.h"

/* One metadata entry; every length has been checked against the file. */
struct gguf_entry {
	struct gguf_str key;	   /* printable ASCII, unique */
	enum gguf_value_type type; /* GGUF_VALUE_ARRAY: see elem_type and n */
	enum gguf_value_type elem_type;
	uint64_t n;	      /* elements of an array, else 1 */
	const uint8_t *value; /* first byte of the value or of the first element */
};

struct gguf {
	const uint8_t *map; /* the file */
	uint64_t n_bytes;   /* of the file */
	bool owns_map;	    /* munmap at the end; not set for memory of the caller */
	uint64_t data_off;  /* where tensor data begins */
	uint64_t alignment_bytes;
	struct gguf_entry *entries; /* sorted by key */
	uint64_t n_entries;
	struct gguf_tensor *tensors; /* in the order of the file */
	uint32_t *by_name;	     /* indexes into tensors, sorted by name */
	uint32_t n_tensors;
};

/*
 * Checks the bytes of g->map and fills the rest of g. On error the caller closes g. Returns 0 or
 * -EBADMSG, -ENOTSUP, -ENOMEM with err set.
 */
int gguf_parse(struct gguf *g, struct error *err);

/* Bytes of one value; 0 for strings and arrays, which have no fixed size. */
size_t gguf_value_bytes(enum gguf_value_type type);

/* The entry of this key, or NULL. */
const struct gguf_entry *gguf_entry_find(const struct gguf *g, const char *key);

#endif
