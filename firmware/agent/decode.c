#include "decode.h"

#include "bytes.h"
#include "small.h"

/* ---- tags ---------------------------------------------------------------------------------------------------- */

enum { OUTSIDE = 0, NEVER = INT16_MIN / 2 };
static uint32_t begin_tag(uint32_t slot) { return 1 + 2 * slot; }
static uint32_t inside_tag(uint32_t slot) { return 2 + 2 * slot; }

/* Leaves the paths that end in one state. */
static void only(int16_t *score, uint32_t states, uint32_t state) {
  for (uint32_t other = 0; other < states; other++)
    if (other != state) score[other] = NEVER;
}

/* The likeliest tags of the legal slots among those that begin slot begun[token] - 1 wherever that is not OUTSIDE. A
 * path's state is OUTSIDE or 1 + the slot that it is in. */
static int32_t viterbi(const int8_t *logits, uint32_t tokens, uint32_t slots, const uint8_t *legal,
                       const uint8_t *begun, uint8_t *scratch) {
  int16_t score[UB_MAX_TAGS / 2 + 1]; /* of the best path that ends in each state */
  uint32_t last = OUTSIDE;            /* the best of them */
  score[OUTSIDE] = 0;
  only(score, 1 + slots, OUTSIDE);
  uint8_t *row = scratch; /* by state, the tag of a path that ends in it; [OUTSIDE]: the state before a tag that begins */
  for (uint32_t token = 0; token < tokens; token++, row += 1 + 2 * slots) {
    const int32_t best = score[last];
    row[OUTSIDE] = (uint8_t)last;
    last = OUTSIDE;
    score[OUTSIDE] = (int16_t)(best + *logits++);
    for (uint32_t state = 1; state <= slots; state++, logits += 2) {
      if (!ub_bit(legal, state - 1)) continue;
      const int32_t begin = best + logits[0], inside = score[state] + logits[1];
      const bool goes_on = inside > begin && begun[token] == OUTSIDE;
      row[state] = (uint8_t)(begin_tag(state - 1) + goes_on);
      score[state] = (int16_t)(goes_on ? inside : begin);
      if (score[state] > score[last]) last = state;
    }
    if (begun[token] != OUTSIDE) only(score, 1 + slots, last = begun[token]);
  }
  const int32_t sum = score[last];
  while (row != scratch) {
    row -= 1 + 2 * slots;
    const uint32_t tag = last == OUTSIDE ? OUTSIDE : row[last];
    if (tag == OUTSIDE || tag % 2) last = row[OUTSIDE];
    row[0] = (uint8_t)tag;
  }
  return sum;
}

UB_SMALL int32_t ub_best_tags(const int8_t *logits, uint32_t tokens, uint32_t slots, const uint8_t *masks,
                              uint8_t *scratch) {
  const uint8_t *const needed = masks + ub_mask_bytes(slots);
  uint8_t begun[UB_MAX_POSITIONS] = {OUTSIDE};
  int32_t sum = viterbi(logits, tokens, slots, masks, begun, scratch);
  for (uint32_t slot = 0; slot < slots; slot++) {
    if (!ub_bit(masks, slot) || !ub_bit(needed, slot)) continue;
    int32_t least = INT16_MAX;
    uint32_t where = 0;
    for (uint32_t token = 0, row = 0; token < tokens; token++, row += 1 + 2 * slots) {
      const uint32_t tag = scratch[row];
      const int32_t cost = tag == begin_tag(slot) ? INT16_MIN : logits[row + tag] - logits[row + begin_tag(slot)];
      if (begun[token] == OUTSIDE && cost < least) least = cost, where = token;
    }
    if (least == INT16_MAX) return UB_NO_TAGS;
    begun[where] = (uint8_t)(1 + slot);
    if (least != INT16_MIN) sum = viterbi(logits, tokens, slots, masks, begun, scratch);
  }
  return sum;
}

