/* SPDX-License-Identifier: MIT */
/*
 * gguf_type: names and block sizes of the tensor and value types that a GGUF file may name.
 *
 * Source: the GGUF specification (in ggml's documentation) and ggml's published block layouts. Pure
 * tables, any thread.
 */
#include "daemon/gguf.h"

static const struct gguf_type_traits tensor_types[] = {
	[GGUF_F32] = {"F32", 1, 4},
	[GGUF_F16] = {"F16", 1, 2},
	[GGUF_Q4_0] = {"Q4_0", 32, 18},
	[GGUF_Q4_1] = {"Q4_1", 32, 20},
	[GGUF_Q5_0] = {"Q5_0", 32, 22},
	[GGUF_Q5_1] = {"Q5_1", 32, 24},
	[GGUF_Q8_0] = {"Q8_0", 32, 34},
	[GGUF_Q8_1] = {"Q8_1", 32, 36},
	[GGUF_Q2_K] = {"Q2_K", 256, 84},
	[GGUF_Q3_K] = {"Q3_K", 256, 110},
	[GGUF_Q4_K] = {"Q4_K", 256, 144},
	[GGUF_Q5_K] = {"Q5_K", 256, 176},
	[GGUF_Q6_K] = {"Q6_K", 256, 210},
	[GGUF_Q8_K] = {"Q8_K", 256, 292},
	[GGUF_IQ2_XXS] = {"IQ2_XXS", 256, 66},
	[GGUF_IQ2_XS] = {"IQ2_XS", 256, 74},
	[GGUF_IQ3_XXS] = {"IQ3_XXS", 256, 98},
	[GGUF_IQ1_S] = {"IQ1_S", 256, 50},
	[GGUF_IQ4_NL] = {"IQ4_NL", 32, 18},
	[GGUF_IQ3_S] = {"IQ3_S", 256, 110},
	[GGUF_IQ2_S] = {"IQ2_S", 256, 82},
	[GGUF_IQ4_XS] = {"IQ4_XS", 256, 136},
	[GGUF_I8] = {"I8", 1, 1},
	[GGUF_I16] = {"I16", 1, 2},
	[GGUF_I32] = {"I32", 1, 4},
	[GGUF_I64] = {"I64", 1, 8},
	[GGUF_F64] = {"F64", 1, 8},
	[GGUF_IQ1_M] = {"IQ1_M", 256, 56},
	[GGUF_BF16] = {"BF16", 1, 2},
	[GGUF_TQ1_0] = {"TQ1_0", 256, 54},
	[GGUF_TQ2_0] = {"TQ2_0", 256, 66},
	[GGUF_MXFP4] = {"MXFP4", 32, 17},
	[GGUF_NVFP4] = {"NVFP4", 64, 36},
	[GGUF_Q1_0] = {"Q1_0", 128, 18},
	[GGUF_Q2_0] = {"Q2_0", 64, 18},
};

static const char *const value_types[GGUF_VALUE_TYPES] = {
	"U8", "I8", "U16", "I16", "U32", "I32", "F32", "BOOL", "STR", "ARRAY", "U64", "I64", "F64",
};

const struct gguf_type_traits *gguf_type_traits(uint32_t type)
{
	if (type >= sizeof(tensor_types) / sizeof(tensor_types[0]) || !tensor_types[type].name)
		return NULL;
	return &tensor_types[type];
}

const char *gguf_value_type_name(uint32_t type)
{
	return type < GGUF_VALUE_TYPES ? value_types[type] : "?";
}
