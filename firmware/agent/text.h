/* From text to tokens to rows of the embedding table: the one implementation, in firmware and in training alike. */
#ifndef UTTERBIT_TEXT_H
#define UTTERBIT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UB_MAX_TEXT 512   /* bytes of a sentence */
#define UB_MAX_PIECES 24  /* rows that are summed into the embedding of one word */
#define UB_WORD_CHARS 40  /* characters of a word that are looked at */

typedef struct {
  uint16_t start, end; /* bytes of the text, end exclusive */
  uint16_t number;     /* 1: digits and quarters, with . , : between them, a sign or a point before; 0: word or symbol */
} ub_token;

/* Decodes the code point at text[*at], *at < length, and moves *at behind it. UB_INVALID for what RFC 3629 does not allow. */
#define UB_INVALID 0xFFFFFFFFu
uint32_t ub_code_point(const uint8_t *text, size_t length, size_t *at);

/* Splits text into tokens. Returns their number, at most max + 1 (max + 1: there are more than max, and only the
 * first max are written), or -1 if the text is not valid UTF-8. Spaces and punctuation are no tokens but for
 * question marks: "garage door open?" asks. */
int32_t ub_tokenize(const uint8_t *text, size_t length, ub_token *tokens, uint32_t max);

/* The hash buckets of a token, each in [first, rows). Returns how many were written: 1 .. UB_MAX_PIECES - 1. */
uint32_t ub_pieces(const uint8_t *text, const ub_token *token, uint16_t first, uint16_t rows, uint16_t *pieces);

/* Hash of a slot and of the lower-cased tokens [from, to): the key of the bundle's values. The token `any`, if it is one
 * of them, counts as any number. */
uint32_t ub_phrase_hash(const uint8_t *text, const ub_token *tokens, uint32_t from, uint32_t to, uint32_t any,
                        uint16_t slot);

/* The value of a number token as a JSON number, NUL-terminated: "20.5" for 20.5, 20,5 and 20½, "1000.5" for 1,000.5.
 * False if the token is no plain number (a time of day, more than nine digits, ...). */
#define UB_NUMBER_CHARS 16
bool ub_number_json(const uint8_t *text, const ub_token *token, char out[UB_NUMBER_CHARS]);

#ifdef __cplusplus
}
#endif

#endif
