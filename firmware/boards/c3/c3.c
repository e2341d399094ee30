/* ESP32-C3 without an SDK. Registers as in Espressif's ESP32-C3 Technical Reference Manual and its SVD file. */
#include "../bare/board.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define BIT(n) (1u << (n))

#define UART_FIFO REGISTER(0x60000000)
#define UART_INT_RAW REGISTER(0x60000004)
#define UART_INT_CLR REGISTER(0x60000010)
#define UART_RXFIFO_OVF BIT(4)
#define UART_CLKDIV REGISTER(0x60000014)
#define UART_STATUS REGISTER(0x6000001C)
#define UART_CONF0 REGISTER(0x60000020)
#define UART_RXFIFO_RST BIT(17)
#define UART_FSM_STATUS REGISTER(0x6000006C)
#define UART_CLK_CONF REGISTER(0x60000078)
#define UART_ID REGISTER(0x60000080)
#define UART_REG_UPDATE BIT(31)

#define SPI0_CLOCK REGISTER(0x60003014)
#define SPI0_CLK_EQU_SYSCLK BIT(31)

#define RTC_OPTIONS0 REGISTER(0x60008000)
#define RTC_BBPLL_FORCE_PD BIT(10)
#define RTC_SW_SYS_RST BIT(31)
#define RTC_RESET_STATE REGISTER(0x60008038)
#define RTC_WDTCONFIG0 REGISTER(0x60008090)
#define RTC_WDTWPROTECT REGISTER(0x600080A8)
#define RTC_SWD_CONF REGISTER(0x600080AC)
#define RTC_SWD_AUTO_FEED_EN BIT(31)
#define RTC_SWD_WPROTECT REGISTER(0x600080B0)

#define TIMG0_WDTCONFIG0 REGISTER(0x6001F048)
#define TIMG0_WDTCONFIG1 REGISTER(0x6001F04C)
#define TIMG0_WDTCONFIG2 REGISTER(0x6001F050)
#define TIMG0_WDTFEED REGISTER(0x6001F060)
#define TIMG0_WDTWPROTECT REGISTER(0x6001F064)
#define TIMG1_WDTCONFIG0 REGISTER(0x60020048)
#define TIMG1_WDTWPROTECT REGISTER(0x60020064)
#define TIMG_WDT_EN BIT(31)
#define TIMG_WDT_STAGE0_SYSTEM_RESET (3u << 29)
#define TIMG_WDT_CONF_UPDATE BIT(22)
#define TIMG_WDT_USE_XTAL BIT(21)
#define TIMG_WDT_RESET_LENGTHS (7u << 18 | 7u << 15) /* 3.2 us, for core and system */

#define SYSTIMER_UNIT0_OP REGISTER(0x60023004)
#define SYSTIMER_UPDATE BIT(30)
#define SYSTIMER_VALID BIT(29)
#define SYSTIMER_UNIT0_HI REGISTER(0x60023040)
#define SYSTIMER_UNIT0_LO REGISTER(0x60023044)
#define SYSTIMER_PER_MICROSECOND 16

#define SYSTEM_CPU_PER_CONF REGISTER(0x600C0008)
#define SYSTEM_CPU_PER_MASK 7u
#define SYSTEM_PLL_480_CPU_160 5u
#define SYSTEM_SYSCLK_CONF REGISTER(0x600C0058)
#define SYSTEM_SOC_CLK_MASK (3u << 10)
#define SYSTEM_SOC_CLK_PLL (1u << 10)
#define SYSTEM_PRE_DIV_MASK 0x3FFu

#define WDT_KEY 0x50D83AA1u
#define SWD_KEY 0x8F1D312Au

#define XTAL_HZ 40000000u
#define PLL_CPU_HZ 160000000u
#define BAUD 115200u
#define UART_FIFO_BYTES 128u
#define WATCHDOG_MS 3000u /* a sentence takes milliseconds, a whole reply on the line 140 */

/* Most turns of any loop that waits for hardware; each takes some 10 cycles. */
#define PATIENCE 1000000u

static enum { CLOCK_NONE, CLOCK_SYSTIMER, CLOCK_MCYCLE } clock_source;
static uint32_t cpu_hz;

