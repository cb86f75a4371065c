/* SPDX-License-Identifier: MIT */
/*
 * utf8: see daemon/utf8.h. Used on each prompt (whole text) and on each token (byte by byte).
 */
#include "daemon/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Bytes of a character by its first byte; 0 for a byte that begins none. */
static unsigned lead_bytes(uint8_t lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2)
		return 0;
	if (lead < 0xe0)
		return 2;
	if (lead < 0xf0)
		return 3;
	return lead < 0xf5 ? 4 : 0;
}

/*
 * The second byte is narrower after some leads: no overlong forms, no surrogates, no > U+10FFFF.
 */
static bool is_second(uint8_t lead, uint8_t b)
{
	uint8_t lo = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
	uint8_t hi = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;

	return b >= lo && b <= hi;
}

unsigned utf8_char_bytes(const uint8_t *p, size_t n)
{
	unsigned want = lead_bytes(p[0]);

	if (n > 1 && want > 1 && !is_second(p[0], p[1]))
		return 0;
	for (size_t i = 2; i < n && i < want; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return want;
}

size_t utf8_valid_bytes(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t at = 0;

	while (at < len) {
		uint64_t eight;
		unsigned want;

		if (len - at >= sizeof(eight)) {
			memcpy(&eight, p + at, sizeof(eight));
			if (!(eight & 0x8080808080808080u)) {
				at += sizeof(eight);
				continue;
			}
		}
		want = utf8_char_bytes(p + at, len - at);
		if (!want || want > len - at)
			return at;
		at += want;
	}
	return len;
}

uint32_t utf8_decode(const char *text, unsigned *n)
{
	const uint8_t *p = (const uint8_t *)text;
	uint32_t point;

	*n = lead_bytes(p[0]);
	if (*n == 1)
		return p[0];
	point = p[0] & (0xffu >> (*n + 1));
	for (unsigned i = 1; i < *n; i++)
		point = point << 6 | (p[i] & 0x3f);
	return point;
}
