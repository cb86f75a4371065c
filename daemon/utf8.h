/* SPDX-License-Identifier: MIT */
/*
 * utf8: well-formedness of UTF-8, whole texts and byte by byte.
 *
 * Source: The Unicode Standard, table 3-7 "Well-Formed UTF-8 Byte Sequences". Pure functions, any
 * thread.
 */
#ifndef DEVLLM_UTF8_H
#define DEVLLM_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_CHAR_MAX 4			/* bytes of a character */
#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes before the first that is not part of a well-formed character; len if all is well. */
size_t utf8_valid_bytes(const char *text, size_t len);

/*
 * Bytes of the character that begins with the n >= 1 bytes at p, or 0 if no well-formed character
 * does. Looks at n bytes only, so n bytes are a whole character when the result is n.
 */
unsigned utf8_char_bytes(const uint8_t *p, size_t n);

/* The code point of the well-formed character at p, and its bytes in *n. */
uint32_t utf8_decode(const char *p, unsigned *n);

#endif
