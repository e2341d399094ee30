#include "protocol.h"

#include <string.h>

#include "crc.h"

#define CRC_BYTES 6          /* " *8C1F" */
#define SHORT_REPLY_BYTES 192 /* holds any error that has no seq */

/* ---- Writing: text into a buffer that may be too small ---- */

typedef struct {
  uint8_t *bytes;
  size_t capacity;
  size_t length;
  bool overflow; /* something did not fit: the content is useless */
} writer;

static void put(writer *out, uint8_t byte) {
  if (out->length < out->capacity) {
    out->bytes[out->length++] = byte;
  } else {
    out->overflow = true;
  }
}

/* Not in line: a hundred copies of these would be a tenth of the agent's code. */
static __attribute__((noinline)) void put_bytes(writer *out, const void *bytes, size_t length) {
  if (length > out->capacity - out->length) {
    out->overflow = true;
    return;
  }
  memcpy(out->bytes + out->length, bytes, length);
  out->length += length;
}

static __attribute__((noinline)) void put_text(writer *out, const char *text) { put_bytes(out, text, strlen(text)); }

static void put_view(writer *out, ub_view view) { put_bytes(out, view.bytes, view.length); }

static void put_number(writer *out, uint32_t number) {
  uint8_t digits[10];
  size_t first = sizeof digits;
  do {
    digits[--first] = (uint8_t)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  put_bytes(out, digits + first, sizeof digits - first);
}

static void put_hex(writer *out, uint32_t number, uint32_t digits) {
  while (digits-- > 0) {
    put(out, (uint8_t)"0123456789ABCDEF"[(number >> (4 * digits)) & 0xF]);
  }
}

/* A probability in 1/10000 as a decimal fraction without trailing zeros: 1, 0.98, 0.9812 */
static void put_probability(writer *out, uint32_t score) {
  put_number(out, score / 10000);
  score %= 10000;
  if (score != 0) {
    put(out, '.');
  }
  for (uint32_t place = 1000; score != 0; place /= 10) {
    put(out, (uint8_t)('0' + score / place));
    score %= place;
  }
}

/* A JSON string. The bytes must be UTF-8. */
static void put_string(writer *out, const uint8_t *bytes, size_t length) {
  put(out, '"');
  for (size_t i = 0; i < length; i++) {
    uint8_t byte = bytes[i];
    if (byte < 0x20 || byte == 0x7F) {
      put_text(out, "\\u00");
      put_hex(out, byte, 2);
    } else {
      if (byte == '"' || byte == '\\') {
        put(out, '\\');
      }
      put(out, byte);
    }
  }
  put(out, '"');
}

static void put_string_of(writer *out, const char *text) {
  put_string(out, (const uint8_t *)text, strlen(text));
}

static void put_name(writer *out, ub_view name) { put_string(out, name.bytes, name.length); }

/* ,"key":number */
static void put_member(writer *out, const char *key, uint32_t number) {
  put_text(out, ",\"");
  put_text(out, key);
  put_text(out, "\":");
  put_number(out, number);
}

/* ---- A request ---- */

typedef struct {
  ub_view text; /* what is left of the line without seq and CRC */
  bool guarded; /* begins with @ or ends in a CRC: a program wrote it, and its reply ends in a CRC too */
  bool has_seq;
  uint32_t seq;
  uint16_t crc;
  uint64_t started; /* microseconds */
} request;

static int32_t hex_digit(uint8_t byte) {
  if (byte >= '0' && byte <= '9') {
    return byte - '0';
  }
  return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

/* Takes a decimal number off the text. Returns false if there is none, or one that is too large. */
static bool take_number(ub_view *text, uint32_t *number) {
  uint32_t at = 0;
  uint64_t value = 0;
  while (at < text->length && text->bytes[at] >= '0' && text->bytes[at] <= '9' && value <= UINT32_MAX) {
    value = value * 10 + (uint32_t)(text->bytes[at++] - '0');
  }
  text->bytes += at;
  text->length -= at;
  *number = (uint32_t)value;
  return at > 0 && value <= UINT32_MAX;
}

/* Takes hexadecimal digits off the text. Returns false if they are not there. */
static bool take_hex(ub_view *text, uint32_t digits, uint32_t *number) {
  uint32_t value = 0;
  if (text->length < digits) {
    return false;
  }
  for (uint32_t i = 0; i < digits; i++) {
    const int32_t digit = hex_digit(text->bytes[i]);
    if (digit < 0) {
      return false;
    }
    value = value << 4 | (uint32_t)digit;
  }
  text->bytes += digits;
  text->length -= digits;
  *number = value;
  return true;
}

static bool take_space(ub_view *text) {
  if (text->length == 0 || text->bytes[0] != ' ') {
    return false;
  }
  text->bytes++;
  text->length--;
  return true;
}

/* The CRC that a line ends in: 0 .. 0xFFFF, or -1 if there is none. */
static int32_t trailing_crc(ub_view line) {
  if (line.length < CRC_BYTES) {
    return -1;
  }
  ub_view tail = {line.bytes + line.length - CRC_BYTES, CRC_BYTES};
  if (tail.bytes[0] != ' ' || tail.bytes[1] != '*') {
    return -1;
  }
  tail.bytes += 2;
  tail.length -= 2;
  uint32_t crc;
  return take_hex(&tail, 4, &crc) ? (int32_t)crc : -1;
}

/* Takes "@17 " off the request's text. Returns false if it is not there or the number is too large. */
static bool take_seq(request *asked) {
  ub_view text = {asked->text.bytes + 1, asked->text.length - 1};
  uint32_t seq;
  if (!take_number(&text, &seq) || !take_space(&text)) {
    return false;
  }
  asked->has_seq = true;
  asked->seq = seq;
  asked->text = text;
  return true;
}

/* ---- Replies ---- */

/* Begins the object of a reply; a member follows every time. */
static void begin(writer *out, char kind, const request *asked) {
  put(out, (uint8_t)kind);
  put(out, '{');
  if (asked->has_seq) {
    put_text(out, "\"seq\":");
    put_number(out, asked->seq);
    put(out, ',');
  }
}

static void end(writer *out, const request *asked) {
  put(out, '}');
  if (asked->guarded && !out->overflow) {
    uint16_t crc = ub_crc16(UB_CRC16_START, out->bytes, out->length);
    put_text(out, " *");
    put_hex(out, crc, 4);
  }
  put(out, '\n');
}

static void put_error(writer *out, const request *asked, const char *word, const char *message) {
  begin(out, '!', asked);
  put_text(out, "\"error\":");
  put_string_of(out, word);
  put_text(out, ",\"message\":");
  put_string_of(out, message);
  end(out, asked);
}

static void put_status(ub_session *session, writer *out, const request *asked, ub_status status) {
  session->errors++;
  put_error(out, asked, ub_status_name(status), ub_status_text(status));
}

static void put_no_agent(ub_session *session, writer *out, const request *asked) {
  session->errors++;
  put_error(out, asked, "agent", ub_status_text(session->opened));
}

/* Refuses a line that has no seq, or none that can be trusted. The last reply is kept, so that its request can still be
 * repeated after a line that was damaged on the way. */
static void refuse(ub_session *session, const request *asked, const char *word, const char *message) {
  uint8_t bytes[SHORT_REPLY_BYTES];
  writer out = {bytes, sizeof bytes, 0, false};
  session->errors++;
  put_error(&out, asked, word, message);
  session->board->write(session->board->context, out.bytes, out.length);
}

/* ---- The agent's name, from its manifest: the first member of the object, a word of [A-Za-z0-9._-] ---- */

static ub_view agent_name(const ub_agent *agent) {
  static const char key[] = "{\"name\":\"";
  const size_t key_length = sizeof key - 1;
  const ub_view manifest = agent->sections[UB_MANIFEST];
  ub_view name = {(const uint8_t *)"unnamed", 7};
  if (manifest.length <= key_length || memcmp(manifest.bytes, key, key_length) != 0) {
    return name;
  }
  for (uint32_t i = (uint32_t)key_length; i < manifest.length; i++) {
    uint8_t byte = manifest.bytes[i];
    if (byte == '"' && i > key_length) {
      name.bytes = manifest.bytes + key_length;
      name.length = i - (uint32_t)key_length;
      return name;
    }
    bool word = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
                byte == '.' || byte == '_' || byte == '-';
    if (!word || i - key_length >= 64) {
      return name;
    }
  }
  return name;
}

/* ---- Commands ---- */

static uint32_t microseconds_since(const ub_session *session, uint64_t started) {
  uint64_t elapsed = session->board->microseconds(session->board->context) - started;
  return elapsed > UINT32_MAX ? UINT32_MAX : (uint32_t)elapsed;
}

static void put_slots(writer *out, const ub_agent *agent, const ub_answer *answer, const uint8_t *text) {
  put_text(out, ",\"slots\":[");
  for (uint32_t i = 0; answer->accepted && i < answer->slot_count; i++) {
    const ub_slot *slot = &answer->slots[i];
    if (i > 0) {
      put(out, ',');
    }
    put_text(out, "{\"slot\":");
    put_name(out, ub_slot_name(agent, slot->slot));
    put_member(out, "start", slot->start);
    put_member(out, "end", slot->end);
    put_text(out, ",\"text\":");
    put_string(out, text + slot->start, (size_t)(slot->end - slot->start));
    char number[UB_NUMBER_CHARS];
    const char *value = slot->value;
    if (value == NULL && slot->number != UB_NONE && ub_number_json(text, &answer->tokens[slot->number], number)) {
      value = number;
    }
    if (value != NULL) {
      put_text(out, ",\"value\":");
      put_text(out, value);
    }
    put(out, '}');
  }
  put(out, ']');
}

static void parse(ub_session *session, writer *out, const request *asked, ub_view text) {
  const ub_agent *agent = session->agent;
  ub_answer *answer = &session->answer;
  if (agent == NULL) {
    put_no_agent(session, out, asked);
    return;
  }
  ub_status status = ub_parse(agent, text.bytes, text.length, answer);
  uint32_t elapsed = microseconds_since(session, asked->started);
  if (elapsed > session->us_max) {
    session->us_max = elapsed;
  }
  if (status != UB_OK) {
    put_status(session, out, asked, status);
    return;
  }
  begin(out, '=', asked);
  put_text(out, "\"intent\":");
  if (answer->accepted) {
    put_name(out, ub_intent_name(agent, answer->intent));
  } else {
    put_text(out, "null");
  }
  put_text(out, ",\"score\":");
  put_probability(out, answer->score);
  if (!answer->accepted) {
    put_text(out, ",\"best\":");
    if (answer->intent == UB_NONE) {
      put_text(out, "null");
    } else {
      put_name(out, ub_intent_name(agent, answer->intent));
    }
  }
  put_slots(out, agent, answer, text.bytes);
  put_text(out, ",\"implied\":");
  ub_view implied = {NULL, 0};
  if (answer->accepted) {
    implied = ub_implied(agent, answer->klass);
  }
  if (implied.length > 0) {
    put_view(out, implied);
  } else {
    put_text(out, "{}");
  }
  put_member(out, "us", elapsed);
  end(out, asked);
}

static void info(ub_session *session, writer *out, const request *asked, ub_view argument) {
  (void)argument;
  const ub_agent *agent = session->agent;
  begin(out, '=', asked);
  put_text(out, "\"proto\":");
  put_number(out, UB_PROTOCOL_VERSION);
  put_text(out, ",\"fw\":");
  put_string_of(out, UB_FIRMWARE_VERSION);
  put_text(out, ",\"board\":");
  put_string_of(out, session->board->name);
  put_text(out, ",\"agent\":");
  if (agent != NULL) {
    put_name(out, agent_name(agent));
  } else {
    put_text(out, "null");
  }
  put_text(out, ",\"crc\":\"");
  put_hex(out, agent != NULL ? agent->crc32 : 0, 8);
  put(out, '"');
  put_member(out, "bytes", agent != NULL ? agent->length : 0);
  put_member(out, "intents", agent != NULL ? agent->labels.intents : 0);
  put_member(out, "slots", agent != NULL ? agent->labels.slots : 0);
  put_member(out, "positions", agent != NULL ? agent->encoder.positions : 0);
  put_text(out, ",\"threshold\":");
  put_probability(out, agent != NULL ? agent->labels.threshold : 0);
  put_member(out, "arena", agent != NULL ? agent->arena_bytes : 0);
  put_member(out, "arena_limit", UB_ARENA_BYTES);
  put_member(out, "weights_in_ram", agent != NULL ? agent->held_bytes : 0);
  put_member(out, "hz", session->board->hz);
  end(out, asked);
}

static void selftest(ub_session *session, writer *out, const request *asked, ub_view argument) {
  (void)argument;
  if (session->agent == NULL) {
    put_no_agent(session, out, asked);
    return;
  }
  const uint32_t golden = ub_golden_count(session->agent);
  for (uint32_t i = 0; i < golden; i++) {
    if (session->board->alive != NULL) {
      session->board->alive(session->board->context);
    }
    if (ub_selftest(session->agent, i) != UB_OK) {
      session->errors++;
      begin(out, '!', asked);
      put_text(out, "\"error\":\"selftest\",\"message\":\"golden sentence ");
      put_number(out, i);
      put_text(out, " of ");
      put_number(out, golden);
      put_text(out, " (counted from 0) gave other numbers\"");
      end(out, asked);
      return;
    }
  }
  begin(out, '=', asked);
  put_text(out, "\"passed\":true");
  put_member(out, "golden", golden);
  put_text(out, ",\"engines\":" UB_ENGINES);
  end(out, asked);
}

static void stats(ub_session *session, writer *out, const request *asked, ub_view argument) {
  (void)argument;
  const ub_board *board = session->board;
  begin(out, '=', asked);
  put_text(out, "\"requests\":");
  put_number(out, session->requests);
  put_member(out, "errors", session->errors);
  put_member(out, "crc_errors", session->crc_errors);
  put_member(out, "repeats", session->repeats);
  put_member(out, "us_max", session->us_max);
  put_member(out, "uptime_ms", (uint32_t)(board->microseconds(board->context) / 1000));
  put_member(out, "stack", board->stack != NULL ? board->stack(board->context) : 0);
  put_text(out, ",\"reset\":");
  put_string_of(out, board->reset);
  end(out, asked);
}

/* ---- Another agent ---- */

static void put_update_error(ub_session *session, writer *out, const request *asked, ub_update_status status) {
  session->errors++;
  put_error(out, asked, ub_update_name(status), ub_update_text(session->board->update, status));
}

/* Where the update stands: what is being received, and how much of it is held. */
static void put_update(ub_session *session, writer *out, const request *asked) {
  const ub_update *update = session->board->update;
  begin(out, '=', asked);
  put_text(out, "\"slot\":");
  put_number(out, update->storage->slot_bytes - UB_BLOCK_BYTES);
  put_member(out, "chunk", UB_CHUNK_BYTES);
  put_member(out, "bytes", update->bytes);
  put_text(out, ",\"crc\":\"");
  put_hex(out, update->crc32, 8);
  put(out, '"');
  put_member(out, "held", update->held);
  end(out, asked);
}

static void answer_update(ub_session *session, writer *out, const request *asked, ub_update_status status) {
  if (status == UB_UPDATE_OK) {
    put_update(session, out, asked);
  } else {
    put_update_error(session, out, asked, status);
  }
}

static void put_usage(ub_session *session, writer *out, const request *asked, const char *usage) {
  session->errors++;
  put_error(out, asked, "update", usage);
}

static void update_state(ub_session *session, writer *out, const request *asked, ub_view argument) {
  (void)argument;
  const ub_update *update = session->board->update;
  answer_update(session, out, asked, update != NULL && update->storage != NULL ? UB_UPDATE_OK : UB_UPDATE_STORAGE);
}

static void update_begin(ub_session *session, writer *out, const request *asked, ub_view argument) {
  uint32_t bytes, crc32;
  if (!take_number(&argument, &bytes) || !take_space(&argument) || !take_hex(&argument, 8, &crc32) ||
      argument.length != 0) {
    put_usage(session, out, asked, "expected /update begin BYTES CRC, the CRC-32 in 8 upper-case hexadecimal digits");
    return;
  }
  answer_update(session, out, asked, ub_update_begin(session->board->update, bytes, crc32));
}

/* 0 .. 63, or -1 if the byte is no digit of base64 (RFC 4648). */
static int32_t base64_digit(uint8_t byte) {
  if (byte >= 'A' && byte <= 'Z') {
    return byte - 'A';
  }
  if (byte >= 'a' && byte <= 'z') {
    return byte - 'a' + 26;
  }
  if (byte >= '0' && byte <= '9') {
    return byte - '0' + 52;
  }
  return byte == '+' ? 62 : byte == '/' ? 63 : -1;
}

/* Decodes base64 with its padding. Returns the number of bytes, or -1 if it is not base64 or decodes to more than fit. */
static int32_t decode_base64(ub_view text, uint8_t *bytes, uint32_t capacity) {
  uint32_t length = 0;
  if (text.length % 4 != 0) {
    return -1;
  }
  for (uint32_t at = 0; at < text.length; at += 4) {
    const uint8_t *group = text.bytes + at;
    uint32_t count = 3, bits = 0;
    if (at + 4 == text.length && group[3] == '=') {
      count = group[2] == '=' ? 1 : 2;
    }
    for (uint32_t i = 0; i < 4; i++) {
      const int32_t digit = i <= count ? base64_digit(group[i]) : 0;
      if (digit < 0) {
        return -1;
      }
      bits = bits << 6 | (uint32_t)digit;
    }
    if (count > capacity - length) {
      return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
      bytes[length++] = (uint8_t)(bits >> (16 - 8 * i));
    }
  }
  return (int32_t)length;
}

static void update_data(ub_session *session, writer *out, const request *asked, ub_view argument) {
  uint8_t bytes[UB_CHUNK_BYTES];
  uint32_t offset;
  const bool parsed = take_number(&argument, &offset) && take_space(&argument);
  const int32_t length = parsed ? decode_base64(argument, bytes, sizeof bytes) : -1;
  if (length < 0) {
    put_usage(session, out, asked, "expected /update data OFFSET BASE64, at most 256 bytes");
    return;
  }
  answer_update(session, out, asked, ub_update_data(session->board->update, offset, bytes, (uint32_t)length));
}

/* The agent that runs may be another one than before, also because of what came over another line. */
static void follow_update(ub_session *session) {
  const ub_update *const update = session->board->update;
  if (update != NULL && update->agent != NULL) {
    session->agent = update->agent;
    session->opened = UB_OK;
  }
}

static void update_activate(ub_session *session, writer *out, const request *asked, ub_view argument) {
  (void)argument;
  const ub_board *board = session->board;
  const ub_update_status status = ub_update_activate(board->update, board->alive, board->context);
  if (status != UB_UPDATE_OK) {
    put_update_error(session, out, asked, status);
    return;
  }
  follow_update(session);
  begin(out, '=', asked);
  put_text(out, "\"agent\":");
  put_name(out, agent_name(session->agent));
  put_text(out, ",\"crc\":\"");
  put_hex(out, session->agent->crc32, 8);
  put(out, '"');
  end(out, asked);
}

static void help(ub_session *session, writer *out, const request *asked, ub_view argument);

static const struct {
  const char *name;
  const char *argument; /* what stands for it in /help; NULL: the command takes none */
  void (*run)(ub_session *session, writer *out, const request *asked, ub_view argument);
} commands[] = {
    {"/parse", "TEXT", parse},
    {"/info", NULL, info},
    {"/selftest", NULL, selftest},
    {"/stats", NULL, stats},
    {"/update", NULL, update_state},
    {"/update begin", "BYTES CRC", update_begin},
    {"/update data", "OFFSET BASE64", update_data},
    {"/update activate", NULL, update_activate},
    {"/help", NULL, help},
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void help(ub_session *session, writer *out, const request *asked, ub_view argument) {
  (void)session;
  (void)argument;
  begin(out, '=', asked);
  put_text(out, "\"commands\":[");
  for (size_t i = 0; i < COMMANDS; i++) {
    put_text(out, i > 0 ? ",\"" : "\"");
    put_text(out, commands[i].name);
    if (commands[i].argument != NULL) {
      put(out, ' ');
      put_text(out, commands[i].argument);
    }
    put(out, '"');
  }
  put(out, ']');
  end(out, asked);
}

/* Whether the text begins with the command: its name, then nothing or one space and the argument. */
static bool is_command(ub_view text, const char *name, ub_view *argument) {
  const uint32_t length = (uint32_t)strlen(name);
  if (text.length < length || memcmp(text.bytes, name, length) != 0) {
    return false;
  }
  const uint32_t skip = text.length > length ? length + 1 : length;
  argument->bytes = text.bytes + skip;
  argument->length = text.length - skip;
  return text.length == length || text.bytes[length] == ' ';
}

static void answer(ub_session *session, writer *out, const request *asked) {
  if (asked->text.length == 0 || asked->text.bytes[0] != '/') {
    parse(session, out, asked, asked->text);
    return;
  }
  for (size_t i = 0; i < COMMANDS; i++) {
    ub_view argument;
    if (is_command(asked->text, commands[i].name, &argument) &&
        (commands[i].argument != NULL || argument.length == 0)) {
      commands[i].run(session, out, asked, argument);
      return;
    }
  }
  session->errors++;
  put_error(out, asked, "command", "no such command; /help lists them, and /parse takes a prompt that begins with /");
}

/* ---- Lines ---- */

static void answer_line(ub_session *session) {
  const ub_board *board = session->board;
  const bool numbered = session->line_length > 0 && session->line[0] == '@';
  request asked = {
      .text = {session->line, (uint32_t)session->line_length},
      .guarded = numbered,
      .started = board->microseconds(board->context),
  };
  session->requests++;

  if (session->line_broken) {
    session->crc_errors++;
    refuse(session, &asked, "crc", "bytes of the line were lost");
    return;
  }
  if (session->line_overlong) {
    refuse(session, &asked, "long", "the line has more than 512 bytes");
    return;
  }
  const int32_t crc = trailing_crc(asked.text);
  if (crc >= 0) {
    asked.guarded = true;
    asked.crc = (uint16_t)crc;
    asked.text.length -= CRC_BYTES;
    if (asked.crc != ub_crc16(UB_CRC16_START, asked.text.bytes, asked.text.length)) {
      session->crc_errors++;
      refuse(session, &asked, "crc", "the CRC is wrong");
      return;
    }
  } else if (numbered) {
    session->crc_errors++;
    refuse(session, &asked, "crc", "a line that begins with @ must end in a CRC");
    return;
  }
  if (numbered && !take_seq(&asked)) {
    refuse(session, &asked, "seq", "@ must be followed by a number up to 4294967295, a space and a request");
    return;
  }

  if (asked.has_seq && session->repeatable && session->reply_seq == asked.seq && session->reply_crc == asked.crc) {
    session->repeats++;
  } else {
    writer out = {session->reply, sizeof session->reply, 0, false};
    follow_update(session);
    answer(session, &out, &asked);
    if (out.overflow) {
      out.length = 0;
      out.overflow = false;
      session->errors++;
      put_error(&out, &asked, "long", "the reply has more than 1536 bytes");
    }
    session->reply_length = out.length;
    session->repeatable = asked.has_seq;
    session->reply_seq = asked.seq;
    session->reply_crc = asked.crc;
  }
  board->write(board->context, session->reply, session->reply_length);
}

static void take_line(ub_session *session) {
  if (session->line_length > 0 && !session->line_overlong && session->line[session->line_length - 1] == '\r') {
    session->line_length--;
  }
  if (session->line_length > UB_MAX_LINE) {
    session->line_overlong = true;
  }
  if (session->line_length > 0 || session->line_broken) {
    answer_line(session);
  }
  session->line_length = 0;
  session->line_overlong = false;
  session->line_broken = false;
}

void ub_session_start(ub_session *session, const ub_board *board, const ub_agent *agent, ub_status opened) {
  static const ub_view none = {(const uint8_t *)"none", 4};
  uint8_t bytes[SHORT_REPLY_BYTES];
  writer out = {bytes, sizeof bytes, 0, false};

  memset(session, 0, sizeof *session);
  session->board = board;
  session->agent = agent;
  session->opened = opened;

  put_text(&out, "#hello proto=");
  put_number(&out, UB_PROTOCOL_VERSION);
  put_text(&out, " fw=" UB_FIRMWARE_VERSION " board=");
  put_text(&out, board->name);
  put_text(&out, " agent=");
  put_view(&out, agent != NULL ? agent_name(agent) : none);
  put_text(&out, " crc=");
  put_hex(&out, agent != NULL ? agent->crc32 : 0, 8);
  put(&out, '\n');
  board->write(board->context, out.bytes, out.length);
}

void ub_session_feed(ub_session *session, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] == '\n') {
      take_line(session);
    } else if (session->line_length < sizeof session->line) {
      session->line[session->line_length++] = bytes[i];
    } else {
      session->line_overlong = true;
    }
  }
}

void ub_session_lost(ub_session *session) { session->line_broken = true; }
