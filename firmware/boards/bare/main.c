/* The agent on a board without an SDK: one loop from UART to UART. */
#include "../bundle.h"
#include "board.h"
#include "protocol.h"

#define PAINT 0xA5A5A5A5u /* as in start.S */

extern uint32_t _stack_bottom[], _stack_top[]; /* from the linker script */

int main(void);
void trap(uint32_t cause, uint32_t epc, uint32_t tval); /* called by start.S */

static ub_arena arena;
static ub_session session;
static ub_update update;

static void write(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  for (size_t i = 0; i < length; i++) {
    board_send(bytes[i]);
  }
}

static uint32_t stack_used(void *context) {
  (void)context;
  const uint32_t *word = _stack_bottom;
  while (word < _stack_top && *word == PAINT) {
    word++;
  }
  return (uint32_t)((uintptr_t)_stack_top - (uintptr_t)word);
}

static void send_text(const char *text) {
  while (*text != '\0') {
    board_send((uint8_t)*text++);
  }
}

static void send_hex(const char *name, uint32_t number) {
  send_text(name);
  for (int shift = 28; shift >= 0; shift -= 4) {
    board_send((uint8_t)"0123456789ABCDEF"[(number >> shift) & 0xF]);
  }
}

void trap(uint32_t cause, uint32_t epc, uint32_t tval) {
  send_hex("\n#panic cause=", cause);
  send_hex(" epc=", epc);
  send_hex(" tval=", tval);
  send_text("\n");
  board_reset();
}

int main(void) {
  static ub_board board = {.write = write, .stack = stack_used, .update = &update};
  const ub_storage *storage = board_start(&board, &arena);
  send_text("\n"); /* ends what the boot log or a reset within a reply left on the line */
  const size_t size = (size_t)(ub_bundle_end - ub_bundle);
  const ub_status opened = ub_update_start(&update, storage, ub_bundle, size, &arena);
  ub_session_start(&session, &board, update.agent, opened);

  for (;;) {
    static uint8_t bytes[BOARD_RECEIVE_BYTES];
    bool lost = false;
    size_t length = board_receive(bytes, &lost);
    ub_session_feed(&session, bytes, length);
    if (lost) {
      ub_session_lost(&session);
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
