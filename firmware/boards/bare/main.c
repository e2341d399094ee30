/* The agent on a board without an SDK: one loop over its serial lines, each with a session of its own. */
#include <string.h>

#include "../bundle.h"
#include "board.h"
#include "protocol.h"

#define PAINT 0xA5A5A5A5u /* as in start.S */

extern uint32_t _stack_bottom[], _stack_top[]; /* from the linker script */

int main(void);
void trap(uint32_t cause, uint32_t epc, uint32_t tval); /* called by start.S */

static ub_arena arena;
static ub_update update;
static ub_board boards[BOARD_MOST_LINES];
static ub_session sessions[BOARD_MOST_LINES];

static uint32_t stack_used(void *context) {
  (void)context;
  const uint32_t *word = _stack_bottom;
  while (word < _stack_top && *word == PAINT) {
    word++;
  }
  return (uint32_t)((uintptr_t)_stack_top - (uintptr_t)word);
}

static void send_text(const char *text) {
  for (size_t line = 0; line < board_line_count; line++) {
    board_lines[line].write(NULL, (const uint8_t *)text, strlen(text));
  }
}

static void send_hex(const char *name, uint32_t number) {
  char digits[9] = "";
  for (int i = 0; i < 8; i++) {
    digits[i] = "0123456789ABCDEF"[(number >> (28 - 4 * i)) & 0xF];
  }
  send_text(name);
  send_text(digits);
}

void trap(uint32_t cause, uint32_t epc, uint32_t tval) {
  send_hex("\n#panic cause=", cause);
  send_hex(" epc=", epc);
  send_hex(" tval=", tval);
  send_text("\n");
  board_reset();
}

static void start_line(size_t line, const ub_board *of_board, ub_status opened) {
  boards[line] = *of_board;
  boards[line].write = board_lines[line].write;
  ub_session_start(&sessions[line], &boards[line], update.agent, opened);
}

static void serve_line(size_t line) {
  static uint8_t bytes[BOARD_RECEIVE_BYTES];
  bool lost = false;
  size_t length = board_lines[line].receive(bytes, &lost);
  ub_session_feed(&sessions[line], bytes, length);
  if (lost) {
    ub_session_lost(&sessions[line]);
  }
}

int main(void) {
  ub_board board = {.stack = stack_used, .update = &update};
  const ub_storage *storage = board_start(&board, &arena);
  send_text("\n"); /* ends what the boot log or a reset within a reply left on the line */
  const size_t size = (size_t)(ub_bundle_end - ub_bundle);
  const ub_status opened = ub_update_start(&update, storage, ub_bundle, size, &arena);
  for (size_t line = 0; line < board_line_count; line++) {
    start_line(line, &board, opened);
  }

  for (;;) {
    for (size_t line = 0; line < board_line_count; line++) {
      serve_line(line);
    }
    if (_stack_bottom[0] != PAINT) {
      send_text("\n#panic stack\n");
      board_reset();
    }
    if (board.alive != NULL) {
      board.alive(board.context);
    }
  }
}
