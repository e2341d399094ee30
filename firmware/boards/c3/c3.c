/* ESP32-C3 without an SDK. Registers as in Espressif's ESP32-C3 Technical Reference Manual and its SVD file. */
#include <string.h>

#include "../bare/board.h"
#include "registers.h"
#include "usb.h"

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

#define SPI0_CLOCK REGISTER(0x60003014) /* the cache's reads of flash */
#define SPI1_CLOCK REGISTER(0x60002014) /* the ROM's commands to it */
#define SPI_CLK_EQU_SYSCLK BIT(31)
#define SPI_CLK_HALF (1u << 16 | 1u) /* period 2, high for 1 */

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

#define SYSTIMER_CONF REGISTER(0x60023000)
#define SYSTIMER_UNIT0_WORK BIT(30)
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
#ifndef UB_BAUD
#define UB_BAUD 115200 /* of UART0; `python -m host --baud` must be the same */
#endif
#ifndef UB_WEIGHTS_IN_SRAM
#define UB_WEIGHTS_IN_SRAM 1 /* 0: they are read from flash, and the SRAM is left free */
#endif
#define UART_FIFO_BYTES 128u
#define WATCHDOG_MS 3000u /* a sentence takes milliseconds, a whole reply on the line 140 */

static enum { CLOCK_NONE, CLOCK_SYSTIMER, CLOCK_MCYCLE } clock_source;
static uint32_t cpu_hz;

/* ---- Clocks ---- */

/* Runs from RAM: between its two writes the flash would be read with a clock that it was not set up for.
 * With the PLL the flash controller's clock doubles, from 40 to 80 MHz; if the ROM left its divider at 1, 2 keeps what
 * the flash is known to work with. */