/* ---- Clocks ---- */

/* Runs from RAM: between its two writes the flash would be read with a clock that it was not set up for.
 * With the PLL the flash controller's clock doubles, from 40 to 80 MHz; if the ROM left its divider at 1, 2 keeps what
 * the flash is known to work with. */
__attribute__((section(".hot"), noinline)) static void switch_to_pll(void) {
  if (SPI0_CLOCK & SPI0_CLK_EQU_SYSCLK) {
    SPI0_CLOCK = 1u << 16 | 1u; /* period 2, high for 1 */
  }
  SYSTEM_CPU_PER_CONF = (SYSTEM_CPU_PER_CONF & ~SYSTEM_CPU_PER_MASK) | SYSTEM_PLL_480_CPU_160;
  SYSTEM_SYSCLK_CONF = (SYSTEM_SYSCLK_CONF & ~SYSTEM_SOC_CLK_MASK) | SYSTEM_SOC_CLK_PLL;
}

/* The ROM runs from the crystal, with the PLL on for USB. Returns the clock of the processor. */
static uint32_t start_clock(void) {
  if ((SYSTEM_SYSCLK_CONF & SYSTEM_SOC_CLK_MASK) == SYSTEM_SOC_CLK_PLL) {
    SYSTEM_CPU_PER_CONF = (SYSTEM_CPU_PER_CONF & ~SYSTEM_CPU_PER_MASK) | SYSTEM_PLL_480_CPU_160;
    return PLL_CPU_HZ;
  }
  if (RTC_OPTIONS0 & RTC_BBPLL_FORCE_PD) {
    return XTAL_HZ / ((SYSTEM_SYSCLK_CONF & SYSTEM_PRE_DIV_MASK) + 1);
  }
  switch_to_pll();
  return PLL_CPU_HZ;
}

static bool latch_systimer(void) {
  SYSTIMER_UNIT0_OP = SYSTIMER_UPDATE;
  for (uint32_t turn = 0; turn < 1000; turn++) {
    if (SYSTIMER_UNIT0_OP & SYSTIMER_VALID) {
      return true;
    }
  }
  return false;
}

static uint64_t read_mcycle(void) {
  uint32_t high, low, again;
  do {
    __asm__ volatile("csrr %0, mcycleh" : "=r"(high));
    __asm__ volatile("csrr %0, mcycle" : "=r"(low));
    __asm__ volatile("csrr %0, mcycleh" : "=r"(again));
  } while (high != again);
  return (uint64_t)high << 32 | low;
}

static uint64_t microseconds(void *context) {
  (void)context;
  if (clock_source == CLOCK_SYSTIMER && latch_systimer()) {
    uint32_t high = SYSTIMER_UNIT0_HI;
    return ((uint64_t)high << 32 | SYSTIMER_UNIT0_LO) / SYSTIMER_PER_MICROSECOND;
  }
  return clock_source == CLOCK_MCYCLE ? read_mcycle() / (cpu_hz / 1000000u) : 0;
}

/* ---- Watchdogs ---- */

/* Off go those that the ROM left on (RTC, TIMG1) or that resets without a sign (super); TIMG0's guards the main loop. */
static void start_watchdog(void) {
  RTC_WDTWPROTECT = WDT_KEY;
  RTC_WDTCONFIG0 = 0;
  RTC_WDTWPROTECT = 0;
  RTC_SWD_WPROTECT = SWD_KEY;
  RTC_SWD_CONF |= RTC_SWD_AUTO_FEED_EN;
  RTC_SWD_WPROTECT = 0;
  TIMG1_WDTWPROTECT = WDT_KEY;
  TIMG1_WDTCONFIG0 = 0;
  TIMG1_WDTWPROTECT = 0;

  TIMG0_WDTWPROTECT = WDT_KEY;
  TIMG0_WDTCONFIG0 = 0;
  TIMG0_WDTCONFIG1 = (XTAL_HZ / 1000u) << 16; /* prescaler: a tick is a millisecond */
  TIMG0_WDTCONFIG2 = WATCHDOG_MS;
  TIMG0_WDTFEED = 1;
  TIMG0_WDTCONFIG0 = TIMG_WDT_EN | TIMG_WDT_STAGE0_SYSTEM_RESET | TIMG_WDT_RESET_LENGTHS | TIMG_WDT_USE_XTAL |
                     TIMG_WDT_CONF_UPDATE;
  TIMG0_WDTWPROTECT = 0;
}

