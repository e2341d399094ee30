/* ESP32-C3 Technical Reference Manual, chapter USB Serial/JTAG Controller. Two FIFOs of 64 bytes, a packet each; the ROM
 * has left the controller on. */
#include "usb.h"

#include <stdbool.h>

#include "registers.h"

#ifndef USB_READ /* tests have others */
#define USB_READ(offset) REGISTER(0x60043000 + (offset))
#define USB_WRITE(offset, value) ((void)(USB_READ(offset) = (value)))
#endif

#define USB_FIFO 0x00
#define USB_CONF 0x04
#define USB_WR_DONE BIT(0)
#define USB_IN_FREE BIT(1)
#define USB_OUT_AVAILABLE BIT(2)
#define USB_PACKET_BYTES 64u

static uint64_t took_us; /* when the host last made room */
static bool cut;         /* a reply lacks its end */

size_t usb_receive(uint8_t *bytes, size_t size) {
  size_t length = 0;
  while (length < size && (USB_READ(USB_CONF) & USB_OUT_AVAILABLE)) {
    bytes[length++] = (uint8_t)USB_READ(USB_FIFO);
  }
  return length;
}

static bool has_room(uint64_t (*microseconds)(void *context)) {
  for (uint32_t turn = 0; turn < PATIENCE; turn++) { /* should the clock stand */
    const uint64_t now = microseconds(NULL);
    if (USB_READ(USB_CONF) & USB_IN_FREE) {
      took_us = now;
      return true;
    }
    if (now - took_us > USB_PATIENCE_US) {
      break;
    }
  }
  return false;
}

static bool put(uint8_t byte, uint64_t (*microseconds)(void *context)) {
  if (!has_room(microseconds)) {
    return false;
  }
  USB_WRITE(USB_FIFO, byte);
  return true;
}

void usb_write(const uint8_t *bytes, size_t length, uint64_t (*microseconds)(void *context)) {
  size_t sent = cut && put('\n', microseconds) ? 1 : 0;
  cut = cut && sent == 0;
  for (size_t i = 0; i < length && !cut; i++) {
    cut = !put(bytes[i], microseconds);
    sent += !cut;
  }
  const bool full = sent % USB_PACKET_BYTES == 0; /* without a short packet, be it empty, the host waits for more */
  if (!full || (sent != 0 && !cut && has_room(microseconds))) {
    USB_WRITE(USB_CONF, USB_WR_DONE);
  }
}