__attribute__((section(".hot"), noinline)) static void switch_to_pll(void) {
  if (SPI0_CLOCK & SPI_CLK_EQU_SYSCLK) {
    SPI0_CLOCK = SPI_CLK_HALF;
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
  static uint64_t last; /* stands while the timer does not answer: it never steps back */
  if (clock_source == CLOCK_MCYCLE) {
    last = read_mcycle() / (cpu_hz / 1000000u);
  } else if (clock_source == CLOCK_SYSTIMER && latch_systimer()) {
    const uint32_t high = SYSTIMER_UNIT0_HI;
    last = ((uint64_t)high << 32 | SYSTIMER_UNIT0_LO) / SYSTIMER_PER_MICROSECOND;
  }
  return last;
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
  const uint32_t divider = (XTAL_HZ << 4) / UB_BAUD; /* in 1/16 */
  _Static_assert(UB_BAUD >= 9800 && UB_BAUD <= 5000000, "beyond what the divider can do");
  const uint32_t gates = 0xFu << 22 & ~BIT(23);   /* clocks on: core, transmitter, receiver */
  UART_CLK_CONF = gates | 3u << 20;               /* the crystal, divided by 1 */
  UART_CLKDIV = (divider & 0xF) << 20 | divider >> 4;
  update_uart();
}

static size_t receive_uart(uint8_t bytes[BOARD_RECEIVE_BYTES], bool *lost) {
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

static void write_uart(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  for (size_t i = 0; i < length; i++) {
    while ((UART_STATUS >> 16 & 0x3FF) >= UART_FIFO_BYTES - 2) { /* ends, or the watchdog does */
    }
    UART_FIFO = bytes[i];
  }
}

/* ---- The chip's own USB port ---- */

static size_t receive_usb(uint8_t bytes[BOARD_RECEIVE_BYTES], bool *lost) {
  (void)lost; /* none is: the host waits */
  return usb_receive(bytes, BOARD_RECEIVE_BYTES);
}

static void write_usb(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  usb_write(bytes, length, microseconds);
}

const board_line board_lines[] = {
    {.receive = receive_uart, .write = write_uart},
    {.receive = receive_usb, .write = write_usb},
};
const size_t board_line_count = sizeof board_lines / sizeof *board_lines;
_Static_assert(sizeof board_lines / sizeof *board_lines <= BOARD_MOST_LINES, "each has a session");

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

/* ---- Flash, through the ROM's driver (ESP-IDF: esp_rom/esp32c3/ld/esp32c3.rom.ld, esp_rom_spiflash.h) ---- */

typedef int32_t rom_erase_sector(uint32_t sector);                                /* 0: done */
typedef int32_t rom_write(uint32_t address, const uint32_t *words, int32_t bytes); /* 0: done */
typedef int32_t rom_config(uint32_t id, uint32_t bytes, uint32_t block, uint32_t sector, uint32_t page, uint32_t mask);
typedef uint32_t rom_suspend(void); /* the state to resume with */
typedef void rom_resume(uint32_t state);
typedef int32_t rom_invalidate(uint32_t address, uint32_t bytes);
#define ROM(type, address) ((type *)(uintptr_t)(address))
#define ROM_ERASE_SECTOR ROM(rom_erase_sector, 0x40000128)
#define ROM_WRITE ROM(rom_write, 0x4000012C)
#define ROM_CONFIG ROM(rom_config, 0x40000134)
#define ROM_CACHE_INVALIDATE ROM(rom_invalidate, 0x400004D4)
#define ROM_CACHE_SUSPEND ROM(rom_suspend, 0x40000524)
#define ROM_CACHE_RESUME ROM(rom_resume, 0x40000528)
#define ROM_FLASH_DATA REGISTER(0x3FCDFFF0) /* pointer to the variables of the ROM's driver; the chip's id is the first */

#define FLASH_BYTES (4u * 1024 * 1024) /* most that the ROM maps */
#define FLASH_BLOCK_BYTES (64u * 1024)

/* The cache's MMU maps pages of 64 KB, the same for both windows (ESP-IDF: soc/esp32c3, ext_mem_defs.h). */
#define MMU_PAGE_BYTES (64u * 1024)
#define MMU_ENTRY(page) REGISTER(0x600C5000 + 4 * (page))
#define MMU_INVALID BIT(8)

/* From the linker script: in the data window, and in SRAM what nothing else takes. */
extern const uint8_t _flash_start[], _slots[], _slots_end[];
extern uint8_t _free_start[], _free_end[];

static uint32_t flash_address(uint32_t slot, uint32_t offset) {
  const uint32_t slot_bytes = (uint32_t)(_slots_end - _slots) / 2;
  return (uint32_t)(_slots - _flash_start) + slot * slot_bytes + offset;
}

/* These run from RAM and take nothing from flash: while the ROM talks to the chip, the cache cannot. */

/* words == NULL: erases the block; else the words lie within one page. */
__attribute__((section(".hot"), noinline)) static bool change_flash(uint32_t address, const uint32_t *words,
                                                                    uint32_t bytes) {
  const uint32_t state = ROM_CACHE_SUSPEND();
  const bool done = words == NULL ? ROM_ERASE_SECTOR(address / UB_BLOCK_BYTES) == 0
                                  : ROM_WRITE(address, words, (int32_t)bytes) == 0;
  ROM_CACHE_RESUME(state);
  return done;
}

/* Maps a page anew, which holds slots and nothing else. */
__attribute__((section(".hot"), noinline)) static void remap(uint32_t page) {
  const uint32_t state = ROM_CACHE_SUSPEND();
  const uint32_t mapped = MMU_ENTRY(page);
  MMU_ENTRY(page) = MMU_INVALID;
  MMU_ENTRY(page) = mapped;
  ROM_CACHE_RESUME(state);
}

static bool is_seen(uint32_t address, const uint32_t *words, uint32_t bytes) {
  const uint8_t *mapped = _flash_start + address;
  for (uint32_t i = 0; words == NULL && i < bytes; i++) {
    if (mapped[i] != 0xFF) {
      return false;
    }
  }
  return words == NULL || memcmp(mapped, words, bytes) == 0;
}

/* Changes flash, and lets the cache forget what it has of the block or page. The chip shows the change at once; QEMU
 * reads flash when it is mapped, and writes it a little later than the ROM believes. */
static bool change(uint32_t address, const uint32_t *words, uint32_t bytes) {
  const uint32_t unit = words == NULL ? UB_BLOCK_BYTES : UB_CHUNK_BYTES;
  bool seen = false;
  feed_watchdog(NULL);
  if (!change_flash(address, words, bytes)) {
    return false;
  }
  for (uint32_t turn = 0; turn < 1000 && !seen; turn++) {
    remap(address / MMU_PAGE_BYTES);
    ROM_CACHE_INVALIDATE((uint32_t)(uintptr_t)_flash_start + (address & ~(unit - 1)), unit);
    seen = is_seen(address, words, bytes);
  }
  return seen;
}

static bool erase(void *context, uint32_t slot, uint32_t offset) {
  (void)context;
  return change(flash_address(slot, offset), NULL, UB_BLOCK_BYTES);
}

static bool program(void *context, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t length) {
  (void)context;
  uint32_t words[UB_CHUNK_BYTES / 4]; /* in RAM, wherever the bytes are */
  memcpy(words, bytes, length);
  return change(flash_address(slot, offset), words, length);
}

/* The simulator has no ROM, so that the pointer is 0 there. */
static const ub_storage *start_flash(void) {
  static ub_storage storage = {.erase = erase, .program = program};
  const uint32_t slot_bytes = (uint32_t)(_slots_end - _slots) / 2;
  if (ROM_FLASH_DATA == 0 ||
      ROM_CONFIG(REGISTER(ROM_FLASH_DATA), FLASH_BYTES, FLASH_BLOCK_BYTES, UB_BLOCK_BYTES, UB_CHUNK_BYTES, 0xFFFF) != 0) {
    return NULL;
  }
  if (SPI1_CLOCK & SPI_CLK_EQU_SYSCLK) {
    SPI1_CLOCK = SPI_CLK_HALF; /* as in switch_to_pll() */
  }
  storage.slot_bytes = slot_bytes;
  storage.slots[0] = _slots;
  storage.slots[1] = _slots + slot_bytes;
  return &storage;
}

const ub_storage *board_start(ub_board *board, ub_arena *arena) {
  if (UB_WEIGHTS_IN_SRAM) {
    arena->weights = _free_start;
    arena->weight_bytes = (uint32_t)(_free_end - _free_start);
  }
  cpu_hz = start_clock();
  start_watchdog();
  start_uart();
  SYSTIMER_CONF |= SYSTIMER_UNIT0_WORK; /* the chip's default; QEMU wants to be told */
  clock_source = latch_systimer() ? CLOCK_SYSTIMER : has_mcycle() ? CLOCK_MCYCLE : CLOCK_NONE;
  board->name = "c3";
  board->reset = reset_reason();
  board->hz = cpu_hz;
  board->microseconds = microseconds;
  board->alive = feed_watchdog;
  return start_flash();
}
