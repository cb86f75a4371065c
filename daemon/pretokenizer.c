/* SPDX-License-Identifier: MIT */
/*
 * pretokenizer: see daemon/pretokenizer.h. The table is in daemon/pretokenizer_table.h.
 *
 * PCRE2 runs under its match limit, so that no text can make it spin; with its JIT compiler where
 * the machine allows that. Every expression is linear in the text: none can match the empty
 * string, and each failing run of a repetition is consumed by a later alternative.
 */
#include "daemon/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/pretokenizer_table.h"

#define N_FAMILIES (sizeof(families) / sizeof(families[0]))
#define N_ALIASES (sizeof(aliases) / sizeof(aliases[0]))
#define MATCH_LIMIT 100000000u /* PCRE2's count of attempts for one match */

struct pretokenizer {
	struct pretokenizer_traits traits;
	pcre2_code *codes[PRETOKENIZER_STEPS_MAX]; /* [n] */
	unsigned n;
};

/* One call of pretokenizer_split(). */
struct split {
	const struct pretokenizer *p;
	const struct pretokenizer_sink *sink;
	pcre2_match_data *match;
	pcre2_match_context *limits;
	struct error *err;
};

static bool is_named(const struct gguf_str *name, const char *text)
{
	return name->len == strlen(text) && !memcmp(name->data, text, name->len);
}

static const struct pretokenizer_family *find_family(const struct gguf_str *name)
{
	struct gguf_str wanted = *name;

	for (size_t i = 0; i < N_ALIASES; i++) {
		if (is_named(name, aliases[i].name))
			wanted = (struct gguf_str){aliases[i].family, strlen(aliases[i].family)};
	}
	for (size_t i = 0; i < N_FAMILIES; i++) {
		if (is_named(&wanted, families[i].traits.name))
			return &families[i];
	}
	return NULL;
}

static int refuse(const struct gguf_str *name, struct error *err)
{
	char known[200] = "";
	size_t n = 0;

	for (size_t i = 0; i < N_FAMILIES; i++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i ? " " : "",
				      families[i].traits.name);
	return error_set(err, -ENOTSUP, "tokenizer.ggml.pre is %.*s, known are: %s",
			 name->len > 40 ? 40 : (int)name->len, name->data, known);
}

static int compile(struct pretokenizer *p, const char *expression, struct error *err)
{
	PCRE2_SIZE at;
	int code;
	pcre2_code *re =
		pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED,
			      PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);

	if (!re)
		return error_set(err, -EINVAL, "pre-tokenizer %s: PCRE2 error %d at %zu",
				 p->traits.name, code, (size_t)at);
	p->codes[p->n++] = re;
	/* Refused where memory may not be both written and run: the interpreter then matches. */
	pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
	return 0;
}

int pretokenizer_create(const struct gguf_str *name, struct pretokenizer **out, struct error *err)
{
	const struct pretokenizer_family *family = find_family(name);
	struct pretokenizer *p;
	int ret = 0;

	if (!family)
		return refuse(name, err);
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(err, -ENOMEM, "no memory for the pre-tokenizer");
	p->traits = family->traits;
	for (const char *const *e = family->expressions; *e && !ret; e++)
		ret = compile(p, *e, err);
	if (ret) {
		pretokenizer_destroy(p);
		return ret;
	}
	*out = p;
	return 0;
}

void pretokenizer_destroy(struct pretokenizer *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++)
		pcre2_code_free(p->codes[i]);
	free(p);
}

const struct pretokenizer_traits *pretokenizer_traits(const struct pretokenizer *p)
{
	return &p->traits;
}

bool pretokenizer_is_compiled(const struct pretokenizer *p)
{
	size_t n_bytes;

	for (unsigned i = 0; i < p->n; i++) {
		if (pcre2_pattern_info(p->codes[i], PCRE2_INFO_JITSIZE, &n_bytes) || !n_bytes)
			return false;
	}
	return true;
}

/* Cuts one piece by expression number step and hands what comes out of it to the next. */
static int cut(const struct split *s, unsigned step, const char *piece, size_t len)
{
	size_t done = 0;
	int ret = 0;

	if (step == s->p->n)
		return s->sink->take(s->sink->ctx, piece, len);
	while (done < len && !ret) {
		const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);
		size_t begin, end;
		int n = pcre2_match(s->p->codes[step], (PCRE2_SPTR)piece, len, done,
				    PCRE2_NO_UTF_CHECK, s->match, s->limits);

		if (n == PCRE2_ERROR_NOMATCH)
			return cut(s, step + 1, piece + done, len - done);
		begin = n < 0 ? 0 : at[0];
		end = n < 0 ? 0 : at[1];
		if (n < 0 || end <= begin)
			return error_set(s->err, -EIO,
					 "pre-tokenizer %s, expression %u: PCRE2 error %d",
					 s->p->traits.name, step, n);
		if (begin > done)
			ret = cut(s, step + 1, piece + done, begin - done);
		if (!ret)
			ret = cut(s, step + 1, piece + begin, end - begin);
		done = end;
	}
	return ret;
}

int pretokenizer_split(const struct pretokenizer *p, const struct gguf_str *text,
		       const struct pretokenizer_sink *sink, struct error *err)
{
	struct split s = {.p = p, .sink = sink, .err = err};
	int ret;

	if (!text->len)
		return 0;
	s.match = pcre2_match_data_create(1, NULL);
	s.limits = pcre2_match_context_create(NULL);
	if (s.match && s.limits) {
		pcre2_set_match_limit(s.limits, MATCH_LIMIT);
		ret = cut(&s, 0, text->data, text->len);
	} else {
		ret = error_set(err, -ENOMEM, "no memory to cut a text");
	}
	pcre2_match_context_free(s.limits);
	pcre2_match_data_free(s.match);
	return ret;
}
