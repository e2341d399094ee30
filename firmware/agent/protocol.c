#include "protocol.h"

#include <string.h>

#include "crc.h"
#include "small.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define CRC_BYTES 6 /* " *8C1F" */

/* ---- Writing: text into a buffer that may be too small ---- */

typedef struct {
  uint8_t *bytes;
  size_t capacity;
  size_t length;
  bool overflow; /* something did not fit: the content is useless */
} writer;

/* What stands for "%" and a letter in a format. */
typedef union {
  uint32_t number;   /* %u: decimal, %x: 8 hexadecimal digits, %p: a probability */
  const char *text;  /* %t: as it is, %s: a JSON string */
  const void *bytes; /* and their number in the next value. %r: as they are, %v: a JSON string; null if NULL */
} value;

/* Not in line: its copies would be a tenth of the protocol's code. */
static __attribute__((noinline)) void put(writer *out, uint8_t byte) {
  if (out->length < out->capacity) {
    out->bytes[out->length++] = byte;
  } else {
    out->overflow = true;
  }
}

static void put_bytes(writer *out, const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    put(out, ((const uint8_t *)bytes)[i]);
  }
}

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
    const uint32_t digit = number >> 4 * digits & 0xF;
    put(out, (uint8_t)(digit < 10 ? '0' + digit : 'A' - 10 + digit));
  }
}

/* A probability in 1/10000 as a decimal fraction without trailing zeros: 1, 0.98, 0.9812 */
static void put_probability(writer *out, uint32_t score) {
  put_number(out, score / 10000);
  score %= 10000;
  if (score != 0) {
    put(out, '.');
  }
  for (; score != 0; score = score * 10 % 10000) {
    put(out, (uint8_t)('0' + score / 1000));
  }
}

/* A JSON string, or null. The bytes must be UTF-8. */
static void put_string(writer *out, const void *bytes, size_t length) {
  if (bytes == NULL) {
    put_bytes(out, "null", 4);
    return;
  }
  put(out, '"');
  for (size_t i = 0; i < length; i++) {
    const uint8_t byte = ((const uint8_t *)bytes)[i];
    const bool control = byte < 0x20 || byte == 0x7F;
    if (control || byte == '"' || byte == '\\') {
      put(out, '\\');
    }
    if (control) {
      put(out, 'u');
      put_hex(out, byte, 4);
    } else {
      put(out, byte);
    }
  }
  put(out, '"');
}

/* Whatever is written goes through here: a reply is one format and a list of values, not a call for each of them. */
static void put_format(writer *out, const char *format, const value *values) {
  for (; *format != '\0'; format++) {
    if (*format != '%') {
      put(out, (uint8_t)*format);
      continue;
    }
    const value *v = values++;
    switch (*++format) {
      case 'u': put_number(out, v->number); break;
      case 'x': put_hex(out, v->number, 8); break;
      case 'p': put_probability(out, v->number); break;
      case 't': put_bytes(out, v->text, strlen(v->text)); break;
      case 's': put_string(out, v->text, strlen(v->text)); break;
      case 'r': put_bytes(out, v->bytes, values++->number); break;
      default: put_string(out, v->bytes, values++->number);
    }
  }
}

/* ---- Reading ---- */

/* 0 .. 15, or more if the byte is no hexadecimal digit. */
static uint32_t hex_digit(uint8_t byte) {
  const uint32_t digit = byte - (uint32_t)'0', letter = byte - (uint32_t)'A';
  return digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
}

/* Takes off the text what the format says: u is a decimal number of 32 bits, 4 or 8 so many hexadecimal digits, anything
 * else itself. Returns false, and leaves the text, if it is not there. */
