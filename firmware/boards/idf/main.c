/* The agent under ESP-IDF: its task, and for each serial line a session and a small task that waits for bytes. */
#include "agent_task.h"
#include "console.h"
#include "esp_clk_tree.h"
#include "esp_err.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "protocol.h"
#include "sdkconfig.h"
#include "slots.h"

#define READER_STACK_BYTES 2560
#define READER_PRIORITY CONFIG_UTTERBIT_TASK_PRIORITY /* interrupts take the bytes while the agent computes */
#define READ_BYTES 128

void app_main(void);

typedef struct {
  const console *line;
  ub_board board;
  ub_session session;
  StaticTask_t reader;
  StackType_t stack[READER_STACK_BYTES / sizeof(StackType_t)];
} connection;

typedef struct {
  connection *from;
  uint8_t bytes[READ_BYTES];
  size_t length;
  bool lost;
} received;

static ub_status opened;

static uint64_t microseconds(void *context) {
  (void)context;
  return (uint64_t)esp_timer_get_time();
}

static const char *reset_reason(void) {
  switch (esp_reset_reason()) {
    case ESP_RST_POWERON:
    case ESP_RST_EXT:
      return "power";
    case ESP_RST_SW:
      return "software";
    case ESP_RST_PANIC:
    case ESP_RST_CPU_LOCKUP:
      return "panic";
    case ESP_RST_INT_WDT:
    case ESP_RST_TASK_WDT:
    case ESP_RST_WDT:
      return "watchdog";
    case ESP_RST_BROWNOUT:
    case ESP_RST_PWR_GLITCH:
      return "brownout";
    case ESP_RST_USB:
      return "usb";
    default:
      return "unknown";
  }
}

static uint32_t processor_clock(void) {
  uint32_t hz = 0;
  const esp_err_t status = esp_clk_tree_src_get_freq_hz(SOC_MOD_CLK_CPU, ESP_CLK_TREE_SRC_FREQ_PRECISION_CACHED, &hz);
  return status == ESP_OK ? hz : 0;
}

static void start_session(void *context) {
  connection *const to = context;
  to->board = (ub_board){
      .name = CONFIG_IDF_TARGET,
      .reset = reset_reason(),
      .hz = processor_clock(),
      .write = to->line->write,
      .microseconds = microseconds,
      .stack = agent_stack,
      .alive = agent_alive,
      .update = agent_update(),
  };
  to->line->write(NULL, (const uint8_t *)"\n", 1); /* ends what the boot log or a reset within a reply left on the line */
  ub_session_start(&to->session, &to->board, agent_update()->agent, opened);
}

static void feed(void *context) {
  const received *const some = context;
  ub_session_feed(&some->from->session, some->bytes, some->length);
  if (some->lost) {
    ub_session_lost(&some->from->session);
  }
}

static void read_line(void *context) {
  received some = {.from = context};
  for (;;) {
    some.lost = false;
    some.length = some.from->line->read(some.bytes, sizeof some.bytes, &some.lost);
    agent_run(feed, &some);
  }
}

static void connect(connection *to, const console *line) {
  to->line = line;
  agent_run(start_session, to);
  xTaskCreateStaticPinnedToCore(read_line, "reader", sizeof to->stack / sizeof *to->stack, to, READER_PRIORITY, to->stack,
                                &to->reader, CONFIG_UTTERBIT_TASK_CORE);
}

void app_main(void) {
  opened = agent_start(agent_slots());
  static connection uart;
  connect(&uart, uart_console());
#if SOC_USB_SERIAL_JTAG_SUPPORTED
  static connection usb;
  connect(&usb, usb_console());
#endif
}
