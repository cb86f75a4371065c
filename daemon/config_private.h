/* SPDX-License-Identifier: MIT */
/*
 * config_private: what the three files of the configuration share: values, the INI file, the
 * command line. Nobody else includes it.
 */
#ifndef DEVLLM_CONFIG_PRIVATE_H
#define DEVLLM_CONFIG_PRIVATE_H

#include "daemon/config.h"

/*
 * Parses text as the option's kind and stores it. where ("--step-tokens", "llmd.conf:12:
 * step-tokens") begins the message. 0, -EINVAL, -ERANGE, -ENOMEM.
 */
int config_value_set(struct config *c, const struct config_option *o, const char *where,
		     const char *text, struct error *err);

/* A number with an optional K, M, G or T; -EINVAL or -ERANGE with err. */
int config_value_number(const char *where, const char *text, const uint64_t range[2], uint64_t *out,
			struct error *err);

/* Of n names, the one that differs least from word, or NULL when none is near. */
const char *config_value_nearest(const char *word, const char *const *names, size_t n);

/* Row of a key; section NULL: any. -1: none. */
int config_find(const char *section, const char *key);

/* Reads the file over what c holds. 0, or -errno with err naming file and line. */
int config_file_read(struct config *c, const char *path, struct error *err);

#endif
