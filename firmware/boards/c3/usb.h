/* The serial line that the ESP32-C3 itself is on USB ("USB Serial/JTAG"), polled. */
#ifndef UTTERBIT_C3_USB_H
#define UTTERBIT_C3_USB_H

#include <stddef.h>
#include <stdint.h>

/* Takes what has been received, at most `size` bytes. Does not wait: what is not taken keeps the host waiting. */
size_t usb_receive(uint8_t *bytes, size_t size);

/* Sends a reply. A host that has taken nothing for USB_PATIENCE_US loses the rest of it, and all of the next ones, until it
 * reads again; what it gets then begins on a line of its own. microseconds: since the start; never steps back. */
void usb_write(const uint8_t *bytes, size_t length, uint64_t (*microseconds)(void *context));

#define USB_PATIENCE_US 50000u

#endif
