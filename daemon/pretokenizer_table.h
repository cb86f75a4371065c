/* SPDX-License-Identifier: MIT */
/*
 * pretokenizer_table: which pre-tokenizers there are. Included by daemon/pretokenizer.c alone.
 *
 * Each family is a list of PCRE2 expressions (UTF, UCP), applied in order. Sources: the
 * `pre_tokenizer` sections of the publishers' tokenizer.json files; which sequence a GGUF name
 * stands for follows llama.cpp, whose converter writes the names. `\s` is spelled out, because
 * PCRE2 counts U+180E as a space and U+0085 not; Unicode's White_Space property says the
 * opposite.
 */
#ifndef DEVLLM_PRETOKENIZER_TABLE_H
#define DEVLLM_PRETOKENIZER_TABLE_H

#include "daemon/pretokenizer.h"

#define PRETOKENIZER_STEPS_MAX 6

struct pretokenizer_family {
	struct pretokenizer_traits traits;
	const char *expressions[PRETOKENIZER_STEPS_MAX + 1]; /* NULL ends the list */
};

/* Another name for a family. */
struct pretokenizer_alias {
	const char *name, *family;
};

#define WS "\\t-\\r\\x{85}\\p{Z}" /* within brackets */
#define SPACE "[" WS "]"
#define LAST_SPACES SPACE "+(?![^" WS "])|" SPACE "+"

/* GPT-2: contractions, words, numbers and the rest, each with one leading space. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" LAST_SPACES

/* What Llama 3 and Qwen share; they differ in how they cut numbers and letters. */
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LLAMA3(numbers)                                                  \
	CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "| ?[^" WS \
		    "\\p{L}\\p{N}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" LAST_SPACES

/* Punctuation with the ASCII symbols that Unicode does not count as such. */
#define PUNCTUATION "\\p{P}$+<=>^~|"

/* Han as DeepSeek delimits it, with Hangul. */
#define DEEPSEEK_CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

/* Cased letters as DeepSeek lists them. */
#define DEEPSEEK_LETTERS                                                                        \
	"A-Za-z"                                                                                \
	"\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"                \
	"\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"  \
	"\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"           \
	"\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"                \
	"\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"          \
	"\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"          \
	"\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}" \
	"\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}"  \
	"\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"          \
	"\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"           \
	"\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"            \
	"\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}" \
	"\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"  \
	"\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"           \
	"\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}"          \
	"\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"        \
	"\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"  \
	"\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

/* Punctuation as DeepSeek lists it: ASCII, fullwidth, general and CJK. */
#define DEEPSEEK_PUNCTUATION \
	"!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}"

static const struct pretokenizer_family families[] = {
	{{.name = "default"}, {"[" PUNCTUATION "]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
	{{.name = "gpt-2"}, {GPT2}},
	{{.name = "mpt"}, {GPT2}},
	{{.name = "smollm"}, {"\\p{N}", GPT2}},
	{{.name = "starcoder"}, {"\\p{N}", GPT2}},
	{{.name = "refact"}, {"\\p{N}", GPT2}},
	{{.name = "command-r"}, {"\\p{N}", GPT2}},
	{{.name = "falcon"}, {"[" PUNCTUATION "`]+", GPT2, "[0-9][0-9][0-9]"}},
	{{.name = "llama-bpe", .ignores_merges = true, .adds_bos = true}, {LLAMA3("\\p{N}{1,3}")}},
	{{.name = "qwen2"}, {LLAMA3("\\p{N}")}},
	{{.name = "qwen35"},
	 {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
		      "| ?[^" WS "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" LAST_SPACES}},
	/*
	 * In place of DeepSeek's `\s+$`: the same match, found without trying each space as a
	 * start.
	 */
	{{.name = "deepseek-llm"},
	 {"[\\r\\n]", SPACE "?[" DEEPSEEK_LETTERS "]+", SPACE "?[" DEEPSEEK_PUNCTUATION "]+",
	  "(?<!" SPACE ")" SPACE "++$", DEEPSEEK_CJK, "\\p{N}+"}},
	{{.name = "deepseek-coder"},
	 {"[\\r\\n]", SPACE "?\\p{L}+", SPACE "?\\p{P}+", DEEPSEEK_CJK, "\\p{N}"}},
};

static const struct pretokenizer_alias aliases[] = {
	{"llama3", "llama-bpe"},
	{"llama-v3", "llama-bpe"},
	{"falcon3", "llama-bpe"},
	{"falcon-h1", "llama-bpe"},
	{"pixtral", "llama-bpe"},
	{"lfm2", "llama-bpe"},
	{"deepseek-r1-qwen", "qwen2"},
	{"stablelm2", "qwen2"},
	{"megrez", "qwen2"},
	{"phi-2", "gpt-2"},
	{"olmo", "gpt-2"},
	{"codeshell", "smollm"},
	{"minerva-7b", "smollm"},
};

#endif