static bool take(ub_view *text, const char *format, uint32_t *numbers) {
  uint32_t at = 0;
  for (; *format != '\0'; format++) {
    const bool decimal = *format == 'u';
    if (!decimal && *format != '4' && *format != '8') {
      if (at == text->length || text->bytes[at++] != *format) {
        return false;
      }
      continue;
    }
    const uint32_t base = decimal ? 10 : 16, most = decimal ? UINT32_MAX : (uint32_t)(*format - '0');
    uint32_t number = 0, digits = 0;
    for (; digits < most && at < text->length; digits++, at++) {
      const uint32_t digit = hex_digit(text->bytes[at]);
      if (digit >= base) {
        break;
      }
      if (number > (UINT32_MAX - digit) / base) {
        return false;
      }
      number = number * base + digit;
    }
    if (digits < (decimal ? 1 : most)) {
      return false;
    }
    *numbers++ = number;
  }
  text->bytes += at;
  text->length -= at;
  return true;
}

/* ---- A request and the reply to it ---- */

typedef struct {
  ub_session *session;
  ub_view text; /* what is left of the line: without seq and CRC, then without a command's name */
  bool guarded; /* begins with @ or ends in a CRC: a program wrote it, and its reply ends in a CRC too */
  bool has_seq;
  uint32_t seq;
  uint16_t crc;
  uint64_t started; /* microseconds */
  writer reply;
} exchange;

/* What is wrong with a request: one of the protocol's words, and a sentence for a person. */
typedef struct {
  const char *word; /* NULL: nothing is */
  const char *message;
} fault;

static const fault no_fault = {NULL, NULL};

/* Begins the object of a reply; a member follows every time. */
static void begin(exchange *x, char kind) {
  if (kind == '!') {
    x->session->errors++;
  }
  put(&x->reply, (uint8_t)kind);
  put_format(&x->reply, x->has_seq ? "{\"seq\":%u," : "{", &(value){x->seq});
}

static void end(exchange *x) {
  writer *out = &x->reply;
  put(out, '}');
  if (x->guarded && !out->overflow) {
    const uint16_t crc = ub_crc16(UB_CRC16_START, out->bytes, out->length);
    put_bytes(out, " *", 2);
    put_hex(out, crc, 4);
  }
  put(out, '\n');
}

static void reply(exchange *x, char kind, const char *format, const value *values) {
  begin(x, kind);
  put_format(&x->reply, format, values);
  end(x);
}

static void fail(exchange *x, fault why) {
  reply(x, '!', "\"error\":%s,\"message\":%s", (value[]){{.text = why.word}, {.text = why.message}});
}

/* ---- The agent's name, from its manifest: the first member of the object, a word of [A-Za-z0-9._-] ---- */

static ub_view agent_name(const ub_agent *agent) {
  ub_view name = agent->sections[UB_MANIFEST];
  if (take(&name, "{\"name\":\"", NULL)) {
    for (uint32_t i = 0; i < name.length && i <= 64; i++) {
      const uint8_t byte = name.bytes[i], lower = byte | 0x20;
      if (byte == '"' && i > 0) {
        return (ub_view){name.bytes, i};
      }
      const bool letter = lower >= 'a' && lower <= 'z', digit = byte >= '0' && byte <= '9';
      if (!letter && !digit && byte != '.' && byte != '_' && byte != '-') {
        break;
      }
    }
  }
  return (ub_view){(const uint8_t *)"unnamed", 7};
}

/* ---- Commands ---- */

static uint32_t microseconds_since(const ub_session *session, uint64_t started) {
  uint64_t elapsed = session->board->microseconds(session->board->context) - started;
  return elapsed > UINT32_MAX ? UINT32_MAX : (uint32_t)elapsed;
}

