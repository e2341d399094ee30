/* firmware/agent/update.c on flash that loses power: after the given number of steps (a byte programmed, or half a block
 * erased) nothing changes any more until power comes back. */
#include <string.h>

#include "update.h"

#define SLOT_BYTES (512 * 1024)

static _Alignas(16) uint8_t flash[2][SLOT_BYTES];
static _Alignas(16) uint8_t built_in[SLOT_BYTES];
static size_t built_in_size;
static uint64_t steps, steps_left;
static uint32_t dirty_programs; /* of bits that were not erased */
static int broken;              /* the flash answers that it failed */
static ub_arena arena;
static _Alignas(16) uint8_t memory[SLOT_BYTES]; /* for the weights */
static ub_update update;

static uint32_t spend(uint32_t wanted) {
  const uint32_t done = steps_left < wanted ? (uint32_t)steps_left : wanted;
  steps_left -= done;
  steps += done;
  return done;
}

static bool erase(void *context, uint32_t slot, uint32_t offset) {
  (void)context;
  if (broken) return false;
  memset(flash[slot] + offset, 0xFF, spend(2) * (UB_BLOCK_BYTES / 2));
  return true;
}

static bool program(void *context, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t length) {
  (void)context;
  if (broken) return false;
  if (offset % 4 || length % 4 || (uintptr_t)bytes % 4 || offset / UB_CHUNK_BYTES != (offset + length - 1) / UB_CHUNK_BYTES)
    __builtin_trap();
  const uint32_t done = spend(length);
  for (uint32_t i = 0; i < done; i++) {
    uint8_t *cell = &flash[slot][offset + i];
    dirty_programs += (*cell & bytes[i]) != bytes[i];
    *cell &= bytes[i];
  }
  return true;
}

static const ub_storage storage = {{flash[0], flash[1]}, SLOT_BYTES, NULL, erase, program};

void flash_new(void) {
  memset(flash, 0xFF, sizeof flash);
  memset(memory, 0, sizeof memory);
  arena.weights = NULL;
  dirty_programs = 0;
  broken = 0;
}
void flash_flip(uint32_t slot, uint32_t offset, uint8_t bits) { flash[slot][offset] ^= bits; }
uint8_t *flash_content(uint32_t slot) { return flash[slot]; }
void flash_break(int how) { broken = how; }
uint32_t flash_dirty(void) { return dirty_programs; }
uint64_t flash_steps(void) { return steps; }

void firmware(const uint8_t *bundle, size_t size) {
  memcpy(built_in, bundle, size);
  built_in_size = size;
}

/* Starts the board; power will fail after so many steps. Returns the CRC of the agent that runs, 0 if none does. */
uint32_t power_up(uint64_t budget) {
  steps = 0;
  steps_left = budget;
  const ub_status opened = ub_update_start(&update, &storage, built_in, built_in_size, &arena);
  return opened == UB_OK && ub_selftest(update.agent, 0) == UB_OK ? update.agent->crc32 : 0;
}
void give_memory(uint32_t bytes) {
  arena.weights = memory;
  arena.weight_bytes = bytes;
}
uint32_t held_in_memory(void) { return update.agent ? update.agent->held_bytes : 0; }
uint32_t memory_used(void) {
  uint32_t used = sizeof memory;
  while (used > 0 && memory[used - 1] == 0) used--;
  return used;
}
/* 1: every golden sentence gives its numbers. */
int selftest(void) {
  for (uint32_t i = 0; i < ub_golden_count(update.agent); i++)
    if (ub_selftest(update.agent, i) != UB_OK) return 0;
  return 1;
}
uint32_t running(void) { return update.agent ? update.agent->crc32 : 0; }
uint32_t held(void) { return update.held; }
uint32_t announced(void) { return update.bytes; }

int begin(uint32_t bytes, uint32_t crc32) { return (int)ub_update_begin(&update, bytes, crc32); }
int data(uint32_t offset, const uint8_t *bytes, uint32_t length) {
  return (int)ub_update_data(&update, offset, bytes, length);
}
int activate(void) { return (int)ub_update_activate(&update, NULL, NULL); }
const char *word(int status) { return ub_update_name((ub_update_status)status); }
const char *text(int status) { return ub_update_text(&update, (ub_update_status)status); }

/* The whole of an update, from what is held. Returns the last status. */
int transfer(const uint8_t *file, uint32_t bytes, uint32_t crc32) {
  int status = begin(bytes, crc32);
  while (status == UB_UPDATE_OK && update.held < bytes && steps_left) {
    const uint32_t rest = bytes - update.held;
    status = data(update.held, file + update.held, rest < UB_CHUNK_BYTES ? rest : UB_CHUNK_BYTES);
  }
  return status == UB_UPDATE_OK && steps_left ? activate() : status;
}
