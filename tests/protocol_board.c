/* The protocol on a board of the tests: what it sends lands in a buffer, and the agent answers what it was told to. */
#include <string.h>

#include "protocol.h"

static ub_session session;
static ub_agent agent;
static ub_answer next_answer;
static ub_status next_status;
static uint32_t golden, golden_bad;
static uint64_t now, step;
static uint32_t parsed, fed_watchdog;
static ub_update update;
static char sent[1 << 20];
static size_t sent_length;

static const char manifest[] = "{\"name\":\"home-en\",\"languages\":[\"en\"]}";
static const char *const intents[] = {"HassTurnOn", "Quote\"Back\\slash"};
static const char *const slots[] = {"area", "brightness"};
static const char *const implied[] = {"", "{\"domain\":\"light\"}"};

static ub_view view(const char *text) {
  ub_view result = {(const uint8_t *)text, (uint32_t)strlen(text)};
  return result;
}

ub_status ub_parse(const ub_agent *self, const uint8_t *text, size_t length, ub_answer *answer) {
  (void)self, (void)text, (void)length;
  parsed++;
  *answer = next_answer;
  return next_status;
}
ub_status ub_open(ub_agent *self, const uint8_t *bundle, size_t size, ub_arena *arena) {
  (void)self, (void)bundle, (void)size, (void)arena;
  return UB_ERROR_MAGIC;
}
void ub_hold(ub_agent *self, const ub_arena *arena) { (void)self, (void)arena; }
ub_status ub_selftest(const ub_agent *self, uint32_t index) {
  (void)self;
  return index == golden_bad ? UB_ERROR_SELFTEST : UB_OK;
}
uint32_t ub_golden_count(const ub_agent *self) { return (void)self, golden; }
ub_view ub_intent_name(const ub_agent *self, uint16_t intent) { return (void)self, view(intents[intent]); }
ub_view ub_slot_name(const ub_agent *self, uint16_t slot) { return (void)self, view(slots[slot]); }
ub_view ub_implied(const ub_agent *self, uint16_t klass) { return (void)self, view(implied[klass]); }
const char *ub_status_name(ub_status status) {
  static const char *const names[] = {"", "", "", "", "", "", "", "utf8", "empty", "words", "selftest"};
  return names[status];
}
const char *ub_status_text(ub_status status) { return status == UB_ERROR_CRC ? "corrupted" : "a sentence"; }

static void board_write(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  if (length <= sizeof sent - sent_length) {
    memcpy(sent + sent_length, bytes, length);
    sent_length += length;
  }
}
static uint64_t board_microseconds(void *context) { return (void)context, now += step; }
static uint32_t board_stack(void *context) { return (void)context, 1234; }
static void board_alive(void *context) { (void)context, fed_watchdog++; }

void board_start(int with_agent) {
  static const ub_board board = {"test", "power", 160000000, NULL, board_write, board_microseconds, board_stack,
                                 board_alive, &update};
  memset(&update, 0, sizeof update);
  sent_length = 0;
  parsed = fed_watchdog = 0;
  now = step = 0;
  next_status = UB_OK;
  golden = 3;
  golden_bad = UINT32_MAX;
  memset(&next_answer, 0, sizeof next_answer);
  memset(&agent, 0, sizeof agent);
  agent.sections[UB_MANIFEST] = view(manifest);
  agent.crc32 = 0x8C1F03A2;
  agent.length = 100000;
  agent.labels.intents = 2;
  agent.labels.slots = 2;
  agent.labels.threshold = 6250;
  agent.encoder.positions = 32;
  agent.arena_bytes = 12345;
  ub_session_start(&session, &board, with_agent ? &agent : NULL, with_agent ? UB_OK : UB_ERROR_CRC);
}

/* Another line has activated another agent. */
void board_activate(uint32_t crc32) {
  update.agents[1] = agent;
  update.agents[1].crc32 = crc32;
  update.agents[1].held_bytes = 4096;
  update.agent = &update.agents[1];
}
void board_manifest(const char *text) { agent.sections[UB_MANIFEST] = view(text); }
void board_feed(const uint8_t *bytes, size_t length) { ub_session_feed(&session, bytes, length); }
void board_lost(void) { ub_session_lost(&session); }
void board_clock(uint64_t microseconds) { step = microseconds; }
void board_golden(uint32_t bad) { golden_bad = bad; }
void board_status(uint32_t status) { next_status = (ub_status)status; }
void board_answer(uint16_t intent, uint16_t klass, uint16_t score, int accepted) {
  next_answer.intent = intent;
  next_answer.klass = klass;
  next_answer.score = score;
  next_answer.accepted = accepted != 0;
  next_answer.slot_count = 0;
}
void board_slot(uint16_t slot, uint16_t start, uint16_t end, const char *value) {
  ub_slot *added = &next_answer.slots[next_answer.slot_count++];
  added->slot = slot;
  added->start = start;
  added->end = end;
  added->number = UB_NONE;
  added->value = value;
}
void board_number(uint16_t start, uint16_t end) {
  ub_slot *last = &next_answer.slots[next_answer.slot_count - 1];
  next_answer.tokens[0] = (ub_token){start, end, 1};
  last->number = 0;
}
uint32_t board_parsed(void) { return parsed; }
uint32_t board_fed(void) { return fed_watchdog; }
const char *board_sent(size_t *length) {
  *length = sent_length;
  sent_length = 0;
  return sent;
}