static void put_slots(writer *out, const ub_agent *agent, const ub_answer *answer, const uint8_t *text) {
  for (uint32_t i = 0; i < answer->slot_count; i++) {
    const ub_slot *slot = &answer->slots[i];
    const ub_view name = ub_slot_name(agent, slot->slot);
    if (i > 0) {
      put(out, ',');
    }
    put_format(out, "{\"slot\":%v,\"start\":%u,\"end\":%u,\"text\":%v",
               (value[]){{.bytes = name.bytes}, {name.length}, {slot->start}, {slot->end},
                         {.bytes = text + slot->start}, {(uint32_t)(slot->end - slot->start)}});
    char number[UB_NUMBER_CHARS];
    const char *normal = slot->value;
    if (normal == NULL && slot->number != UB_NONE && ub_number_json(text, &answer->tokens[slot->number], number)) {
      normal = number;
    }
    put_format(out, normal != NULL ? ",\"value\":%t}" : "}", &(value){.text = normal});
  }
}

static fault no_agent(const exchange *x) { return (fault){"agent", ub_status_text(x->session->opened)}; }

static UB_SMALL fault parse(exchange *x) {
  ub_session *session = x->session;
  const ub_agent *agent = session->agent;
  const ub_answer *answer = &session->answer;
  if (agent == NULL) {
    return no_agent(x);
  }
  const ub_status status = ub_parse(agent, x->text.bytes, x->text.length, &session->answer);
  const uint32_t elapsed = microseconds_since(session, x->started);
  if (elapsed > session->us_max) {
    session->us_max = elapsed;
  }
  if (status != UB_OK) {
    return (fault){ub_status_name(status), ub_status_text(status)};
  }
  ub_view best = {NULL, 0}, implied = {NULL, 0};
  if (answer->intent != UB_NONE) {
    best = ub_intent_name(agent, answer->intent);
  }
  if (answer->accepted) {
    implied = ub_implied(agent, answer->klass);
  }
  if (implied.length == 0) {
    implied = (ub_view){(const uint8_t *)"{}", 2};
  }
  begin(x, '=');
  if (answer->accepted) {
    put_format(&x->reply, "\"intent\":%v,\"score\":%p,\"slots\":[",
               (value[]){{.bytes = best.bytes}, {best.length}, {answer->score}});
    put_slots(&x->reply, agent, answer, x->text.bytes);
  } else {
    put_format(&x->reply, "\"intent\":null,\"score\":%p,\"best\":%v,\"slots\":[",
               (value[]){{answer->score}, {.bytes = best.bytes}, {best.length}});
  }
  put_format(&x->reply, "],\"implied\":%r,\"us\":%u", (value[]){{.bytes = implied.bytes}, {implied.length}, {elapsed}});
  end(x);
  return no_fault;
}

static UB_SMALL fault info(exchange *x) {
  const ub_board *board = x->session->board;
  const ub_agent *agent = x->session->agent;
  const ub_view name = agent != NULL ? agent_name(agent) : (ub_view){NULL, 0};
  begin(x, '=');
  put_format(&x->reply,
             "\"proto\":" TEXT(UB_PROTOCOL_VERSION) ",\"fw\":\"" UB_FIRMWARE_VERSION
             "\",\"bundle_version\":" TEXT(UB_VERSION) ",\"board\":%s",
             &(value){.text = board->name});
  put_format(&x->reply,
             ",\"agent\":%v,\"crc\":\"%x\",\"bytes\":%u,\"intents\":%u,\"slots\":%u,\"positions\":%u,\"threshold\":%p,"
             "\"arena\":%u",
             agent == NULL ? (value[9]){{.bytes = NULL}} /* null and zeros */
                           : (value[]){{.bytes = name.bytes}, {name.length}, {agent->crc32}, {agent->length},
                                       {agent->labels.intents}, {agent->labels.slots}, {agent->encoder.positions},
                                       {agent->labels.threshold}, {agent->arena_bytes}});
  put_format(&x->reply, ",\"arena_limit\":%u,\"weights_in_ram\":%u,\"hz\":%u",
             (value[]){{UB_ARENA_BYTES}, {agent != NULL ? agent->held_bytes : 0}, {board->hz}});
  end(x);
  return no_fault;
}

