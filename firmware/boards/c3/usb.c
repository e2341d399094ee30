/* ESP32-C3 Technical Reference Manual, chapter USB Serial/JTAG Controller. Two FIFOs of 64 bytes, a packet each; the ROM
 * has left the controller on. */
#include "usb.h"

#include <stdbool.h>

#ifndef USB_READ /* tests have others */
#define USB_READ(offset) (*(volatile uint32_t *)(uintptr_t)(0x60043000 + (offset)))
#define USB_WRITE(offset, value) ((void)(USB_READ(offset) = (value)))
#endif

#define USB_FIFO 0x00
#define USB_CONF 0x04
#define USB_WR_DONE (1u << 0)
#define USB_IN_FREE (1u << 1)
#define USB_OUT_AVAILABLE (1u << 2)
#define USB_PACKET_BYTES 64u

#define MOST_TURNS 1000000u /* should the clock stand */

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
  for (uint32_t turn = 0; turn < MOST_TURNS; turn++) {
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

void usb_write(const uint8_t *bytes, size_t length, uint64_t (*microseconds)(void *context)) {
  size_t sent = 0;
  if (cut && has_room(microseconds)) {
    USB_WRITE(USB_FIFO, '\n');
    cut = false;
    sent++;
  }
  for (size_t i = 0; i < length && !cut; i++) {
    cut = !has_room(microseconds);
    if (!cut) {
      USB_WRITE(USB_FIFO, bytes[i]);
      sent++;
    }
  }
  if (sent % USB_PACKET_BYTES != 0) {
    USB_WRITE(USB_CONF, USB_WR_DONE);
  } else if (sent != 0 && !cut && has_room(microseconds)) {
    USB_WRITE(USB_CONF, USB_WR_DONE); /* an empty packet: without a short one the host waits for more */
  }
}
