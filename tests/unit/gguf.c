/* SPDX-License-Identifier: MIT */
/*
 * gguf: what a file says comes back as it is, and no damage to it is ever taken for data.
 * Marks: san
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daemon/gguf.h"
#include "tests/gguf_image.h"
#include "tests/test.h"
#include "tests/vectors.h"

/* Opens an image that must be refused with this code and this text in its sentence. */
static void refuses(const struct gguf_image *im, int code, const char *text)
{
	struct error err = {0};
	struct gguf *g = NULL;

	CHECK_EQ(gguf_open_memory(im->data, im->n, &g, &err), code);
	CHECK(strstr(err.text, text) != NULL);
	if (!strstr(err.text, text))
		fprintf(stderr, "  \"%s\" has no \"%s\"\n", err.text, text);
	CHECK(!g);
	gguf_close(g);
}

/* A file with a key of every type and two tensors. */
static void build(struct gguf_image *im)
{
	static const uint8_t zeros[4096];
	double f64 = -2.5;
	uint16_t u16 = 65535;
	int64_t i64 = -5;

	image_begin(im, 2, 11);
	image_key_str(im, "general.architecture", "llama");
	image_key_u32(im, "a.u32", 4000000000u);
	image_key(im, "a.u8", GGUF_VALUE_U8);
	image_put(im, "\xff", 1);
	image_key(im, "a.i8", GGUF_VALUE_I8);
	image_put(im, "\xff", 1);
	image_key(im, "a.u16", GGUF_VALUE_U16);
	image_put(im, &u16, 2);
	image_key(im, "a.i64", GGUF_VALUE_I64);
	image_put(im, &i64, 8);
	image_key(im, "a.u64", GGUF_VALUE_U64);
	image_put_u64(im, UINT64_MAX);
	image_key(im, "a.f64", GGUF_VALUE_F64);
	image_put(im, &f64, 8);
	image_key_bool(im, "a.bool", 1);
	image_key_array(im, "a.strs", GGUF_VALUE_STR, 3);
	image_put_bytes(im, "nul\0nul", 7);
	image_put_str(im, "");
	image_put_str(im, "z");
	image_key_array(im, "a.ints", GGUF_VALUE_I32, 2);
	image_put_u32(im, 7);
	image_put_u32(im, UINT32_MAX);
	image_tensor(im, "b.weight", GGUF_Q4_0, (uint64_t[]){64, 3}, 128);
	image_tensor(im, "a.weight", GGUF_F32, (uint64_t[]){5, 4}, 0);
	image_pad(im, 32);
	image_put(im, zeros, 128 + 6 * 18);
}

static void check_numbers(const struct gguf *g)
{
	struct error err = {0};
	uint32_t u32 = 1;
	int64_t i64 = 1;
	bool flag = false;
	float f32 = 0;

	CHECK_EQ(gguf_get_u32(g, "a.u32", &u32, &err), 0);
	CHECK_EQ(u32, 4000000000u);
	CHECK_EQ(gguf_get_u32(g, "a.u8", &u32, &err), 0);
	CHECK_EQ(u32, 255);
	CHECK_EQ(gguf_get_i64(g, "a.i8", &i64, &err), 0);
	CHECK_EQ(i64, -1);
	CHECK_EQ(gguf_get_u32(g, "a.u16", &u32, &err), 0);
	CHECK_EQ(u32, 65535);
	CHECK_EQ(gguf_get_i64(g, "a.i64", &i64, &err), 0);
	CHECK_EQ(i64, -5);
	CHECK_EQ(gguf_get_f32(g, "a.f64", &f32, &err), 0);
	CHECK(f32 == -2.5f);
	CHECK_EQ(gguf_get_bool(g, "a.bool", &flag, &err), 0);
	CHECK(flag);
	u32 = 77;
	CHECK_EQ(gguf_get_u32(g, "a.i64", &u32, &err), -ERANGE);
	CHECK_STR(err.text, "metadata key a.i64 is -5, 0 to 4294967295 expected");
	CHECK_EQ(gguf_get_u32(g, "a.u64", &u32, &err), -ERANGE);
	CHECK_EQ(gguf_get_u32(g, "a.f64", &u32, &err), -EINVAL);
	CHECK_STR(err.text, "metadata key a.f64 is F64, an integer expected");
	CHECK_EQ(gguf_get_f32(g, "a.u32", &f32, NULL), -EINVAL);
	CHECK_EQ(gguf_get_bool(g, "a.u8", &flag, NULL), -EINVAL);
	CHECK_EQ(gguf_get_u32(g, "a", &u32, &err), -ENOENT);
	CHECK_STR(err.text, "metadata key a is missing");
	CHECK_EQ(u32, 77);
	CHECK_EQ(gguf_get_type(g, "a.strs"), GGUF_VALUE_ARRAY);
	CHECK_EQ(gguf_get_type(g, "a.strsx"), -ENOENT);
}