static UB_SMALL fault selftest(exchange *x) {
  const ub_board *board = x->session->board;
  const ub_agent *agent = x->session->agent;
  if (agent == NULL) {
    return no_agent(x);
  }
  const uint32_t golden = ub_golden_count(agent);
  for (uint32_t i = 0; i < golden; i++) {
    if (board->alive != NULL) {
      board->alive(board->context);
    }
    if (ub_selftest(agent, i) != UB_OK) {
      reply(x, '!',
            "\"error\":\"selftest\",\"message\":\"golden sentence %u of %u (from 0) gave other numbers\"",
            (value[]){{i}, {golden}});
      return no_fault;
    }
  }
  reply(x, '=', "\"passed\":true,\"golden\":%u,\"engines\":" UB_ENGINES, &(value){golden});
  return no_fault;
}

static UB_SMALL fault stats(exchange *x) {
  const ub_session *session = x->session;
  const ub_board *board = session->board;
  const uint32_t uptime = (uint32_t)(board->microseconds(board->context) / 1000);
  const uint32_t stack = board->stack != NULL ? board->stack(board->context) : 0;
  reply(x, '=',
        "\"requests\":%u,\"errors\":%u,\"crc_errors\":%u,\"repeats\":%u,\"us_max\":%u,\"uptime_ms\":%u,\"stack\":%u,"
        "\"reset\":%s",
        (value[]){{session->requests}, {session->errors}, {session->crc_errors}, {session->repeats}, {session->us_max},
                  {uptime}, {stack}, {.text = board->reset}});
  return no_fault;
}

/* ---- Another agent ---- */

/* Where the update stands: what is being received, and how much of it is held. Or what went wrong with it. */
static fault answer_update(exchange *x, ub_update_status status) {
  const ub_update *update = x->session->board->update;
  if (status != UB_UPDATE_OK) {
    return (fault){ub_update_name(status), ub_update_text(update, status)};
  }
  reply(x, '=', "\"slot\":%u,\"chunk\":%u,\"bytes\":%u,\"crc\":\"%x\",\"held\":%u",
        (value[]){{update->storage->slot_bytes - UB_BLOCK_BYTES}, {UB_CHUNK_BYTES}, {update->bytes}, {update->crc32},
                  {update->held}});
  return no_fault;
}

static UB_SMALL fault update_state(exchange *x) {
  const ub_update *update = x->session->board->update;
  return answer_update(x, update != NULL && update->storage != NULL ? UB_UPDATE_OK : UB_UPDATE_STORAGE);
}

