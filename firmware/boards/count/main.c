/* Counts the instructions of the agent by kind of operation, on QEMU's virt machine, for `make bench`.
 *
 * The linker's --wrap puts the functions below around the agent's, which so run as they are (convert/bench.py names them).
 * A line of input is a sentence, or '#' and a number of positions, which are filled with random embeddings, about as loud as
 * words, and encoded.
 * Each is answered with one line of every kind and its instructions, behind the session's reply, or the CRC-32 of the
 * logits. */
#include "../bare/board.h"
#include "../bundle.h"
#include "crc.h"
#include "decode.h"
#include "encoder.h"
#include "kernel.h"

#include <string.h>

typedef enum { PROTOCOL, TEXT, EMBEDDING, DECODING, ENCODER, MATMUL, NORM, ADD, LOGITS, SOFTMAX, CONTEXT, KINDS } kind;
static const char *const names[KINDS] = {"protocol", "text", "embedding", "decoding", "layers",  "matmul",
                                         "norm",     "add",  "logits", "softmax",  "context"};

static uint32_t counts[KINDS];
static kind current;    /* what is being executed ... */
static uint32_t booked; /* ... and up to where it is counted */

int main(void);
void trap(uint32_t cause, uint32_t epc, uint32_t tval); /* called by start.S */

static uint32_t instructions(void) {
  uint32_t count;
  __asm__ volatile("csrr %0, minstret" : "=r"(count) : : "memory");
  return count;
}

static void enter(kind next) {
  counts[current] += instructions() - booked;
  current = next;
  booked = instructions();
}

#define COUNT(kind, name, parameters, arguments) \
  void __real_##name parameters;                 \
  void __wrap_##name parameters;                 \
  void __wrap_##name parameters {                \
    const int outer = (int)current;              \
    enter(kind);                                 \
    __real_##name arguments;                     \
    enter((unsigned)outer);                      \
  }

#define COUNT_RESULT(kind, result, name, parameters, arguments) \
  result __real_##name parameters;                              \
  result __wrap_##name parameters;                              \
  result __wrap_##name parameters {                             \
    const int outer = (int)current;                             \
    enter(kind);                                                \
    result const value = __real_##name arguments;               \
    enter((unsigned)outer);                                     \
    return value;                                               \
  }

COUNT_RESULT(TEXT, int32_t, ub_tokenize, (const uint8_t *text, size_t length, ub_token *tokens, uint32_t max),
             (text, length, tokens, max))
COUNT_RESULT(TEXT, uint32_t, ub_pieces,
             (const uint8_t *text, const ub_token *token, uint16_t first, uint16_t rows, uint16_t *pieces),
             (text, token, first, rows, pieces))
COUNT_RESULT(EMBEDDING, const int8_t *, ub_embed,
             (const ub_agent *a, const uint8_t *text, const ub_token *tokens, uint32_t count), (a, text, tokens, count))
COUNT_RESULT(ENCODER, ub_logits, ub_encode, (const ub_agent *a, uint32_t positions), (a, positions))
COUNT(DECODING, ub_decode, (const ub_agent *a, const uint8_t *text, const ub_logits *logits, ub_answer *answer),
      (a, text, logits, answer))
COUNT_RESULT(MATMUL, ub_block, ub_pack,
             (uint8_t *to, const int8_t *x, uint32_t stride, int32_t zero, uint32_t columns, uint32_t positions),
             (to, x, stride, zero, columns, positions))
COUNT(MATMUL, ub_matmul,
      (const ub_agent *a, const ub_matrix *m, const ub_block *x, int8_t *y, uint32_t y_stride, uint32_t y_step),
      (a, m, x, y, y_stride, y_step))
COUNT(NORM, ub_normalize, (const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h), (x, zero, n, width, h))
COUNT(ADD, ub_add, (const ub_sum *sum, int8_t *x, const int8_t *y, uint32_t count), (sum, x, y, count))
COUNT_RESULT(LOGITS, ub_rows, ub_bound,
             (uint8_t *energy, const int8_t *rows, uint32_t stride, uint32_t count, uint32_t columns),
             (energy, rows, stride, count, columns))