static void check_arrays(const struct gguf *g)
{
	struct gguf_array a;
	struct gguf_str s;
	struct error err = {0};
	size_t pos = 0;

	CHECK_EQ(gguf_get_str(g, "general.architecture", &s, NULL), 0);
	CHECK(s.len == 5 && !memcmp(s.data, "llama", 5));
	CHECK_EQ(gguf_get_array(g, "a.strs", GGUF_VALUE_STR, &a, NULL), 0);
	CHECK_EQ(a.n, 3);
	s = gguf_array_next_str(&a, &pos);
	CHECK(s.len == 7 && !memcmp(s.data, "nul\0nul", 7));
	s = gguf_array_next_str(&a, &pos);
	CHECK_EQ(s.len, 0);
	s = gguf_array_next_str(&a, &pos);
	CHECK(s.len == 1 && *s.data == 'z');
	CHECK_EQ(gguf_get_array(g, "a.ints", GGUF_VALUE_U32, &a, NULL), 0);
	CHECK_EQ(gguf_array_i64(&a, 0), 7);
	CHECK_EQ(gguf_array_i64(&a, 1), -1);
	CHECK_EQ(gguf_get_array(g, "a.ints", GGUF_VALUE_F32, &a, &err), -EINVAL);
	CHECK_STR(err.text, "metadata key a.ints is an array of I32, F32 expected");
	CHECK_EQ(gguf_get_array(g, "a.u32", GGUF_VALUE_STR, &a, &err), -EINVAL);
	CHECK_EQ(gguf_get_u32(g, "a.ints", &(uint32_t){0}, &err), -EINVAL);
}

static void check_tensors(const struct gguf *g)
{
	const struct gguf_tensor *t = gguf_tensor_find(g, "a.weight");

	CHECK_EQ(gguf_n_tensors(g), 2);
	CHECK(gguf_tensor_at(g, 1) == t && !gguf_tensor_at(g, 2));
	CHECK(t && t->type == GGUF_F32 && t->n_dims == 2 && t->n_bytes == 80);
	CHECK(t && t->dims[0] == 5 && t->dims[1] == 4 && t->dims[2] == 1 && t->dims[3] == 1);
	CHECK(t && !((uintptr_t)t->data % 8));
	t = gguf_tensor_find(g, "b.weight");
	CHECK(t && t == gguf_tensor_at(g, 0) && t->n_bytes == 6 * 18);
	CHECK(!gguf_tensor_find(g, "b.weigh") && !gguf_tensor_find(g, "zz"));
	CHECK_STR(gguf_type_traits(GGUF_Q6_K)->name, "Q6_K");
	CHECK_EQ(gguf_type_traits(GGUF_Q6_K)->block_bytes, 210);
	CHECK(!gguf_type_traits(4) && !gguf_type_traits(43) && !gguf_type_traits(UINT32_MAX));
}

/* Every file cut short is refused, byte by byte, with no read past its end. */
static void check_truncation(const struct gguf_image *whole)
{
	for (size_t n = 0; n < whole->n; n++) {
		uint8_t *cut = malloc(n + 1); /* its own block: a sanitizer sees one byte too far */
		struct error err = {0};
		struct gguf *g = NULL;

		memcpy(cut, whole->data, n);
		CHECK(gguf_open_memory(cut, n, &g, &err) < 0 && err.text[0]);
		gguf_close(g);
		free(cut);
	}
}

