/* From the encoder's logits to an answer: the intent with its probability, and the likeliest legal sequence of tags. */
#ifndef UTTERBIT_DECODE_H
#define UTTERBIT_DECODE_H

#include "encoder.h"

/* Viterbi over the tags int8_t[tokens][1 + 2 * slots] of the legal slots (bit s of legal); I-x follows only B-x or I-x
 * (Ramshaw and Marcus 1995). scratch has as many bytes as there are logits; the best tag of every token is left in the
 * first byte of its row. At most UB_MAX_POSITIONS tokens and UB_MAX_TAGS tags. */
void ub_best_tags(const int8_t *logits, uint32_t tokens, uint32_t slots, const uint8_t *legal, uint8_t *scratch);

/* Fills intent, klass, score, accepted and slots; answer->tokens and token_count must be set. */
void ub_decode(const ub_agent *agent, const uint8_t *text, const ub_logits *logits, ub_answer *answer);

#endif
