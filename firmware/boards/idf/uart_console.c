#include "console.h"
#include "driver/uart.h"
#include "esp_err.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"
#include "sdkconfig.h"

#define PORT UART_NUM_0
#define RECEIVE_BYTES 2048 /* four requests */
#define SEND_BYTES 2048    /* a reply, so that the agent need not wait for the line */
#define EVENTS 32          /* if they do not do, one of lost bytes may be among those that the driver drops */

static QueueHandle_t events;

static void write_all(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  uart_write_bytes(PORT, bytes, length);
}

static size_t read_some(uint8_t *bytes, size_t size, bool *lost) {
  TickType_t patience = 0;
  for (;;) {
    uart_event_t event;
    *lost = *lost || uxQueueSpacesAvailable(events) == 0;
    for (; xQueueReceive(events, &event, patience); patience = 0) {
      *lost = *lost || event.type == UART_FIFO_OVF;
    }
    if (*lost) { /* nobody knows where the gap is in what was received: all of it goes */
      uart_flush_input(PORT);
      xQueueReset(events);
      return 0;
    }
    const int length = uart_read_bytes(PORT, bytes, size, 0);
    if (length > 0) {
      return (size_t)length;
    }
    patience = portMAX_DELAY;
  }
}

const console *uart_console(void) {
  static const console uart = {.write = write_all, .read = read_some};
  const uart_config_t config = {
      .baud_rate = CONFIG_ESP_CONSOLE_UART_BAUDRATE,
      .data_bits = UART_DATA_8_BITS,
      .parity = UART_PARITY_DISABLE,
      .stop_bits = UART_STOP_BITS_1,
      .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
      .source_clk = UART_SCLK_DEFAULT,
  };
  ESP_ERROR_CHECK(uart_driver_install(PORT, RECEIVE_BYTES, SEND_BYTES, EVENTS, &events, 0));
  ESP_ERROR_CHECK(uart_param_config(PORT, &config));
  return &uart;
}
