/* What a board without an SDK gives to bare/main.c. */
#ifndef UTTERBIT_BARE_BOARD_H
#define UTTERBIT_BARE_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

#define BOARD_RECEIVE_BYTES 128

/* Sets up clocks, watchdog and UART, and fills in name, reset, hz, microseconds and alive, and where the weights may be
 * held. Returns where another agent can be kept, or NULL. */
const ub_storage *board_start(ub_board *board, ub_arena *arena);

/* Takes what the UART has received. Sets *lost if bytes after those have been lost. Does not wait. */
size_t board_receive(uint8_t bytes[BOARD_RECEIVE_BYTES], bool *lost);

/* Sends a byte, waiting for room in the UART. */
void board_send(uint8_t byte);

/* Waits until all is sent, then restarts the board. */
_Noreturn void board_reset(void);

/* start.S: whether the core has the counters mcycle and mcycleh. */
bool has_mcycle(void);

#endif