static UB_SMALL fault update_begin(exchange *x) {
  uint32_t numbers[2]; /* BYTES, CRC */
  if (!take(&x->text, "u 8", numbers) || x->text.length != 0) {
    return (fault){"update", "expected BYTES CRC, the CRC-32 in 8 upper-case hexadecimal digits"};
  }
  return answer_update(x, ub_update_begin(x->session->board->update, numbers[0], numbers[1]));
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
  uint32_t length = 0, bits = 0;
  if (text.length % 4 != 0) {
    return -1;
  }
  for (uint32_t padding = 0; padding < 2 && text.length > 0 && text.bytes[text.length - 1] == '='; padding++) {
    text.length--;
  }
  for (uint32_t i = 0; i < text.length; i++) {
    const int32_t digit = base64_digit(text.bytes[i]);
    if (digit < 0 || length == capacity) {
      return -1;
    }
    bits = bits << 6 | (uint32_t)digit;
    if (i % 4 != 0) {
      bytes[length++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
  }
  return (int32_t)length;
}

_Static_assert(UB_CHUNK_BYTES <= UB_MAX_REPLY, "a chunk is decoded where the reply will stand");

static UB_SMALL fault update_data(exchange *x) {
  uint8_t *bytes = x->reply.bytes;
  uint32_t offset;
  const int32_t length = take(&x->text, "u ", &offset) ? decode_base64(x->text, bytes, UB_CHUNK_BYTES) : -1;
  if (length < 0) {
    return (fault){"update", "expected OFFSET BASE64, at most " TEXT(UB_CHUNK_BYTES) " bytes"};
  }
  return answer_update(x, ub_update_data(x->session->board->update, offset, bytes, (uint32_t)length));
}

/* The agent that runs may be another one than before, also because of what came over another line. */
static void follow_update(ub_session *session) {
  const ub_update *const update = session->board->update;
  if (update != NULL && update->agent != NULL) {
    session->agent = update->agent;
    session->opened = UB_OK;
  }
}

static UB_SMALL fault update_activate(exchange *x) {
  const ub_board *board = x->session->board;
  const ub_update_status status = ub_update_activate(board->update, board->alive, board->context);
  if (status != UB_UPDATE_OK) {
    return answer_update(x, status);
  }
  follow_update(x->session);
  const ub_agent *agent = x->session->agent;
  const ub_view name = agent_name(agent);
  reply(x, '=', "\"agent\":%v,\"crc\":\"%x\"", (value[]){{.bytes = name.bytes}, {name.length}, {agent->crc32}});
  return no_fault;
}

static fault help(exchange *x);

typedef struct {
  const char *usage; /* the name, and what stands for an argument */
  uint8_t name_length;
  bool has_argument;
  fault (*run)(exchange *x);
} command;

#define COMMAND(name, argument, run) {name argument, sizeof name - 1, sizeof argument > 1, run}

static const command commands[] = {
    COMMAND("/parse", " TEXT", parse),
    COMMAND("/info", "", info),
    COMMAND("/selftest", "", selftest),
    COMMAND("/stats", "", stats),
    COMMAND("/update", "", update_state),
    COMMAND("/update begin", " BYTES CRC", update_begin),
    COMMAND("/update data", " OFFSET BASE64", update_data),
    COMMAND("/update activate", "", update_activate),
    COMMAND("/help", "", help),
};

static const command *const commands_end = commands + sizeof commands / sizeof commands[0];

static UB_SMALL fault help(exchange *x) {
  begin(x, '=');
  for (const command *c = commands; c < commands_end; c++) {
    put_format(&x->reply, c == commands ? "\"commands\":[%s" : ",%s", &(value){.text = c->usage});
  }
  put(&x->reply, ']');
  end(x);
  return no_fault;
}

static fault answer(exchange *x) {
  const ub_view line = x->text;
  if (line.length == 0 || line.bytes[0] != '/') {
    return parse(x);
  }
  for (const command *c = commands; c < commands_end; c++) {
    const uint32_t length = c->name_length;
    if (line.length < length || memcmp(line.bytes, c->usage, length) != 0) {
      continue;
    }
    x->text = (ub_view){line.bytes + length, line.length - length}; /* nothing, or a space and the argument */
    if ((x->text.length == 0 || take(&x->text, " ", NULL)) && (c->has_argument || x->text.length == 0)) {
      return c->run(x);
    }
  }
  return (fault){"command", "no such command, see /help; a prompt that begins with / needs /parse"};
}

/* ---- Lines ---- */

static fault crc_fault(ub_session *session, const char *message) {
  session->crc_errors++;
  return (fault){"crc", message};
}

/* Takes seq and CRC off a line that has them. */
static fault receive(exchange *x) {
  ub_session *session = x->session;
  const bool numbered = x->text.length > 0 && x->text.bytes[0] == '@';
  x->guarded = numbered;
  if (session->line_broken) {
    return crc_fault(session, "bytes of the line were lost");
  }
  if (session->line_overlong) {
    return (fault){"long", "the line has more than " TEXT(UB_MAX_LINE) " bytes"};
  }
  ub_view tail = x->text;
  uint32_t crc = 0;
  if (tail.length > CRC_BYTES) {
    tail.bytes += tail.length - CRC_BYTES;
    tail.length = CRC_BYTES;
  }
  if (take(&tail, " *4", &crc)) {
    x->guarded = true;
    x->crc = (uint16_t)crc;
    x->text.length -= CRC_BYTES;
    if (x->crc != ub_crc16(UB_CRC16_START, x->text.bytes, x->text.length)) {
      return crc_fault(session, "the CRC is wrong");
    }
  } else if (numbered) {
    return crc_fault(session, "a line with @ must end in a CRC");
  }
  x->has_seq = numbered && take(&x->text, "@u ", &x->seq);
  if (numbered && !x->has_seq) {
    return (fault){"seq", "expected @, a number up to 4294967295, a space and a request"};
  }
  return no_fault;
}

static void answer_line(ub_session *session) {
  const ub_board *board = session->board;
  exchange x = {
      .session = session,
      .text = {session->line, (uint32_t)session->line_length},
      .started = board->microseconds(board->context),
      .reply = {session->reply, sizeof session->reply, 0, false},
  };
  session->requests++;
  if (board->alive != NULL) {
    board->alive(board->context); /* what was fed at once may be many lines */
  }

  fault wrong = receive(&x);
  if (wrong.word != NULL) {
    /* The line has no seq, or none that can be trusted. The last reply is kept, so that its request can still be
     * repeated after a line that was damaged on the way; this one takes the line's place. */
    x.reply.bytes = session->line;
    x.reply.capacity = sizeof session->line;
    fail(&x, wrong);
    board->write(board->context, session->line, x.reply.length);
    return;
  }

  if (x.has_seq && session->repeatable && session->reply_seq == x.seq && session->reply_crc == x.crc) {
    session->repeats++;
  } else {
    follow_update(session);
    wrong = answer(&x);
    if (x.reply.overflow) {
      x.reply.length = 0;
      x.reply.overflow = false;
      wrong = (fault){"long", "the reply has more than " TEXT(UB_MAX_REPLY) " bytes"};
    }
    if (wrong.word != NULL) {
      fail(&x, wrong);
    }
    session->reply_length = x.reply.length;
    session->repeatable = x.has_seq;
    session->reply_seq = x.seq;
    session->reply_crc = x.crc;
  }
  board->write(board->context, session->reply, session->reply_length);
}

static void take_line(ub_session *session) {
  if (session->line_length > 0 || session->line_broken) {
    answer_line(session);
  }
  session->line_length = 0;
  session->line_overlong = false;
  session->line_broken = false;
}

UB_SMALL void ub_session_start(ub_session *session, const ub_board *board, const ub_agent *agent, ub_status opened) {
  writer out = {session->reply, sizeof session->reply, 0, false};
  const ub_view name = agent != NULL ? agent_name(agent) : (ub_view){(const uint8_t *)"none", 4};
  memset(session, 0, sizeof *session);
  session->board = board;
  session->agent = agent;
  session->opened = opened;
  put_format(&out,
             "#hello proto=" TEXT(UB_PROTOCOL_VERSION) " fw=" UB_FIRMWARE_VERSION " board=%t agent=%r crc=%x\n",
             (value[]){{.text = board->name}, {.bytes = name.bytes}, {name.length}, {agent != NULL ? agent->crc32 : 0}});
  board->write(board->context, session->reply, out.length);
}

UB_SMALL void ub_session_feed(ub_session *session, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] == '\n' || bytes[i] == '\r') {
      take_line(session);
    } else if (bytes[i] == '\0' && session->line_length == 0) {
      continue; /* what a UART reads while the line is being plugged in */
    } else if (session->line_length < sizeof session->line) {
      session->line[session->line_length++] = bytes[i];
    } else {
      session->line_overlong = true;
    }
  }
}

void ub_session_lost(ub_session *session) { session->line_broken = true; }