/* In attention the product before the softmax gives the logits, the one behind it the context. */
static kind product = LOGITS;
COUNT(product, ub_product,
      (const ub_scale *scale, const ub_rows *rows, const ub_block *x, int8_t *y, uint32_t y_stride),
      (scale, rows, x, y, y_stride); product = LOGITS)
COUNT(SOFTMAX, ub_softmax, (const int8_t *masked, const uint8_t *exponential, uint32_t rows, uint32_t n, int8_t *x),
      (masked, exponential, rows, n, x); product = CONTEXT)

static ub_arena arena;
static ub_agent agent;
static ub_session session;
static ub_board board;

static void send_bytes(const uint8_t *bytes, size_t length) { board_lines[0].write(NULL, bytes, length); }

static void send(const char *text) { send_bytes((const uint8_t *)text, strlen(text)); }

static void send_number(uint32_t number) {
  char digits[11] = {0};
  char *first = digits + sizeof digits - 1;
  do {
    *--first = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  send(first);
}

void trap(uint32_t cause, uint32_t epc, uint32_t tval) {
  (void)epc, (void)tval;
  send("#panic ");
  send_number(cause);
  send("\n");
  board_reset();
}

static uint8_t reply[UB_MAX_REPLY + 1];
static size_t reply_length;

/* The session's reply waits until the counting is over: how fast a UART takes it is not the agent's doing. */
static void keep(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  memcpy(reply, bytes, length);
  reply_length = length;
}

static void answer(const uint8_t *line, size_t length) {
  static int8_t embeddings[UB_MAX_POSITIONS * UB_MAX_WIDTH];
  uint32_t positions = 0, state = 1;
  for (size_t i = 1; line[0] == '#' && line[i] != '\n'; i++) positions = positions * 10 + line[i] - '0';
  for (size_t i = 0; i < sizeof embeddings; i++) {
    state = state * 1664525u + 1013904223u;
    embeddings[i] = (int8_t)((int8_t)(state >> 24) / 4);
  }
  reply_length = 0;
  memset(counts, 0, sizeof counts);
  current = positions > 0 ? ENCODER : PROTOCOL;
  booked = instructions();
  ub_logits logits = {0};
  if (positions > 0)
    logits = ub_encode_embeddings(&agent, embeddings, positions);
  else
    ub_session_feed(&session, line, length);
  enter(current);
  if (positions > 0) {
    const uint32_t classes = ub_crc32(0, (const uint8_t *)logits.classes, agent.encoder.classes);
    send("#crc ");
    send_number(ub_crc32(classes, (const uint8_t *)logits.tags, (positions - 1) * (size_t)agent.encoder.tags));
    send("\n");
  }
  send_bytes(reply, reply_length);
  send("#count");
  for (uint32_t i = 0; i < KINDS; i++) {
    send(" ");
    send(names[i]);
    send("=");
    send_number(counts[i]);
  }
  send("\n");
}

int main(void) {
  board_start(&board, &arena);
  board.write = keep;
  const ub_status opened = ub_open(&agent, ub_bundle, (size_t)(ub_bundle_end - ub_bundle), &arena);
  ub_session_start(&session, &board, opened == UB_OK ? &agent : NULL, opened);
  send_bytes(reply, reply_length);
  if (opened != UB_OK) board_reset();
  for (size_t length = 0;;) {
    static uint8_t line[UB_MAX_LINE + 1];
    bool lost = false;
    uint8_t bytes[BOARD_RECEIVE_BYTES];
    const size_t received = board_lines[0].receive(bytes, &lost);
    for (size_t i = 0; i < received && length < sizeof line; i++) {
      line[length++] = bytes[i];
      if (bytes[i] != '\n') continue;
      answer(line, length);
      length = 0;
    }
  }
}
