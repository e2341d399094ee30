#include "decode.h"

#include "bytes.h"
#include "small.h"

/* ---- intent -------------------------------------------------------------------------------------------------- */

/* Softmax over the classes with the calibrated temperature; the classes of one intent stand side by side and their
 * probabilities add up. The score weighs the best intent against "out of scope", and against other intents as much as the
 * bundle says: that another one is nearly as likely need not make a sentence less of a command. */
static void decode_intent(const ub_agent *agent, const int8_t *logits, ub_answer *answer) {
  const ub_labels_header *const labels = &agent->labels;
  const uint8_t *const section = agent->sections[UB_LABELS].bytes;
  int32_t most = -128;
  for (uint32_t c = 0; c < labels->classes; c++) most = logits[c] > most ? logits[c] : most;

  uint32_t total = 0, outside = 0, best = 0, sum = 0, likeliest = 0;
  uint16_t likeliest_class = 0, current = UB_NONE;
  answer->intent = UB_NONE;
  answer->klass = 0;
  for (uint32_t c = 0; c < labels->classes; c++) {
    const uint16_t intent = ub_read_u16(section + labels->class_intent, c);
    const uint32_t p = ub_read_u32(section + labels->probability, (uint32_t)(most - logits[c]));
    total += p;
    if (intent == UB_NONE) {
      outside += p;
      continue;
    }
    if (intent != current) current = intent, sum = 0, likeliest = 0, likeliest_class = (uint16_t)c;
    sum += p;
    if (p > likeliest) likeliest = p, likeliest_class = (uint16_t)c;
    if (sum > best || answer->intent == UB_NONE || intent == answer->intent) {
      best = sum;
      answer->intent = intent;
      answer->klass = likeliest_class;
    }
  }
  const uint32_t others = (uint32_t)((uint64_t)(total - best - outside) * labels->others >> 8);
  const uint32_t weighed = best + outside + others;
  answer->score = weighed ? (uint16_t)(((uint64_t)best * 10000 + weighed / 2) / weighed) : 0;
  answer->accepted = answer->intent != UB_NONE && answer->score >= labels->threshold;
}

/* ---- slots --------------------------------------------------------------------------------------------------- */

enum { OUTSIDE = 0 };
static uint32_t begin_tag(uint32_t slot) { return 1 + 2 * slot; }
static uint32_t inside_tag(uint32_t slot) { return 2 + 2 * slot; }

UB_SMALL void ub_best_tags(const int8_t *logits, uint32_t tokens, uint32_t slots, const uint8_t *legal,
                           uint8_t *scratch) {
  const uint32_t tags = 1 + 2 * slots;
  int16_t score[UB_MAX_TAGS]; /* of the best path that ends in each tag */
  uint32_t last = OUTSIDE;    /* the best of them */
  for (uint32_t token = 0; token < tokens; token++) {
    const int8_t *const logit = logits + token * tags;
    uint8_t *const from = scratch + token * tags;
    const int32_t best = token ? score[last] : 0;
    uint32_t next = OUTSIDE;
    from[OUTSIDE] = (uint8_t)last;
    score[OUTSIDE] = (int16_t)(best + logit[OUTSIDE]);
    for (uint32_t slot = 0; slot < slots; slot++) {
      const uint32_t b = begin_tag(slot), i = inside_tag(slot);
      if (!(legal[slot / 8] >> slot % 8 & 1)) continue;
      if (token) {
        from[i] = (uint8_t)(score[b] > score[i] ? b : i);
        score[i] = (int16_t)(score[from[i]] + logit[i]);
      } else {
        from[i] = OUTSIDE;
        score[i] = INT16_MIN / 2; /* no sentence begins inside a slot */
      }
      from[b] = (uint8_t)last;
      score[b] = (int16_t)(best + logit[b]);
      if (score[b] > score[next]) next = b;
      if (score[i] > score[next]) next = i;
    }
    last = next;
  }
  for (uint32_t token = tokens; token > 0; token--) {
    uint8_t *const from = scratch + (token - 1) * tags;
    const uint32_t tag = last;
    last = from[tag];
    from[0] = (uint8_t)tag;
  }
}

