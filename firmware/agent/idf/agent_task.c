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
#if CONFIG_ESP_TASK_WDT_EN
static bool watched; /* by the task watchdog, unless it was not begun */
#endif

static StaticSemaphore_t turn_buffer, done_buffer;
static SemaphoreHandle_t turn; /* held by whoever has given the task a job */
static SemaphoreHandle_t done;

static struct {
  void (*work)(void *context);
  void *context;
} job;

static void serve(void *unused) {
  (void)unused;
#if CONFIG_ESP_TASK_WDT_EN
  watched = esp_task_wdt_add(NULL) == ESP_OK;
#endif
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
#if CONFIG_ESP_TASK_WDT_EN
  if (watched) {
    esp_task_wdt_reset();
  }
#endif
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
  const size_t length = strnlen(call->text, UB_MAX_TEXT + 1);
  call->status =
      update.agent == NULL ? opened : ub_parse(update.agent, (const uint8_t *)call->text, length, call->answer);
}

ub_status agent_parse(const char *text, ub_answer *answer) {
  answer->accepted = false; /* also if there is no agent */
  answer->slot_count = 0;
  parse_call call = {.text = text, .answer = answer};
  agent_run(parse, &call);
  return call.status;
}

typedef struct {
  const ub_answer *answer;
  const char *name, *value;
  bool holds;
  const ub_slot *slot;
} question;

static bool is_current(const ub_answer *answer) {
  return answer->accepted && update.agent != NULL && answer->agent == update.agent->crc32;
}

static bool is(ub_view view, const char *name) {
  return view.length == strlen(name) && memcmp(view.bytes, name, view.length) == 0;
}

static void compare_intent(void *context) {
  question *const q = context;
  q->holds = is_current(q->answer) && is(ub_intent_name(update.agent, q->answer->intent), q->name);
}

bool agent_understood(const ub_answer *answer, const char *intent) {
  question q = {.answer = answer, .name = intent};
  agent_run(compare_intent, &q);
  return q.holds;
}

/* Whether a JSON string begins here, and takes it. */
static bool take_string(ub_view *json, const char *string) {
  const uint32_t length = (uint32_t)strlen(string), whole = length + 2;
  if (json->length < whole || json->bytes[0] != '"' || memcmp(json->bytes + 1, string, length) != 0 ||
      json->bytes[whole - 1] != '"') {
    return false;
  }
  *json = (ub_view){json->bytes + whole, json->length - whole};
  return true;
}

static void find_implied(void *context) {
  question *const q = context;
  ub_view implied = {NULL, 0};
  if (is_current(q->answer)) {
    implied = ub_implied(update.agent, q->answer->klass);
  }
  for (; implied.length > 0 && !q->holds; implied = (ub_view){implied.bytes + 1, implied.length - 1}) {
    ub_view member = implied;
    if (take_string(&member, q->name) && member.length > 0 && member.bytes[0] == ':') {
      member = (ub_view){member.bytes + 1, member.length - 1};
      q->holds = take_string(&member, q->value);
    }
  }
}

bool agent_implies(const ub_answer *answer, const char *slot, const char *value) {
  question q = {.answer = answer, .name = slot, .value = value};
  agent_run(find_implied, &q);
  return q.holds;
}

static void find_slot(void *context) {
  question *const q = context;
  for (uint32_t i = 0; is_current(q->answer) && i < q->answer->slot_count && q->slot == NULL; i++) {
    if (is(ub_slot_name(update.agent, q->answer->slots[i].slot), q->name)) {
      q->slot = &q->answer->slots[i];
    }
  }
}

const ub_slot *agent_slot(const ub_answer *answer, const char *slot) {
  question q = {.answer = answer, .name = slot};
  agent_run(find_slot, &q);
  return q.slot;
}

const char *agent_value(const char *text, const ub_answer *answer, const char *slot, char number[UB_NUMBER_CHARS]) {
  const ub_slot *const found = agent_slot(answer, slot);
  if (found == NULL || found->value != NULL || found->number == UB_NONE) {
    return found == NULL ? NULL : found->value;
  }
  return ub_number_json((const uint8_t *)text, &answer->tokens[found->number], number) ? number : NULL;
}

ub_update *agent_update(void) { return &update; }

uint32_t agent_stack(void *context) {
  (void)context;
  return (uint32_t)(sizeof stack - uxTaskGetStackHighWaterMark(task) * sizeof *stack);
}
