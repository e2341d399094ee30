/* Utterbit's agent: a sentence in, intent, slots and a score out. Portable C11, no heap, no recursion, no float.
 *
 *   static ub_arena arena;
 *   ub_agent agent;
 *   if (ub_open(&agent, bundle, bundle_size, &arena) != UB_OK) ...
 *   ub_answer answer;
 *   if (ub_parse(&agent, text, length, &answer) == UB_OK && answer.accepted) ...
 */
#ifndef UTTERBIT_AGENT_H
#define UTTERBIT_AGENT_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundle_format.h"
#include "text.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UB_FIRMWARE_VERSION "0.1.0"

/* Bytes of working memory for activations. The bundle says what it needs; one that needs more is refused. */
#ifndef UB_ARENA_BYTES
#define UB_ARENA_BYTES (24 * 1024)
#endif

/* The encoder's engines, as JSON: the one that answers, then the one that the self-test computes, too. */
#ifdef UB_TFLM
#define UB_ENGINES "[\"tflm\",\"own\"]"
#else
#define UB_ENGINES "[\"own\"]"
#endif

typedef enum {
  UB_OK = 0,
  UB_ERROR_MAGIC,       /* not an agent bundle */
  UB_ERROR_VERSION,     /* a bundle of another format version */
  UB_ERROR_LENGTH,      /* truncated */
  UB_ERROR_CRC,         /* corrupted */
  UB_ERROR_FORMAT,      /* sizes, offsets or shapes that contradict each other */
  UB_ERROR_ARENA,       /* needs more working memory than this build has */
  UB_ERROR_UTF8,        /* the text is not UTF-8 */
  UB_ERROR_EMPTY,       /* the text has no word */
  UB_ERROR_WORDS,       /* the text has more words than the encoder has positions, or more than UB_MAX_TEXT bytes */
  UB_ERROR_SELFTEST     /* a golden sentence gave other numbers */
} ub_status;

typedef struct {
  alignas(16) uint8_t bytes[UB_ARENA_BYTES];
  uint8_t *weights;      /* RAM for a copy of the weights, aligned to 16: see ub_hold(); NULL: there is none */
  uint32_t weight_bytes; /* of it */
} ub_arena;

typedef struct {
  const uint8_t *bytes;
  uint32_t length;
} ub_view;

/* An opened bundle: where everything stands in it. The bundle's bytes stay where they are, in flash; those that
 * ub_hold() has copied are read in RAM. */
typedef struct {
  ub_view sections[UB_SECTIONS + 1]; /* by kind; [0] is unused */
  uint32_t crc32;
  uint32_t length;
  ub_labels_header labels;
  ub_features_header features;
  ub_encoder_header encoder;
  ub_values_header values;
  uint32_t arena_bytes; /* what a sentence of full length uses */
  uint32_t x, h, work, spare; /* where the encoder's regions begin in the arena */
  uint8_t *arena;
  uint32_t held_bytes;  /* of the bundle, in arena->weights */
} ub_agent;

typedef struct {
  uint16_t slot;
  uint16_t start, end;   /* bytes of the text, end exclusive */
  uint16_t number;       /* index of the token whose digits are the value, or UB_NONE */
  const char *value;     /* JSON scalar, NUL-terminated, in the bundle; NULL if none */
} ub_slot;

typedef struct {
  uint32_t agent;    /* CRC-32 of the bundle that gave it: what the numbers below mean */
  uint16_t intent;   /* the best one, also when it is not accepted; UB_NONE if the bundle has no intent at all */
  uint16_t klass;    /* the best class of that intent: names the implied slots */
  uint16_t score;    /* probability of the intent against no command, in 1/10000 */
  bool accepted;     /* score >= threshold */
  uint8_t slot_count;
  ub_slot slots[UB_MAX_SLOTS];
  uint8_t token_count;
  ub_token tokens[UB_MAX_POSITIONS];
} ub_answer;

/* Checks every size, offset and shape of the bundle and its CRC. On any error *agent must not be used. */
ub_status ub_open(ub_agent *agent, const uint8_t *bundle, size_t size, ub_arena *arena);

/* Copies the sections of the encoder and of its weights, which every sentence goes through from end to end, to
 * arena->weights, where they are read from now on. If they do not fit, they stay where they are: held_bytes is 0. There is
 * room for one agent: another one that was held must not be used any more. */
void ub_hold(ub_agent *agent, const ub_arena *arena);

/* On any error *answer is accepted by nobody and has no slot. */
ub_status ub_parse(const ub_agent *agent, const uint8_t *text, size_t length, ub_answer *answer);

/* Computes golden sentence `index` with every engine and compares the CRCs of its embedding and of all logits. */
ub_status ub_selftest(const ub_agent *agent, uint32_t index);
uint32_t ub_golden_count(const ub_agent *agent);

/* Strings of the bundle, not NUL-terminated. The index must be in range. */
ub_view ub_intent_name(const ub_agent *agent, uint16_t intent);
ub_view ub_slot_name(const ub_agent *agent, uint16_t slot);
ub_view ub_implied(const ub_agent *agent, uint16_t klass); /* JSON object or empty */

const char *ub_status_name(ub_status status); /* a short stable word: "crc", "utf8", ... */
const char *ub_status_text(ub_status status); /* one sentence for a person */

#ifdef __cplusplus
}
#endif

#endif