/* Every single byte changed: the file opens or is refused, and what opens can be walked. */
static void check_flips(struct gguf_image *im)
{
	unsigned n_refused = 0;

	for (size_t i = 0; i < im->n - 200; i++) {
		struct error err = {0};
		struct gguf *g = NULL;
		uint8_t was = im->data[i];

		im->data[i] = (uint8_t)(was ^ (1u << (i % 8)) ^ 0x40u);
		if (gguf_open_memory(im->data, im->n, &g, &err)) {
			n_refused++;
			CHECK(err.text[0]);
		} else {
			for (uint32_t k = 0; k < gguf_n_tensors(g); k++) {
				const struct gguf_tensor *t = gguf_tensor_at(g, k);
				const uint8_t *data = t->data;

				CHECK(data >= im->data && t->n_bytes <= im->n &&
				      data + t->n_bytes <= im->data + im->n);
			}
		}
		gguf_close(g);
		im->data[i] = was;
	}
	CHECK(n_refused > 100);
}

static void check_headers(struct gguf_image *im)
{
	build(im);
	im->data[0] = 'X';
	refuses(im, -EBADMSG, "begins with 58 47 55 46");
	build(im);
	im->data[4] = 1;
	refuses(im, -ENOTSUP, "GGUF version 1, 2 or 3 expected");
	build(im);
	memcpy(im->data + 4, "\0\0\0\3", 4);
	refuses(im, -ENOTSUP, "big-endian");
	image_begin(im, UINT64_MAX, 0);
	refuses(im, -EBADMSG, "tensor count is 18446744073709551615, at most 1048576");
	image_begin(im, 0, UINT64_MAX);
	refuses(im, -EBADMSG, "metadata count is 18446744073709551615, at most 65536");
	image_begin(im, 1000, 0);
	refuses(im, -EBADMSG, "tensor count is 1000, the file has only 0 bytes");
	image_begin(im, 0, 1);
	image_key(im, "k", 13);
	image_put_u64(im, 0);
	refuses(im, -EBADMSG, "metadata key k has type 13");
	image_begin(im, 0, 1);
	image_key_bool(im, "k", 2);
	refuses(im, -EBADMSG, "metadata key k is 2, BOOL is 0 or 1");
	image_begin(im, 0, 1);
	image_key_array(im, "k", GGUF_VALUE_ARRAY, 1);
	image_key_array(im, "", GGUF_VALUE_U8, 0);
	refuses(im, -ENOTSUP, "metadata key k: array of arrays");
	image_begin(im, 0, 1);
	image_key_array(im, "k", GGUF_VALUE_U64, 1ull << 61);
	refuses(im, -EBADMSG, "metadata key k: array of 2305843009213693952 U64, the file has 0");
	image_begin(im, 0, 1);
	image_key_array(im, "k", GGUF_VALUE_STR, 1);
	image_put_u64(im, UINT64_MAX);
	refuses(im, -EBADMSG, "metadata key k needs 18446744073709551615 bytes");
	image_begin(im, 0, 2);
	image_key_u32(im, "k", 1);
	image_key_u32(im, "k", 1);
	refuses(im, -EBADMSG, "metadata key k appears twice");
	image_begin(im, 0, 1);
	image_key_u32(im, "k\n", 1);
	refuses(im, -EBADMSG, "byte 0x0a at 1");
}

/* A file of one tensor, 32 bytes of data and an alignment. */
static void one_tensor(struct gguf_image *im, const uint64_t dims[2], uint32_t type, uint64_t off)
{
	image_begin(im, 1, 1);
	image_key_u32(im, "general.alignment", 32);
	image_tensor(im, "t", type, dims, off);
	image_pad(im, 32);
	image_put(im, (char[32]){0}, 32);
}

