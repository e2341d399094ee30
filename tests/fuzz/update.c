/* Any requests over two lines to a device that has an agent and flash which may fail: every reply is one whole line, and
 * the flash is written as its chip allows. A request's first byte chooses its line and what happens to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc.h"
#include "protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOT_BYTES = 64 * 1024, LONGEST = 600 };
enum { SECOND = 1, GUARDED = 2, LOST = 4, RESET = 8 }; /* and above them: */
enum { SOUND, NO_ERASE, FORGETS_TO_ERASE, NO_PROGRAM, HALF_PROGRAMS };

static _Alignas(16) uint8_t flash[2][SLOT_BYTES];
static unsigned int fault;
static uint64_t now;
static ub_arena arena;
static ub_update update;
static ub_session sessions[2];

static void require(bool what) {
  if (!what) abort();
}

static bool erase(void *context, uint32_t slot, uint32_t offset) {
  (void)context;
  require(offset % UB_BLOCK_BYTES == 0 && offset + UB_BLOCK_BYTES <= SLOT_BYTES);
  if (fault == NO_ERASE) return false;
  if (fault != FORGETS_TO_ERASE) memset(flash[slot] + offset, 0xFF, UB_BLOCK_BYTES);
  return true;
}

static bool program(void *context, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t length) {
  (void)context;
  require(offset % 4 == 0 && length % 4 == 0 && (uintptr_t)bytes % 4 == 0 && offset + length <= SLOT_BYTES);
  require(offset / UB_CHUNK_BYTES == (offset + length - 1) / UB_CHUNK_BYTES);
  if (fault == NO_PROGRAM) return false;
  const uint32_t done = fault == HALF_PROGRAMS ? length / 2 : length;
  for (uint32_t i = 0; i < done; i++) flash[slot][offset + i] &= bytes[i];
  return true;
}

static void check(void *context, const uint8_t *bytes, size_t length) {
  (void)context;
  require(length > 1 && length <= UB_MAX_REPLY + 1 && memchr("=!#", bytes[0], 3) != NULL);
  for (size_t i = 0; i + 1 < length; i++) require(bytes[i] >= ' ');
  require(bytes[length - 1] == '\n');
}

static uint64_t microseconds(void *context) {
  (void)context;
  return now += 7;
}

static const ub_storage storage = {{flash[0], flash[1]}, SLOT_BYTES, NULL, erase, program};
static const ub_board board = {
    .name = "fuzz", .reset = "unknown", .write = check, .microseconds = microseconds, .update = &update};

static void start(void) {
  static _Alignas(16) uint8_t built_in[512 * 1024];
  static size_t bytes;
  if (bytes == 0) {
    FILE *const file = fopen("agent.bundle", "rb");
    require(file != NULL);
    bytes = fread(built_in, 1, sizeof built_in, file);
    (void)fclose(file);
  }
  const ub_status opened = ub_update_start(&update, &storage, built_in, bytes, &arena);
  require(opened == UB_OK);
  for (int i = 0; i < 2; i++) ub_session_start(&sessions[i], &board, update.agent, opened);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  memset(flash, 0xFF, sizeof flash);
  fault = SOUND;
  start();
  for (size_t at = 0; at < size; at++) {
    const uint8_t how = data[at++];
    uint8_t line[LONGEST + 8];
    size_t length = 0;
    for (; at < size && data[at] != '\n' && length < LONGEST; at++) line[length++] = data[at];
    fault = (how >> 4) % (HALF_PROGRAMS + 1);
    if (how & GUARDED) {
      length += (size_t)snprintf((char *)line + length, 8, " *%04X", ub_crc16(UB_CRC16_START, line, length));
    }
    ub_session *const session = &sessions[how & SECOND];
    ub_session_feed(session, line, length);
    if (how & LOST) ub_session_lost(session);
    ub_session_feed(session, (const uint8_t *)"\r\n", how % 2 + 1u);
    if (how & RESET) start();
  }
  return 0;
}