/* The pool's text of the value of a phrase, or NULL: a binary search by hash. */
static const char *find_value(const ub_agent *agent, uint32_t hash) {
  const uint8_t *const section = agent->sections[UB_VALUES].bytes;
  const uint8_t *const entries = section + agent->values.entries;
  uint32_t from = 0, to = agent->values.count;
  while (from < to) {
    const uint32_t middle = from + (to - from) / 2;
    const uint32_t key = ub_read_u32(entries, 2 * middle);
    if (key == hash) return (const char *)section + agent->values.pool + ub_read_u32(entries, 2 * middle + 1);
    if (key < hash)
      from = middle + 1;
    else
      to = middle;
  }
  return NULL;
}

/* A bit per slot, at an offset of the labels section. */
static bool slot_bit(const ub_agent *agent, uint32_t mask, uint32_t slot) {
  return agent->sections[UB_LABELS].bytes[mask + slot / 8] >> slot % 8 & 1;
}

typedef struct {
  uint16_t slot;
  uint8_t from, to; /* tokens, end exclusive */
  int16_t margin;   /* by how much its tags' logits exceed that of OUTSIDE, summed */
} span;

/* The spans of the best tags. A slot that is never said twice keeps one: neighbours are one span, else the surer wins. */
static uint32_t find_spans(const ub_agent *agent, const ub_logits *logits, uint32_t tokens, span spans[UB_MAX_SLOTS]) {
  const uint32_t tags = 1 + 2 * (uint32_t)agent->labels.slots;
  uint32_t count = 0;
  for (uint32_t token = 0; token < tokens;) {
    const uint32_t tag = logits->scratch[token * tags];
    if (tag == OUTSIDE) {
      token++;
      continue;
    }
    span found = {(uint16_t)((tag - 1) / 2), (uint8_t)token, 0, 0};
    do {
      const int8_t *const logit = logits->tags + token * tags;
      found.margin = (int16_t)(found.margin + logit[logits->scratch[token * tags]] - logit[OUTSIDE]);
      token++;
    } while (token < tokens && logits->scratch[token * tags] == inside_tag(found.slot));
    found.to = (uint8_t)token;
    uint32_t other = count;
    if (slot_bit(agent, agent->labels.single_mask, found.slot))
      for (other = 0; other < count && spans[other].slot != found.slot;) other++;
    if (other < count && spans[other].to == found.from) {
      spans[other].to = found.to;
      spans[other].margin = (int16_t)(spans[other].margin + found.margin);
      continue;
    }
    if (other < count) {
      if (spans[other].margin >= found.margin) continue;
      for (count--; other < count; other++) spans[other] = spans[other + 1];
    }
    if (count < UB_MAX_SLOTS) spans[count++] = found;
  }
  return count;
}

static ub_slot make_slot(const ub_agent *agent, const uint8_t *text, const ub_answer *answer, const span *found) {
  const ub_token *const tokens = answer->tokens;
  const uint32_t from = found->from, to = found->to;
  ub_slot result = {found->slot, tokens[from].start, tokens[to - 1].end, UB_NONE, NULL};
  result.value = find_value(agent, ub_phrase_hash(text, tokens, from, to, found->slot));
  if (result.value != NULL || !slot_bit(agent, agent->labels.numeric_mask, found->slot)) return result;
  result.value = find_value(agent, ub_phrase_hash(text, tokens, from, to, UB_NONE)); /* words for numbers */
  if (result.value != NULL) return result;
  uint32_t numbers = 0;
  for (uint32_t token = from; token < to; token++)
    if (tokens[token].number) numbers++, result.number = (uint16_t)token;
  if (numbers != 1) result.number = UB_NONE;
  return result;
}

static void decode_slots(const ub_agent *agent, const uint8_t *text, const ub_logits *logits, ub_answer *answer) {
  const uint8_t *const masks = agent->sections[UB_LABELS].bytes + agent->labels.slot_mask;
  const uint32_t mask_bytes = (agent->labels.slots + 7u) / 8u;
  ub_best_tags(logits->tags, answer->token_count, agent->labels.slots, masks + answer->intent * mask_bytes,
               logits->scratch);
  span spans[UB_MAX_SLOTS];
  answer->slot_count = (uint8_t)find_spans(agent, logits, answer->token_count, spans);
  for (uint32_t i = 0; i < answer->slot_count; i++) answer->slots[i] = make_slot(agent, text, answer, &spans[i]);
}

UB_SMALL void ub_decode(const ub_agent *agent, const uint8_t *text, const ub_logits *logits, ub_answer *answer) {
  answer->slot_count = 0;
  decode_intent(agent, logits->classes, answer);
  if (answer->accepted) decode_slots(agent, text, logits, answer);
}
