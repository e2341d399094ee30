/* The encoder: word pieces in, int8 logits out, with exactly the values of TFLite Micro's interpreter. */
#ifndef UTTERBIT_ENCODER_H
#define UTTERBIT_ENCODER_H

#include "agent.h"

typedef struct {
  int8_t *classes;       /* [classes], from position 0; the decoder changes them */
  const int8_t *tags;    /* [positions - 1][tags], of the words */
  uint8_t *scratch;      /* [positions - 1][tags], free for the decoder */
} ub_logits;

/* Divides the arena among the activations, and returns how many bytes a sentence of full length needs of it. */
uint32_t ub_encoder_arena(ub_agent *agent);

/* Sums the rows of every token's pieces into the encoder's input, int8_t[tokens + 1][E], and returns it. */
const int8_t *ub_embed(const ub_agent *agent, const uint8_t *text, const ub_token *tokens, uint32_t count);

/* Runs the encoder over `positions` embeddings that ub_embed() has left in the arena. */
ub_logits ub_encode(const ub_agent *agent, uint32_t positions);

/* The same from given embeddings int8_t[positions][E], which are copied into the arena first and must not stand in it:
 * the rows that they go to are cleared before. */
ub_logits ub_encode_embeddings(const ub_agent *agent, const int8_t *embeddings, uint32_t positions);

/* The second engine of firmware that has it (UB_TFLM, docs/boards.md): TFLite Micro itself, on the bundle's flatbuffer. */

/* Makes it ready for an opened bundle. UB_ERROR_ARENA: it lacks memory; UB_ERROR_FORMAT: the flatbuffer is no student. */
ub_status ub_tflm_open(const ub_agent *agent);

/* As ub_encode(), from what ub_embed() returned. Leaves the arena alone. */
ub_logits ub_tflm_encode(const ub_agent *agent, const int8_t *embeddings, uint32_t positions);

#endif
