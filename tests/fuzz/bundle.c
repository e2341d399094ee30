/* Any bytes as a bundle; what opens is run over the rest of the input. libFuzzer: docs of LLVM, "libFuzzer". */
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "crc.h"
#include "encoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ub_arena arena;
static ub_agent agent;
static ub_answer answer;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *const bundle = aligned_alloc(16, (size + 16) / 16 * 16); /* its end is the end of an allocation */
  if (bundle == NULL) return 0;
  memcpy(bundle, data, size);
  if (size >= sizeof(ub_header)) { /* a mutation would never get past the checksum */
    ub_header header;
    memcpy(&header, bundle, sizeof header);
    if (header.length >= sizeof header && header.length <= size) {
      const size_t covered = offsetof(ub_header, length);
      header.crc32 = ub_crc32(0, bundle + covered, header.length - covered);
      memcpy(bundle, &header, sizeof header);
    }
  }
  if (ub_open(&agent, bundle, size, &arena) == UB_OK) {
    for (uint32_t i = 0; i < ub_golden_count(&agent) && i < 8; i++) (void)ub_selftest(&agent, i);
    arena.weight_bytes = (uint32_t)((agent.sections[UB_ENCODER].length + 15) / 16 * 16 +
                                    (agent.sections[UB_FLATBUFFER].length + 15) / 16 * 16);
    arena.weights = aligned_alloc(16, arena.weight_bytes); /* not a byte more than is needed */
    if (arena.weights != NULL) ub_hold(&agent, &arena);
    static const uint8_t sentence[] = "turn on the light in the kitchen to 20.5 %";
    if (ub_parse(&agent, sentence, sizeof sentence - 1, &answer) == UB_OK) {
      for (uint32_t i = 0; i < answer.slot_count; i++) (void)ub_slot_name(&agent, answer.slots[i].slot);
      if (answer.intent != UB_NONE) (void)ub_intent_name(&agent, answer.intent), (void)ub_implied(&agent, answer.klass);
    }
    (void)ub_encode(&agent, agent.encoder.positions);
    free(arena.weights);
  }
  free(bundle);
  return 0;
}
