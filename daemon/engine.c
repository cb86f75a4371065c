/* SPDX-License-Identifier: MIT */
/*
 * engine: the engines by name.
 */
#include "daemon/engine.h"

#include <string.h>

const struct engine_ops *engine_find(const char *name)
{
	static const struct engine_ops *const engines[] = { &engine_null, &engine_cpu };

	for (size_t i = 0; i < sizeof(engines) / sizeof(*engines); i++)
		if (!strcmp(engines[i]->name, name))
			return engines[i];
	return NULL;
}
