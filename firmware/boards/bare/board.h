/* What a board without an SDK gives to bare/main.c. */
#ifndef UTTERBIT_BARE_BOARD_H
#define UTTERBIT_BARE_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

#define BOARD_RECEIVE_BYTES 128
#define BOARD_MOST_LINES 2

/* A serial line. */
typedef struct {
  /* Takes what has been received. Sets *lost if bytes after those have been lost. Does not wait. */
  size_t (*receive)(uint8_t bytes[BOARD_RECEIVE_BYTES], bool *lost);
  /* Sends, waiting for room, as long as there is hope that the other side reads. */
  void (*write)(void *context, const uint8_t *bytes, size_t length);
} board_line;

/* Those of the board, BOARD_MOST_LINES at most. */
extern const board_line board_lines[];
extern const size_t board_line_count;

/* Sets up clocks, watchdog and lines, and fills in name, reset, hz, microseconds and alive, and where the weights may be
 * held. Returns where another agent can be kept, or NULL. */
const ub_storage *board_start(ub_board *board, ub_arena *arena);

/* Waits until all is sent, then restarts the board. */
_Noreturn void board_reset(void);

/* start.S: whether the core has the counters mcycle and mcycleh. */
bool has_mcycle(void);

#endif
