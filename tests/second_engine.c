/* A stand-in for firmware/tflm/tflm.cc, for tests/test_tflm_engine.py: the own engine in an arena of its own. The
 * environment variable SECOND_ENGINE gives it a fault: "wrong" (logits), "small" (too little memory). */
#include <stdlib.h>
#include <string.h>

#include "encoder.h"

static ub_arena arena;

static bool has(const char *fault) {
  const char *const wanted = getenv("SECOND_ENGINE");
  return wanted != NULL && strcmp(wanted, fault) == 0;
}

ub_status ub_tflm_open(const ub_agent *agent) {
  (void)agent;
  return has("small") ? UB_ERROR_ARENA : UB_OK;
}

ub_logits ub_tflm_encode(const ub_agent *agent, const int8_t *embeddings, uint32_t positions) {
  static int8_t classes[UB_MAX_CLASSES];
  ub_agent other = *agent;
  other.arena = arena.bytes;
  ub_logits logits = ub_encode_embeddings(&other, embeddings, positions);
  memcpy(classes, logits.classes, agent->encoder.classes);
  if (has("wrong")) /* the likeliest class is the least likely */
    for (uint32_t c = 0; c < agent->encoder.classes; c++) classes[c] = (int8_t)~classes[c];
  logits.classes = classes;
  return logits;
}
