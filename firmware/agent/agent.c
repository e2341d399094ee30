#include "agent.h"

#include "bytes.h"
#include "crc.h"
#include "decode.h"
#include "encoder.h"
#include "small.h"

/* The logits of what ub_embed() returned. */
static ub_logits encode(const ub_agent *agent, const int8_t *input, uint32_t positions) {
#ifdef UB_TFLM
  return ub_tflm_encode(agent, input, positions);
#else
  (void)input; /* stands in the arena */
  return ub_encode(agent, positions);
#endif
}

UB_SMALL ub_status ub_parse(const ub_agent *agent, const uint8_t *text, size_t length, ub_answer *answer) {
  const uint32_t most = agent->encoder.positions - 1u;
  answer->accepted = false; /* where there is none, the last one's must not stand */
  answer->slot_count = 0;
  if (length > UB_MAX_TEXT) return UB_ERROR_WORDS;
  const int32_t count = ub_tokenize(text, length, answer->tokens, most);
  if (count < 0) return UB_ERROR_UTF8;
  if (count == 0) return UB_ERROR_EMPTY;
  if ((uint32_t)count > most) return UB_ERROR_WORDS;
  answer->agent = agent->crc32;
  answer->token_count = (uint8_t)count;
  const int8_t *const input = ub_embed(agent, text, answer->tokens, (uint32_t)count);
  const ub_logits logits = encode(agent, input, (uint32_t)count + 1);
  ub_decode(agent, text, &logits, answer);
  return UB_OK;
}

uint32_t ub_golden_count(const ub_agent *agent) {
  return ub_read_u32(agent->sections[UB_GOLDEN].bytes + offsetof(ub_golden_header, count), 0);
}

static bool agrees(const ub_agent *agent, const ub_golden *golden, const ub_logits *logits) {
  const size_t tags = (size_t)(golden->positions - 1u) * agent->encoder.tags;
  return ub_crc32(ub_crc32(0, logits->classes, agent->encoder.classes), logits->tags, tags) == golden->logits_crc;
}

UB_SMALL ub_status ub_selftest(const ub_agent *agent, uint32_t index) {
  const uint8_t *const section = agent->sections[UB_GOLDEN].bytes;
  ub_golden_header header;
  ub_golden golden;
  memcpy(&header, section, sizeof header);
  memcpy(&golden, section + header.entries + index * sizeof golden, sizeof golden);
  ub_token tokens[UB_MAX_POSITIONS];
  const int32_t count = ub_tokenize(section + golden.text, golden.length, tokens, agent->encoder.positions - 1u);
  if (count < 1 || count + 1 != golden.positions || count + 1 > agent->encoder.positions) return UB_ERROR_SELFTEST;
  const int8_t *const input = ub_embed(agent, section + golden.text, tokens, (uint32_t)count);
  if (ub_crc32(0, input, (size_t)golden.positions * agent->encoder.embed) != golden.embedding_crc) return UB_ERROR_SELFTEST;
#ifdef UB_TFLM
  const ub_logits second = ub_tflm_encode(agent, input, golden.positions);
  if (!agrees(agent, &golden, &second)) return UB_ERROR_SELFTEST;
#endif
  const ub_logits logits = ub_encode(agent, golden.positions);
  return agrees(agent, &golden, &logits) ? UB_OK : UB_ERROR_SELFTEST;
}

static ub_view string_at(const uint8_t *section, uint32_t table, uint32_t count, uint32_t index) {
  const uint32_t start = index ? ub_read_u32(section + table, index - 1) : 0;
  return (ub_view){section + table + 4 * count + start, ub_read_u32(section + table, index) - start};
}

UB_SMALL ub_view ub_intent_name(const ub_agent *agent, uint16_t intent) {
  return string_at(agent->sections[UB_LABELS].bytes, agent->labels.intent_names, agent->labels.intents, intent);
}

UB_SMALL ub_view ub_slot_name(const ub_agent *agent, uint16_t slot) {
  return string_at(agent->sections[UB_LABELS].bytes, agent->labels.slot_names, agent->labels.slots, slot);
}

UB_SMALL ub_view ub_implied(const ub_agent *agent, uint16_t klass) {
  return string_at(agent->sections[UB_LABELS].bytes, agent->labels.implied, agent->labels.classes, klass);
}

static const struct {
  const char *name, *text;
} statuses[] = {
    [UB_OK] = {"ok", "all is well"},
    [UB_ERROR_MAGIC] = {"magic", "not an agent bundle"},
    [UB_ERROR_VERSION] = {"version", "the bundle has another format version"},
    [UB_ERROR_LENGTH] = {"length", "the bundle is truncated"},
    [UB_ERROR_CRC] = {"crc", "the bundle is corrupted"},
    [UB_ERROR_FORMAT] = {"format", "the bundle contradicts itself"},
    [UB_ERROR_ARENA] = {"arena", "the bundle needs more memory than there is"},
    [UB_ERROR_UTF8] = {"utf8", "the text is not UTF-8"},
    [UB_ERROR_EMPTY] = {"empty", "the text has no word"},
    [UB_ERROR_WORDS] = {"words", "the text has too many words, or bytes"},
    [UB_ERROR_SELFTEST] = {"selftest", "a golden sentence gave other numbers"},
};

const char *ub_status_name(ub_status status) { return statuses[status].name; }
const char *ub_status_text(ub_status status) { return statuses[status].text; }
