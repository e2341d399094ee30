/* From the encoder's logits to an answer: the class and the tags that are likeliest together, and how sure that is. */
#ifndef UTTERBIT_DECODE_H
#define UTTERBIT_DECODE_H

#include "encoder.h"

/* Viterbi over the tags int8_t[tokens][1 + 2 * slots] of the slots in `masks`; I-x follows only B-x or I-x (Ramshaw and
 * Marcus 1995). masks is uint8_t[2][(slots + 7) / 8] as in the bundle: a slot of the second that the likeliest tags lack is
 * begun at the word where that costs least. scratch has as many bytes as there are logits; the best tag of every token is
 * left in the first byte of its row. At most UB_MAX_POSITIONS tokens and UB_MAX_TAGS tags.
 * Returns the sum of the tags' logits, or UB_NO_TAGS if there are fewer words than slots that must be. */
int32_t ub_best_tags(const int8_t *logits, uint32_t tokens, uint32_t slots, const uint8_t *masks, uint8_t *scratch);
#define UB_NO_TAGS INT16_MIN

typedef struct {
  uint16_t slot;
  uint8_t from, to; /* tokens, end exclusive */
  int16_t margin;   /* by how much its tags' logits exceed that of OUTSIDE, summed */
} ub_span;

/* The spans of the tags that ub_best_tags() left in scratch; returns how many. A slot whose bit in `single` says that a
 * sentence never has it twice keeps one: neighbours are one span, of others the surest stays. */
uint32_t ub_find_spans(const int8_t *logits, uint32_t tokens, uint32_t slots, const uint8_t *single,
                       const uint8_t *scratch, ub_span spans[UB_MAX_SLOTS]);

/* Fills intent, klass, score, accepted and slots; answer->tokens and token_count must be set. */
void ub_decode(const ub_agent *agent, const uint8_t *text, const ub_logits *logits, ub_answer *answer);

#endif
