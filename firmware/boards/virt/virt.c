/* QEMU's virt machine: a 16550 UART, and a clock that counts instructions.
 *   qemu-system-riscv32 -M virt -bios none -nographic -monitor none -serial stdio -icount shift=0 -kernel firmware.elf */
#include "../bare/board.h"

#define UART(offset) (*(volatile uint8_t *)(uintptr_t)(0x10000000 + (offset)))
#define UART_DATA UART(0)
#define UART_LINE_STATUS UART(5)
#define UART_RECEIVED 0x01
#define UART_OVERRUN 0x02
#define UART_ROOM 0x20

#define TEST_FINISHER (*(volatile uint32_t *)(uintptr_t)0x100000)
#define TEST_RESET 0x7777

/* One instruction a cycle at the C3's clock, as in its simulator. */
#define INSTRUCTIONS_PER_MICROSECOND 160u

static uint64_t microseconds(void *context) {
  uint32_t high, low, again;
  (void)context;
  do {
    __asm__ volatile("csrr %0, minstreth" : "=r"(high));
    __asm__ volatile("csrr %0, minstret" : "=r"(low));
    __asm__ volatile("csrr %0, minstreth" : "=r"(again));
  } while (high != again);
  return ((uint64_t)high << 32 | low) / INSTRUCTIONS_PER_MICROSECOND;
}

static size_t receive(uint8_t bytes[BOARD_RECEIVE_BYTES], bool *lost) {
  size_t length = 0;
  uint8_t status = UART_LINE_STATUS;
  for (; length < BOARD_RECEIVE_BYTES && (status & UART_RECEIVED); status = UART_LINE_STATUS) {
    *lost = *lost || (status & UART_OVERRUN);
    bytes[length++] = UART_DATA;
  }
  *lost = *lost || (status & UART_OVERRUN);
  return length;
}

static void write(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  for (size_t i = 0; i < length; i++) {
    while (!(UART_LINE_STATUS & UART_ROOM)) {
    }
    UART_DATA = bytes[i];
  }
}

const board_line board_lines[] = {{.receive = receive, .write = write}};
const size_t board_line_count = 1;

void board_reset(void) {
  TEST_FINISHER = TEST_RESET;
  for (;;) {
  }
}

const ub_storage *board_start(ub_board *board, ub_arena *arena) {
  (void)arena;
  board->name = "virt";
  board->reset = "unknown";
  board->hz = INSTRUCTIONS_PER_MICROSECOND * 1000000u;
  board->microseconds = microseconds;
  return NULL;
}
