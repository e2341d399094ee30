/* A serial line on which the agent speaks its protocol. */
#ifndef UTTERBIT_IDF_CONSOLE_H
#define UTTERBIT_IDF_CONSOLE_H

#include "protocol.h"
#include "soc/soc_caps.h"

typedef struct {
  void (*write)(void *context, const uint8_t *bytes, size_t length); /* as ub_board's */
  /* Waits for bytes and returns how many there are, at most `size`. Sets *lost if bytes after those were lost. */
  size_t (*read)(uint8_t *bytes, size_t size, bool *lost);
} console;

/* UART0 at CONFIG_ESP_CONSOLE_UART_BAUDRATE, on the pins of the chip's boot log. */
const console *uart_console(void);

#if SOC_USB_SERIAL_JTAG_SUPPORTED
/* The chip's own USB port. */
const console *usb_console(void);
#endif

#endif