/* The same of a class; the tags are left in the scratch. */
static int32_t tags_of_class(const ub_agent *agent, const ub_logits *logits, uint32_t tokens, uint32_t klass) {
  const uint32_t slots = agent->labels.slots;
  const uint8_t *const masks = agent->sections[UB_LABELS].bytes + agent->labels.slot_masks;
  return ub_best_tags(logits->tags, tokens, slots, masks + 2 * klass * ub_mask_bytes(slots), logits->scratch);
}

/* ---- class and intent ---------------------------------------------------------------------------------------- */

/* A class that is less likely than this beside the best one, by its logit alone, need not be looked at more closely. */
enum { LEAST_PROBABILITY = 65536 / 1024 };

/* Of a class whose logit is so many steps below the best one's. */
static uint32_t probability(const ub_agent *agent, int32_t steps) {
  return ub_read_u32(agent->sections[UB_LABELS].bytes + agent->labels.probability, steps < 0 ? 0 : (uint32_t)steps);
}

/* Takes from the logit of every class by how much the likeliest tags that it allows are less likely than the likeliest of
 * all, and returns the best class. */
static uint32_t weigh_tags(const ub_agent *agent, const ub_logits *logits, uint32_t tokens) {
  const ub_labels_header *const labels = &agent->labels;
  int8_t *const classes = logits->classes;
  uint8_t any_slots[2 * (UB_MAX_TAGS / 16 + 1)] = {0};
  memset(any_slots, UINT8_MAX, ub_mask_bytes(labels->slots));
  const int32_t most = ub_best_tags(logits->tags, tokens, labels->slots, any_slots, logits->scratch);
  uint32_t best = 0;
  for (uint32_t c = 0; c < labels->classes; c++)
    if (classes[c] > classes[best]) best = c;
  const uint32_t first = best;
  for (uint32_t i = 0; i < labels->classes; i++) {
    const uint32_t c = i == 0 ? first : i == first ? 0 : i; /* the likeliest one first */
    if (i && probability(agent, classes[best] - classes[c]) < LEAST_PROBABILITY) continue;
    const uint32_t behind = (uint32_t)(most - tags_of_class(agent, logits, tokens, c));
    const int32_t left = classes[c] - (int32_t)((behind * labels->tag_weight + 128) >> 8);
    classes[c] = (int8_t)(left < INT8_MIN ? INT8_MIN : left);
    if (classes[c] > classes[best]) best = c;
  }
  return best;
}

/* The likeliest class that is in scope, and its intent. Softmax over the classes has the calibrated temperature; the score
 * weighs the intent's probability against "out of scope", and against other intents as much as the bundle says: that
 * another one is nearly as likely need not make a sentence less of a command. */
static void decode_intent(const ub_agent *agent, const ub_logits *logits, ub_answer *answer) {
  const ub_labels_header *const labels = &agent->labels;
  const uint8_t *const intents = agent->sections[UB_LABELS].bytes + labels->class_intent;
  const int8_t *const classes = logits->classes;
  const int32_t most = classes[weigh_tags(agent, logits, answer->token_count)];

  uint32_t best = 0, likely = 0, all = 0;
  for (uint32_t c = 0; c < labels->classes; c++)
    if (ub_read_u16(intents, c) != UB_NONE && classes[c] > classes[best]) best = c;
  answer->klass = (uint16_t)best;
  answer->intent = ub_read_u16(intents, best);
  for (uint32_t c = 0; c < labels->classes; c++) {
    const uint16_t intent = ub_read_u16(intents, c);
    const uint32_t p = probability(agent, most - classes[c]);
    if (intent != UB_NONE && intent == answer->intent) likely += p;
    all += intent == UB_NONE || intent == answer->intent ? p : p * labels->others >> 8;
  }
  for (; all >> 18; all >>= 1) likely >>= 1; /* so that what follows fits */
  answer->score = all ? (uint16_t)((likely * 10000 + all / 2) / all) : 0;
  answer->accepted = answer->intent != UB_NONE && answer->score >= labels->threshold;
}

