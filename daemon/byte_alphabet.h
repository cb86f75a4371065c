/* SPDX-License-Identifier: MIT */
/*
 * byte_alphabet: the printable spelling of bytes in byte-level BPE vocabularies.
 *
 * GPT-2 writes each of the 256 bytes as one printable character: those that are printable in
 * Latin-1 stand for themselves, the others follow from U+0100 in ascending order (openai/gpt-2,
 * encoder.py, 2019). So " the" is spelled "\u0120the". Pure functions, any thread.
 */
#ifndef DEVLLM_BYTE_ALPHABET_H
#define DEVLLM_BYTE_ALPHABET_H

#include <stddef.h>

/*
 * The bytes that a spelling of len bytes stands for, into out (room for len). Returns how many,
 * or -EILSEQ when the text is no UTF-8 or has a character outside the alphabet.
 */
int byte_alphabet_decode(const char *text, size_t len, char *out);

#endif
