#include "agent_task.h"

#include <string.h>

#include "esp_task_wdt.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#define IDLE_TICKS pdMS_TO_TICKS(500) /* between two feeds of the watchdog while there is nothing to do */

extern const uint8_t ub_bundle[], ub_bundle_end[]; /* bundle.S */

static ub_arena arena;
static _Alignas(16) uint8_t weights[CONFIG_UTTERBIT_WEIGHT_BYTES];
static ub_update update;
static ub_status opened;

static StackType_t stack[CONFIG_UTTERBIT_TASK_STACK / sizeof(StackType_t)];
static StaticTask_t control_block;
static TaskHandle_t task;
static bool watched; /* by the task watchdog, unless the firmware goes without it */

static StaticSemaphore_t turn_buffer, done_buffer;
static SemaphoreHandle_t turn; /* held by whoever has given the task a job */
static SemaphoreHandle_t done;

static struct {
  void (*work)(void *context);
  void *context;
} job;

static void serve(void *unused) {
  (void)unused;
  watched = esp_task_wdt_add(NULL) == ESP_OK;
  for (;;) {
    if (ulTaskNotifyTake(pdTRUE, IDLE_TICKS) != 0) {
      job.work(job.context);
      xSemaphoreGive(done);
    }
    agent_alive(NULL);
  }
}

void agent_alive(void *context) {
  (void)context;
  if (watched) {
    esp_task_wdt_reset();
  }
}

void agent_run(void (*work)(void *context), void *context) {
  if (xTaskGetCurrentTaskHandle() == task) {
    work(context);
    return;
  }
  xSemaphoreTake(turn, portMAX_DELAY);
  job.work = work;
  job.context = context;
  xTaskNotifyGive(task);
  xSemaphoreTake(done, portMAX_DELAY);
  xSemaphoreGive(turn);
}

static void open_agent(void *storage) {
  arena.weights = weights;
  arena.weight_bytes = sizeof weights;
  opened = ub_update_start(&update, storage, ub_bundle, (size_t)(ub_bundle_end - ub_bundle), &arena);
}

ub_status agent_start(const ub_storage *storage) {
  turn = xSemaphoreCreateMutexStatic(&turn_buffer);
  done = xSemaphoreCreateBinaryStatic(&done_buffer);
  task = xTaskCreateStaticPinnedToCore(serve, "utterbit", sizeof stack / sizeof *stack, NULL,
                                       CONFIG_UTTERBIT_TASK_PRIORITY, stack, &control_block, CONFIG_UTTERBIT_TASK_CORE);
  agent_run(open_agent, (void *)(uintptr_t)storage);
  return opened;
}

typedef struct {
  const char *text;
  ub_answer *answer;
  ub_status status;
} parse_call;

static void parse(void *context) {
  parse_call *const call = context;
  call->status =
      update.agent == NULL ? opened : ub_parse(update.agent, (const uint8_t *)call->text, strlen(call->text), call->answer);
}

ub_status agent_parse(const char *text, ub_answer *answer) {
  if (strnlen(text, UB_MAX_TEXT + 1) > UB_MAX_TEXT) {
    return UB_ERROR_WORDS;
  }
  parse_call call = {.text = text, .answer = answer};
  agent_run(parse, &call);
  return call.status;
}

typedef struct {
  const ub_answer *answer;
  const char *name;
  bool understood;
  const ub_slot *slot;
} name_call;

static bool is(ub_view view, const char *name) {
  return view.length == strlen(name) && memcmp(view.bytes, name, view.length) == 0;
}

static void compare_intent(void *context) {
  name_call *const call = context;
  call->understood = update.agent != NULL && call->answer->accepted &&
                     is(ub_intent_name(update.agent, call->answer->intent), call->name);
}

bool agent_understood(const ub_answer *answer, const char *intent) {
  name_call call = {.answer = answer, .name = intent};
  agent_run(compare_intent, &call);
  return call.understood;
}

static void find_slot(void *context) {
  name_call *const call = context;
  for (uint32_t i = 0; update.agent != NULL && i < call->answer->slot_count && call->slot == NULL; i++) {
    if (is(ub_slot_name(update.agent, call->answer->slots[i].slot), call->name)) {
      call->slot = &call->answer->slots[i];
    }
  }
}

const ub_slot *agent_slot(const ub_answer *answer, const char *slot) {
  name_call call = {.answer = answer, .name = slot};
  agent_run(find_slot, &call);
  return call.slot;
}

ub_update *agent_update(void) { return &update; }

uint32_t agent_stack(void *context) {
  (void)context;
  return (uint32_t)(sizeof stack - uxTaskGetStackHighWaterMark(task) * sizeof *stack);
}
