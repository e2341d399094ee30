#include "console.h"

#if SOC_USB_SERIAL_JTAG_SUPPORTED

#include "driver/usb_serial_jtag.h"
#include "esp_err.h"
#include "freertos/FreeRTOS.h"

#define RECEIVE_BYTES 2048
#define SEND_BYTES 4096
#define PATIENCE pdMS_TO_TICKS(100) /* with a host that does not read; then the reply is dropped whole */

static void write_all(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  if (usb_serial_jtag_is_connected()) {
    usb_serial_jtag_write_bytes(bytes, length, PATIENCE);
  }
}

static size_t read_some(uint8_t *bytes, size_t size, bool *lost) {
  (void)lost; /* the driver does not tell; the request's CRC does */
  const int length = usb_serial_jtag_read_bytes(bytes, size, portMAX_DELAY);
  return length > 0 ? (size_t)length : 0;
}

const console *usb_console(void) {
  static const console usb = {.write = write_all, .read = read_some};
  usb_serial_jtag_driver_config_t config = {.tx_buffer_size = SEND_BYTES, .rx_buffer_size = RECEIVE_BYTES};
  ESP_ERROR_CHECK(usb_serial_jtag_driver_install(&config));
  return &usb;
}

#endif
