/* Any bytes on the line, in pieces of any size, to a device without an agent: its replies are whole lines. */
#include <stdlib.h>
#include <string.h>

#include "protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t now;
static bool line_open;

static void check(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  for (size_t i = 0; i < length; i++) {
    if (!line_open && memchr("=!#\n", bytes[i], 4) == NULL) abort();
    line_open = bytes[i] != '\n';
  }
}

static uint64_t microseconds(void *context) {
  (void)context;
  return now++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static ub_session session;
  static const ub_board board = {.name = "fuzz", .reset = "unknown", .write = check, .microseconds = microseconds};
  line_open = false;
  ub_session_start(&session, &board, NULL, UB_ERROR_MAGIC);
  for (size_t at = 0; at < size;) {
    const size_t step = data[at] % 64u + 1, length = step < size - at ? step : size - at;
    uint8_t *const piece = malloc(length); /* its end is the end of an allocation */
    if (piece == NULL) return 0;
    memcpy(piece, data + at, length);
    ub_session_feed(&session, piece, length);
    if (step == 64) ub_session_lost(&session);
    free(piece);
    at += length;
  }
  if (line_open) abort();
  return 0;
}
