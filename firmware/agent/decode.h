/* From the encoder's logits to an answer: the intent with its probability, and the likeliest legal sequence of tags. */
#ifndef UTTERBIT_DECODE_H
#define UTTERBIT_DECODE_H

#include "encoder.h"

/* Fills intent, klass, score, accepted and slots; answer->tokens and token_count must be set. */
void ub_decode(const ub_agent *agent, const uint8_t *text, const ub_logits *logits, ub_answer *answer);

#endif