/* ---- slots --------------------------------------------------------------------------------------------------- */

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

/* Of a mask at an offset of the labels section. */
static bool slot_bit(const ub_agent *agent, uint32_t mask, uint32_t slot) {
  return ub_bit(agent->sections[UB_LABELS].bytes + mask, slot);
}

UB_SMALL uint32_t ub_find_spans(const int8_t *logits, uint32_t tokens, uint32_t slots, const uint8_t *single,
                                const uint8_t *scratch, ub_span spans[UB_MAX_SLOTS]) {
  const uint32_t tags = 1 + 2 * slots;
  uint32_t count = 0;
  for (uint32_t token = 0; token < tokens;) {
    uint32_t tag = scratch[token * tags];
    if (tag == OUTSIDE) {
      token++;
      continue;
    }
    const uint32_t slot = (tag - 1) / 2;
    const bool once = ub_bit(single, slot);
    ub_span found = {(uint16_t)slot, (uint8_t)token, 0, 0};
    do {
      const int8_t *const logit = logits + token * tags;
      found.margin = (int16_t)(found.margin + logit[tag] - logit[OUTSIDE]);
      tag = ++token < tokens ? scratch[token * tags] : OUTSIDE;
    } while (tag == inside_tag(slot) || (once && tag == begin_tag(slot)));
    found.to = (uint8_t)token;
    uint32_t other = 0;
    while (other < count && !(once && spans[other].slot == slot)) other++;
    if (other < count) {
      if (spans[other].margin >= found.margin) continue;
      for (count--; other < count; other++) spans[other] = spans[other + 1];
    }
    if (count < UB_MAX_SLOTS) spans[count++] = found;
  }
  return count;
}

static ub_slot make_slot(const ub_agent *agent, const uint8_t *text, const ub_answer *answer, const ub_span *found) {
  const ub_token *const tokens = answer->tokens;
  const uint32_t from = found->from, to = found->to;
  ub_slot result = {found->slot, tokens[from].start, tokens[to - 1].end, UB_NONE, NULL};
  result.value = find_value(agent, ub_phrase_hash(text, tokens, from, to, UB_NONE, found->slot));
  if (result.value != NULL || !slot_bit(agent, agent->labels.numeric_mask, found->slot)) return result;
  result.value = find_value(agent, ub_phrase_hash(text, tokens, from, to, UB_NONE, UB_NONE)); /* words for numbers */
  if (result.value != NULL) return result;
  uint32_t numbers = 0;
  for (uint32_t token = from; token < to; token++)
    if (tokens[token].number) numbers++, result.number = (uint16_t)token;
  /* Beside the digits, only words that training has seen leave their value as it is: "percent", not "minus". */
  if (numbers != 1 || (to - from > 1 && find_value(agent, ub_phrase_hash(text, tokens, from, to, result.number,
                                                                         found->slot)) == NULL))
    result.number = UB_NONE;
  return result;
}

static void decode_slots(const ub_agent *agent, const uint8_t *text, const ub_logits *logits, ub_answer *answer) {
  tags_of_class(agent, logits, answer->token_count, answer->klass);
  const uint8_t *const single = agent->sections[UB_LABELS].bytes + agent->labels.single_mask;
  ub_span spans[UB_MAX_SLOTS];
  answer->slot_count = (uint8_t)ub_find_spans(logits->tags, answer->token_count, agent->labels.slots, single,
                                              logits->scratch, spans);
  for (uint32_t i = 0; i < answer->slot_count; i++) answer->slots[i] = make_slot(agent, text, answer, &spans[i]);
}

UB_SMALL void ub_decode(const ub_agent *agent, const uint8_t *text, const ub_logits *logits, ub_answer *answer) {
  answer->slot_count = 0;
  decode_intent(agent, logits, answer);
  if (answer->accepted) decode_slots(agent, text, logits, answer);
}