static void feed_watchdog(void *context) {
  (void)context;
  TIMG0_WDTWPROTECT = WDT_KEY;
  TIMG0_WDTFEED = 1;
  TIMG0_WDTWPROTECT = 0;
}

static const char *reset_reason(void) {
  switch (RTC_RESET_STATE & 0x3F) {
    case 1: /* power on */
      return "power";
    case 3: /* by software: here, after a panic */
      return "panic";
    case 7:
    case 8:
    case 9:
    case 11:
    case 13:
    case 16:
    case 17:
    case 18: /* TIMG0, TIMG1, RTC and super watchdogs, of system, core or chip */
      return "watchdog";
    case 15:
      return "brownout";
    case 21:
    case 22: /* USB-UART, USB-JTAG */
      return "usb";
    default:
      return "unknown";
  }
}

/* ---- UART0 ---- */

static void update_uart(void) {
  UART_ID |= UART_REG_UPDATE;
  for (uint32_t turn = 0; turn < PATIENCE && (UART_ID & UART_REG_UPDATE); turn++) {
  }
}

/* The ROM left it at 8N1, on the pins of UART0. Clocked by the crystal its baud rate does not depend on start_clock(). */
static void start_uart(void) {
  const uint32_t divider = (XTAL_HZ << 4) / BAUD; /* in 1/16 */
  const uint32_t gates = 0xFu << 22 & ~BIT(23);   /* clocks on: core, transmitter, receiver */
  UART_CLK_CONF = gates | 3u << 20;               /* the crystal, divided by 1 */
  UART_CLKDIV = (divider & 0xF) << 20 | divider >> 4;
  update_uart();
}

size_t board_receive(uint8_t bytes[BOARD_RECEIVE_BYTES], bool *lost) {
  if (UART_INT_RAW & UART_RXFIFO_OVF) {
    /* As ESP-IDF does: what an overflown FIFO holds is thrown away. */
    UART_CONF0 |= UART_RXFIFO_RST;
    update_uart();
    UART_CONF0 &= ~UART_RXFIFO_RST;
    update_uart();
    UART_INT_CLR = UART_RXFIFO_OVF;
    *lost = true;
    return 0;
  }
  size_t length = UART_STATUS & 0x3FF;
  if (length > BOARD_RECEIVE_BYTES) {
    length = BOARD_RECEIVE_BYTES;
  }
  for (size_t i = 0; i < length; i++) {
    bytes[i] = (uint8_t)UART_FIFO;
  }
  return length;
}

void board_send(uint8_t byte) {
  while ((UART_STATUS >> 16 & 0x3FF) >= UART_FIFO_BYTES - 2) { /* ends, or the watchdog does */
  }
  UART_FIFO = byte;
}

void board_reset(void) {
  extern void _start(void);
  for (uint32_t turn = 0; turn < PATIENCE; turn++) {
    bool sent = (UART_STATUS >> 16 & 0x3FF) == 0 && (UART_FSM_STATUS >> 4 & 0xF) == 0;
    if (sent) {
      break;
    }
  }
  RTC_OPTIONS0 |= RTC_SW_SYS_RST;
  for (volatile uint32_t turn = 0; turn < 1000; turn++) {
  }
  _start(); /* the simulator has no such reset */
  for (;;) {
  }
}

void board_start(ub_board *board) {
  cpu_hz = start_clock();
  start_watchdog();
  start_uart();
  clock_source = latch_systimer() ? CLOCK_SYSTIMER : has_mcycle() ? CLOCK_MCYCLE : CLOCK_NONE;
  board->name = "c3";
  board->reset = reset_reason();
  board->hz = cpu_hz;
  board->microseconds = microseconds;
  board->alive = feed_watchdog;
}