static void check_bad_tensors(struct gguf_image *im)
{
	one_tensor(im, (uint64_t[]){8, 2}, GGUF_F32, 0);
	refuses(im, -EBADMSG, "tensor t: 64 bytes at data offset 0, the file has 32 bytes of data");
	one_tensor(im, (uint64_t[]){8, 1}, GGUF_F32, 16);
	refuses(im, -EBADMSG, "tensor t: offset 16 is no multiple of the alignment 32");
	one_tensor(im, (uint64_t[]){8, 1}, GGUF_F32, 1ull << 63);
	refuses(im, -EBADMSG, "data offset 9223372036854775808");
	one_tensor(im, (uint64_t[]){33, 1}, GGUF_Q4_0, 0);
	refuses(im, -EBADMSG, "tensor t: rows of 33 elements, Q4_0 needs a multiple of 32");
	one_tensor(im, (uint64_t[]){8, 1}, 99, 0);
	refuses(im, -ENOTSUP, "tensor t has unknown type 99");
	one_tensor(im, (uint64_t[]){1ull << 40, 1ull << 40}, GGUF_F32, 0);
	refuses(im, -EBADMSG, "tensor t: dimension 1 is 1099511627776, 1 to 8388607");
	one_tensor(im, (uint64_t[]){1ull << 62, 1}, GGUF_F32, 0);
	refuses(im, -EBADMSG, "tensor t: 4611686018427387904 blocks of 4 bytes overflow");
	one_tensor(im, (uint64_t[]){0, 1}, GGUF_F32, 0);
	refuses(im, -EBADMSG, "tensor t: dimension 0 is 0");
	image_begin(im, 0, 1);
	image_key_u32(im, "general.alignment", 48);
	refuses(im, -EBADMSG, "general.alignment is 48");
	image_begin(im, 2, 0);
	image_tensor(im, "t", GGUF_F32, (uint64_t[]){1, 1}, 0);
	image_tensor(im, "t", GGUF_F32, (uint64_t[]){1, 1}, 0);
	image_pad(im, 32);
	image_put(im, (char[32]){0}, 32);
	refuses(im, -EBADMSG, "tensor t appears twice");
	image_begin(im, 1, 0);
	image_put_str(im, "t");
	image_put_u32(im, 5);
	image_put(im, (char[64]){0}, 64);
	refuses(im, -EBADMSG, "tensor t has 5 dimensions, 1 to 4 expected");
}

/* A real file, cut at every 997th byte, through the door of files. */
static void check_real(const char *shared)
{
	char path[4400], cut[4400];
	const char *tmp = getenv("TMPDIR");
	struct error err = {0};
	struct gguf *g = NULL;
	size_t n = 0;
	char *data;
	int fd;

	snprintf(path, sizeof(path), "%s/data/stories260K/stories260K.gguf", shared);
	data = vectors_read(path, &n);
	CHECK(data && n > 1000000);
	if (!data)
		return;
	CHECK_EQ(gguf_open(path, &g, &err), 0);
	if (g) {
		const struct gguf_tensor *t = gguf_tensor_find(g, "output_norm.weight");

		CHECK_EQ(gguf_file_bytes(g), n);
		CHECK(t && t->type == GGUF_F32 && t->dims[0] == 64);
		for (uint32_t i = 0; i < gguf_n_tensors(g); i++) {
			const struct gguf_tensor *any = gguf_tensor_at(g, i);
			const char *bytes = any->data;
			char first = bytes[0];

			gguf_tensor_release(g, any);
			CHECK_EQ(bytes[0], first);
		}
	}
	gguf_close(g);
	snprintf(cut, sizeof(cut), "%s/cut.gguf", tmp ? tmp : "/tmp");
	fd = open(cut, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	for (size_t at = n - 1 - (n - 1) % 997; at; at -= 997) {
		CHECK_EQ(ftruncate(fd, (off_t)at), 0);
		CHECK(gguf_open(cut, &g, &err) < 0 && strstr(err.text, "cut.gguf"));
	}
	close(fd);
	unlink(cut);
	free(data);
}

int main(void)
{
	const char *shared = test_shared();
	struct gguf_image im = {0};
	struct error err = {0};
	struct gguf *g = NULL;

	build(&im);
	CHECK_EQ(gguf_open_memory(im.data, im.n, &g, &err), 0);
	if (g) {
		check_numbers(g);
		check_arrays(g);
		check_tensors(g);
		gguf_close(g);
	}
	check_truncation(&im);
	check_flips(&im);
	check_headers(&im);
	check_bad_tensors(&im);
	image_begin(&im, 0, 0);
	CHECK_EQ(gguf_open_memory(im.data, im.n, &g, &err), 0);
	gguf_close(g);
	image_exit(&im);
	CHECK_EQ(gguf_open("/nowhere/x.gguf", &g, &err), -ENOENT);
	CHECK_STR(err.text, "cannot open /nowhere/x.gguf: No such file or directory");
	CHECK_EQ(gguf_open("/dev/null", &g, &err), -EINVAL);
	if (shared)
		check_real(shared);
	else
		printf("without SHARED: no real file was cut\n");
	return test_done();
}
