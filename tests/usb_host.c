/* firmware/boards/c3/usb.c on a USB Serial/JTAG controller as Espressif's reference manual describes it, and a host that
 * takes a packet now and then. A look at a register takes a microsecond. */
#include <stdint.h>
#include <string.h>

static uint32_t usb_read(uint32_t offset);
static void usb_written(uint32_t offset, uint32_t value);
#define USB_READ(offset) usb_read(offset)
#define USB_WRITE(offset, value) usb_written(offset, value)
#include "../firmware/boards/c3/usb.c"

#define MOST 8192

uint64_t now;
uint32_t polls_us; /* between two packets that the host takes; 0: there is none */
int clock_stands;
uint8_t delivered[MOST]; /* to a program on the host: what ended with a packet that was not full */
size_t delivered_length;

static uint8_t taken[MOST], packet[USB_PACKET_BYTES], said[MOST];
static size_t taken_length, packet_length, said_length, said_read;
static int ready; /* the packet waits for the host */
static uint64_t next_poll;

void plug(uint32_t polls) {
  polls_us = polls;
  next_poll = now + polls;
}

void host_says(const uint8_t *bytes, size_t length) {
  memcpy(said + said_length, bytes, length);
  said_length += length;
}

void wait_us(uint32_t us) {
  for (now += us; polls_us != 0 && ready && now >= next_poll; next_poll = now + polls_us) {
    memcpy(taken + taken_length, packet, packet_length);
    taken_length += packet_length;
    if (packet_length < USB_PACKET_BYTES) memcpy(delivered, taken, delivered_length = taken_length);
    ready = 0;
    packet_length = 0;
  }
}

static uint32_t usb_read(uint32_t offset) {
  wait_us(1);
  if (offset == USB_FIFO) {
    if (said_read == said_length) __builtin_trap();
    return said[said_read++];
  }
  return (ready ? 0 : USB_IN_FREE) | (said_read < said_length ? USB_OUT_AVAILABLE : 0);
}

static void usb_written(uint32_t offset, uint32_t value) {
  if (offset == USB_FIFO) {
    if (ready || value > 0xFF) __builtin_trap(); /* the byte would be lost */
    packet[packet_length++] = (uint8_t)value;
    ready = packet_length == USB_PACKET_BYTES;
  } else if (value == USB_WR_DONE) {
    ready = 1;
  }
}

static uint64_t clock_us(void *context) {
  (void)context;
  return clock_stands ? 0 : now;
}

void send_reply(const uint8_t *bytes, size_t length) { usb_write(bytes, length, clock_us); }

size_t receive(uint8_t *bytes, size_t size) { return usb_receive(bytes, size); }
