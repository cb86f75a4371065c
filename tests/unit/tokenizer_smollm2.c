/* SPDX-License-Identifier: MIT */
/*
 * tokenizer_smollm2: the golden prompts, raw and rendered chats, give the golden ids, and those
 * their golden text.
 */
#include <jansson.h>
#include <unistd.h>

#include "tests/vectors.h"

/* A JSON array of ids; the caller frees it. */
static struct tokenizer_ids ids_of(const json_t *array)
{
	struct tokenizer_ids ids = {0};
	size_t i;
	json_t *id;

	json_array_foreach(array, i, id)
		CHECK_EQ(tokenizer_ids_add(&ids, (uint32_t)json_integer_value(id)), 0);
	return ids;
}

static void check_line(const struct tokenizer *t, const json_t *line)
{
	const json_t *rendered = json_object_get(line, "rendered"),
		     *text = json_object_get(line, "text");
	bool is_chat = !strcmp(json_string_value(json_object_get(line, "kind")), "chat");
	struct tokenizer_input in = {
		.text = json_string_value(rendered),
		.len = json_string_length(rendered),
		.flags = TOKENIZER_ADD_BOS | (is_chat ? TOKENIZER_PARSE_SPECIAL : 0),
	};
	struct tokenizer_ids want = ids_of(json_object_get(line, "prompt_ids"));
	struct tokenizer_ids greedy = ids_of(json_object_get(line, "greedy_ids"));
	struct tokenizer_ids got = {0};
	struct error err = {0};
	size_t len;
	char *back;

	CHECK_EQ(tokenizer_encode(t, &in, &got, &err), 0);
	CHECK_EQ(got.n, want.n);
	CHECK(got.n == want.n && !memcmp(got.ids, want.ids, got.n * sizeof(*got.ids)));
	for (size_t i = 0; i < greedy.n; i++)
		CHECK(!tokenizer_is_eog(t, greedy.ids[i]));
	back = vectors_text(t, &greedy, &len);
	CHECK_STR(back, json_string_value(text));
	free(back);
	tokenizer_ids_exit(&got);
	tokenizer_ids_exit(&want);
	tokenizer_ids_exit(&greedy);
}

int main(void)
{
	const char *shared = test_shared(), *model = getenv("MODEL");
	static char line[1 << 20];
	struct tokenizer *t;
	unsigned n = 0;
	char path[4400];
	FILE *f;

	if (!shared)
		SKIP("SHARED is missing");
	if (!model)
		model = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
	if (access(model, R_OK))
		SKIP("the model is missing (tools/fetch-model.sh)");
	snprintf(path, sizeof(path), "%s/golden/smollm2-f32-shared.jsonl", shared);
	f = fopen(path, "r");
	t = vectors_open(model);
	CHECK(f && t);
	while (f && t && fgets(line, sizeof(line), f)) {
		json_t *golden = json_loads(line, 0, NULL);

		CHECK(golden != NULL);
		if (golden)
			check_line(t, golden);
		json_decref(golden);
		n++;
	}
	CHECK_EQ(n, 8);
	CHECK(t && !tokenizer_adds_bos(t) && tokenizer_eos(t) == 2 && tokenizer_is_eog(t, 0));
	if (f)
		fclose(f);
	tokenizer_destroy(t);
	return test_done();
}
