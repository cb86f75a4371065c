/* SPDX-License-Identifier: MIT */
/*
 * Proves that the CPU engine refuses what it cannot run, by name or by number; that steps allocate
 * nothing; and that loading peaks at the packed weights and one tensor, whatever the file's size.
 */
#include <errno.h>
#include <malloc.h>

#include "tests/engine_test.h"

#define N_PAGES 4

static const uint32_t pages[] = { 3, 1, 0, 2 };

static int submit(struct rig *r, struct engine_seq *s, uint32_t n_seqs)
{
	struct engine_batch b = { .seqs = s, .n_seqs = n_seqs };

	for (uint32_t i = 0; i < n_seqs; i++)
		b.n_tokens += s[i].n_tokens;
	return engine_cpu.submit(r->engine, &b);
}

static void check_batches(const char *path)
{
	struct engine_args a = { .n_threads = 2, .max_step_tokens = 40, .max_seqs = 2,
				 .max_logit_rows = 8 };
	static const uint32_t beyond[] = { 0, N_PAGES };
	uint32_t ids[64] = { 0 };
	struct engine_seq good = { .ids = ids, .n_tokens = 40, .pages = { pages } }, s = good;
	struct engine_seq three[3] = { good, good, good };
	struct rig r;

	rig_open(&r, path, &a, N_PAGES);
	CHECK_EQ(engine_cpu.poll(r.engine, true), 0);
	CHECK_EQ(submit(&r, &s, 1), 0);
	CHECK_EQ(submit(&r, &s, 1), -EBUSY);
	CHECK_EQ(engine_cpu.poll(r.engine, false), 1);
	s.n_tokens = 41;
	CHECK_EQ(submit(&r, &s, 1), -EINVAL);
	s.n_tokens = 0;
	CHECK_EQ(submit(&r, &s, 1), -EINVAL);
	s = good;
	ids[39] = r.info.n_vocab;
	CHECK_EQ(submit(&r, &s, 1), -EINVAL);
	ids[39] = 0;
	s.pages[0] = beyond;
	CHECK_EQ(submit(&r, &s, 1), -EINVAL);
	s = good;
	s.pos0 = N_PAGES * 32 - 39;
	CHECK_EQ(submit(&r, &s, 1), -EINVAL);
	s.pos0 = UINT32_MAX - 10;
	CHECK_EQ(submit(&r, &s, 1), -EINVAL);
	s = good;
	s.n_logit_rows = 9;
	CHECK_EQ(submit(&r, &s, 1), -EINVAL);
	for (int i = 0; i < 3; i++)
		three[i].n_tokens = 1;
	CHECK_EQ(submit(&r, three, 3), -EINVAL);
	CHECK_EQ(submit(&r, three, 0), -EINVAL);
	CHECK_EQ(submit(&r, &good, 1), 0);
	rig_close(&r);
}

static void check_open(const char *path)
{
	struct engine_args a = { .n_threads = 1, .max_step_tokens = 8, .max_seqs = 1 };
	const uint32_t none = 0;
	struct error err = { 0 };
	struct engine *e = NULL;
	struct rig r;

	CHECK_EQ(engine_cpu.open(&a, &e, &err), -EINVAL);
	CHECK_STR(err.text, "the cpu engine needs a model and room; it has no model, 8 tokens, "
		  "1 sequences");
	a.kernels = "sse9";
	CHECK_EQ(engine_cpu.open(&a, &e, &err), -ENOTSUP);
	CHECK(!strncmp(err.text, "kernels sse9: unknown", 21));
	a.kernels = "ref";
	rig_open(&r, path, &a, N_PAGES);
	CHECK_STR(r.info.name, "cpu ref, 1 thread");
	CHECK_EQ(engine_cpu.open(&a, &e, &err), 0);
	CHECK_EQ(engine_cpu.kv_create(e, &none, &err), -EINVAL);
	CHECK_STR(err.text, "KV group 0: 0 pages, 1 needed");
	engine_cpu.close(e);
	a.n_threads = 1000;
	CHECK_EQ(engine_cpu.open(&a, &e, &err), -EINVAL);
	rig_close(&r);
}

static void check_allocations(const char *path)
{
	struct engine_args a = { .n_threads = 2, .max_step_tokens = 16, .max_seqs = 2 };
	const struct sampler_params params = { .temperature = 1, .top_p = 0.9f, .top_k = 40 };
	uint32_t ids[16] = { 1, 2, 3 };
	struct mallinfo2 before, after;
	struct rig r;

	rig_open(&r, path, &a, N_PAGES);
	before = mallinfo2();
	for (uint32_t i = 0; i < 40; i++) {
		struct engine_seq s[2] = {
			{ .ids = ids, .n_tokens = 1 + i % 5, .pos0 = i % 20,
			  .pages = { pages }, .n_logit_rows = 1, .params = &params },
			{ .ids = ids, .n_tokens = 1 + i % 11, .pos0 = i % 20,
			  .pages = { pages + 2 }, .n_logit_rows = 1, .params = &params },
		};

		rig_step(&r, s, 2);
	}
	after = mallinfo2();
	CHECK_EQ(after.uordblks, before.uordblks);
	CHECK_EQ(after.fordblks, before.fordblks);
	CHECK_EQ(after.hblks, before.hblks);
	rig_close(&r);
}

/* A number of /proc/self/status in bytes. */
static size_t status_bytes(const char *name)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	size_t kb = 0;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			kb = strtoul(line + strlen(name) + 1, NULL, 10);
	if (f)
		fclose(f);
	return kb * 1024;
}

static void check_memory(void)
{
	struct engine_args a = { .n_threads = 2, .max_step_tokens = 16, .max_seqs = 1 };
	const size_t slack = 8 << 20, largest = (size_t)8192 * 512 * 4;
	const char *path = rig_path("large.gguf");
	FILE *f = fopen("/proc/self/clear_refs", "w");
	size_t before, peak;
	struct rig r;

	rig_make_model("--dim 512 --layers 8 --heads 8 --kv-heads 4 --ffn 1024 --vocab 8192", path);
	if (f) { /* the peak is counted from here */
		fputs("5", f);
		fclose(f);
	}
	before = status_bytes("VmRSS:");
	rig_open(&r, path, &a, N_PAGES);
	peak = status_bytes("VmHWM:") - before;
	printf("weights %zu, workspace %zu, peak %zu bytes\n", r.info.weights_bytes,
	       r.info.workspace_bytes, peak);
	CHECK(r.info.weights_bytes > (80u << 20));
	CHECK(peak < r.info.weights_bytes + r.info.workspace_bytes + largest + slack);
	rig_close(&r);
	unlink(path);
}

int main(void)
{
	const char *path = rig_path("small.gguf");

	rig_make_model("--type Q8_0", path);
	check_batches(path);
	check_open(path);
	check_allocations(path);
	check_memory();
	unlink(path);
	return test_done();
}
