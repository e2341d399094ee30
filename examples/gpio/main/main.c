/* Commands typed into the console switch a light: "turn on the light", "lights off please", "dim the lamp to 0". The agent
 * computes in its own task on core 0; this is the application's, on the other core if the chip has two. */
#include <stdio.h>
#include <stdlib.h>

#include "agent_task.h"
#include "driver/gpio.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#define LIGHT GPIO_NUM_2
#define APPLICATION_STACK 4096
#define APPLICATION_PRIORITY 1

static void shine(int percent) {
  gpio_set_level(LIGHT, percent > 0);
  printf("%d %%\n", percent);
}

static void obey(const char *sentence) {
  ub_answer answer;
  char number[UB_NUMBER_CHARS];
  const ub_status status = agent_parse(sentence, &answer);
  if (status != UB_OK) {
    printf("%s\n", ub_status_text(status));
    return;
  }
  const bool light = agent_implies(&answer, "domain", "light"); /* "open the door" is a HassTurnOn, too */
  const char *const brightness = agent_value(sentence, &answer, "brightness", number);
  if (light && agent_understood(&answer, "HassTurnOn")) {
    shine(100);
  } else if (light && agent_understood(&answer, "HassTurnOff")) {
    shine(0);
  } else if (light && brightness != NULL && agent_understood(&answer, "HassLightSet")) {
    shine(atoi(brightness));
  } else {
    printf("pardon?\n");
  }
}

/* Waits for a line, without its end. */
static void read_line(char *line, size_t size) {
  size_t length = 0;
  for (;;) {
    const int byte = getchar();
    if (byte == EOF) {
      vTaskDelay(1);
    } else if (byte == '\n' || byte == '\r') {
      line[length] = '\0';
      return;
    } else if (length + 1 < size) {
      line[length++] = (char)byte;
    }
  }
}

static void application(void *unused) {
  (void)unused;
  for (;;) {
    static char line[UB_MAX_TEXT + 2]; /* one more than there may be: what was cut is refused as too long */
    read_line(line, sizeof line);
    if (line[0] != '\0') {
      obey(line);
    }
  }
}

void app_main(void) {
  gpio_reset_pin(LIGHT);
  gpio_set_direction(LIGHT, GPIO_MODE_OUTPUT);
  const ub_status opened = agent_start(NULL);
  if (opened != UB_OK) {
    printf("%s\n", ub_status_text(opened));
  }
  xTaskCreatePinnedToCore(application, "application", APPLICATION_STACK, NULL, APPLICATION_PRIORITY, NULL,
                          portNUM_PROCESSORS - 1);
}
