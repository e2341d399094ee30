#include "update.h"

#include <string.h>

#include "bytes.h"
#include "crc.h"
#include "signature.h"
#include "small.h"

#define ACTIVE_MAGIC 0x41425455u   /* "UTBA" */
#define TRANSFER_MAGIC 0x54425455u /* "UTBT" */

/* A slot's first block begins with two records: the active one and that of the transfer. */
typedef struct {
  uint32_t magic;
  uint32_t number; /* active: sequence number, the higher one of two slots is active. Transfer: bytes of the file */
  uint32_t other;  /* active: CRC-32 of the bundle in the firmware when this one was activated. Transfer: of the file */
  uint32_t crc32;  /* of what is before it */
} slot_record;
#define ACTIVE_OFFSET 0u
#define TRANSFER_OFFSET 16u

/* For each block of the file the CRC-32 of its content, programmed when the block is complete: so a transfer goes on
 * after a loss of power. */
#define JOURNAL_OFFSET 32u

_Static_assert(sizeof(slot_record) == 16, "layout");
_Static_assert(UB_BLOCK_BYTES % UB_CHUNK_BYTES == 0, "a chunk never crosses a block");

static const uint8_t *content(const ub_update *update, uint32_t slot) {
  return update->storage->slots[slot] + UB_BLOCK_BYTES;
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

static bool has_storage(const ub_update *update) { return update != NULL && update->storage != NULL; }

static uint32_t record_crc(const slot_record *record) { return ub_crc32(0, record, offsetof(slot_record, crc32)); }

static bool read_record(const ub_update *update, uint32_t slot, uint32_t offset, uint32_t magic, slot_record *record) {
  memcpy(record, update->storage->slots[slot] + offset, sizeof *record);
  return record->magic == magic && record->crc32 == record_crc(record);
}

/* Whether these bytes of the slot that is not active are as erased. */
static bool is_blank(const ub_update *update, uint32_t offset, uint32_t length) {
  const uint8_t *bytes = update->storage->slots[update->target] + offset;
  while (length > 0 && bytes[length - 1] == 0xFF) length--;
  return length == 0;
}

static bool erase(const ub_update *update, uint32_t offset) {
  const ub_storage *storage = update->storage;
  return storage->erase(storage->context, update->target, offset) && is_blank(update, offset, UB_BLOCK_BYTES);
}

static bool program(const ub_update *update, uint32_t offset, const void *bytes, uint32_t length) {
  const ub_storage *storage = update->storage;
  return storage->program(storage->context, update->target, offset, bytes, length) &&
         memcmp(storage->slots[update->target] + offset, bytes, length) == 0;
}

static bool write_record(const ub_update *update, uint32_t offset, slot_record record) {
  record.crc32 = record_crc(&record);
  return program(update, offset, &record, sizeof record);
}

static uint32_t block_crc(const ub_update *update, uint32_t block) {
  const uint32_t start = block * UB_BLOCK_BYTES;
  return ub_crc32(0, content(update, update->target) + start, smaller(UB_BLOCK_BYTES, update->bytes - start));
}

static bool fits(const ub_update *update, uint32_t bytes) {
  return bytes > 0 && bytes <= update->storage->slot_bytes - UB_BLOCK_BYTES &&
         (bytes - 1) / UB_BLOCK_BYTES < (UB_BLOCK_BYTES - JOURNAL_OFFSET) / 4;
}

static void clear(ub_update *update) { update->bytes = update->crc32 = update->held = 0; }

/* Finds what an interrupted transfer left in the slot that is not active. */
static void recall(ub_update *update) {
  const uint8_t *journal = update->storage->slots[update->target] + JOURNAL_OFFSET;
  slot_record transfer;
  clear(update);
  /* A slot that was active, or nearly so: nothing can be programmed there. */
  if (!is_blank(update, ACTIVE_OFFSET, sizeof(slot_record))) return;
  if (!read_record(update, update->target, TRANSFER_OFFSET, TRANSFER_MAGIC, &transfer) || !fits(update, transfer.number))
    return;
  update->bytes = transfer.number;
  update->crc32 = transfer.other;
  for (uint32_t block = 0; update->held < update->bytes; block++) {
    if (ub_read_u32(journal, block) != block_crc(update, block)) return;
    update->held = smaller(update->bytes, (block + 1) * UB_BLOCK_BYTES);
  }
}

/* Makes the agent the one that runs. */
static void run(ub_update *update, ub_agent *agent) {
  ub_hold(agent, update->arena);
  update->agent = agent;
}

static ub_update_status forget(ub_update *update, ub_update_status why) {
  clear(update);
  (void)erase(update, 0); /* if it fails, the next begin says so */
  return why;
}

UB_SMALL ub_status ub_update_start(ub_update *update, const ub_storage *storage, const uint8_t *built_in, size_t size,
                                   ub_arena *arena) {
  memset(update, 0, sizeof *update);
  update->storage = storage;
  update->arena = arena;
  ub_status opened = ub_open(&update->agents[0], built_in, size, arena);
  if (opened == UB_OK) {
    run(update, &update->agents[0]);
    update->built_in = update->agents[0].crc32;
  }
#ifdef UB_PUBLIC_KEY /* what was activated without this key does not count either */
  update->built_in = ub_crc32(update->built_in, UB_PUBLIC_KEY, sizeof UB_PUBLIC_KEY - 1);
#endif
  if (storage == NULL) return opened;

  slot_record records[2];
  bool valid[2];
  uint32_t newer = 0;
  for (uint32_t slot = 0; slot < 2; slot++) {
    valid[slot] = read_record(update, slot, ACTIVE_OFFSET, ACTIVE_MAGIC, &records[slot]);
    if (valid[slot] && records[slot].number > update->sequence) update->sequence = records[slot].number, newer = slot;
  }
  update->target = newer; /* unless it turns out to be the one that runs */
  for (uint32_t turn = 0; turn < 2; turn++) {
    const uint32_t slot = newer ^ turn;
    if (valid[slot] && records[slot].other == update->built_in &&
        ub_open(&update->agents[1], content(update, slot), storage->slot_bytes - UB_BLOCK_BYTES, arena) == UB_OK) {
      run(update, &update->agents[1]);
      update->target = 1 - slot;
      opened = UB_OK;
      break;
    }
  }
  recall(update);
  return opened;
}

UB_SMALL ub_update_status ub_update_begin(ub_update *update, uint32_t bytes, uint32_t crc32) {
  if (!has_storage(update)) return UB_UPDATE_STORAGE;
  if (!fits(update, bytes)) return UB_UPDATE_SIZE;
  if (update->bytes == bytes && update->crc32 == crc32) return UB_UPDATE_OK;
  clear(update);
  if (!erase(update, 0) || !write_record(update, TRANSFER_OFFSET, (slot_record){TRANSFER_MAGIC, bytes, crc32, 0}))
    return UB_UPDATE_FLASH;
  update->bytes = bytes;
  update->crc32 = crc32;
  return UB_UPDATE_OK;
}

UB_SMALL ub_update_status ub_update_data(ub_update *update, uint32_t offset, const uint8_t *bytes, uint32_t length) {
  if (!has_storage(update)) return UB_UPDATE_STORAGE;
  if (update->bytes == 0) return UB_UPDATE_IDLE;
  if (offset % UB_CHUNK_BYTES != 0 || offset >= update->bytes || offset > update->held ||
      length != smaller(UB_CHUNK_BYTES, update->bytes - offset))
    return UB_UPDATE_OFFSET;
  if (offset < update->held) return UB_UPDATE_OK;

  const uint32_t at = UB_BLOCK_BYTES + offset, block = offset / UB_BLOCK_BYTES;
  _Alignas(4) uint8_t chunk[UB_CHUNK_BYTES];
  memset(chunk, 0xFF, sizeof chunk);
  memcpy(chunk, bytes, length);
  bool written = (offset % UB_BLOCK_BYTES != 0 || erase(update, at)) && program(update, at, chunk, (length + 3) & ~3u);
  update->held = offset + length;
  if (written && (update->held % UB_BLOCK_BYTES == 0 || update->held == update->bytes)) {
    const uint32_t crc = block_crc(update, block);
    written = program(update, JOURNAL_OFFSET + 4 * block, &crc, sizeof crc);
  }
  return written ? UB_UPDATE_OK : forget(update, UB_UPDATE_FLASH);
}

/* Verifies all of the file as an agent, and records as the last write that its slot is the active one. */
static ub_update_status accept(ub_update *update, ub_agent *candidate, void (*alive)(void *context), void *context) {
  const uint8_t *file = content(update, update->target);
  if (ub_crc32(0, file, update->bytes) != update->crc32) return UB_UPDATE_CHECKSUM;
#ifdef UB_PUBLIC_KEY /* before anything reads the file */
  if (!ub_is_signed(file, update->bytes, UB_PUBLIC_KEY, alive, context)) return UB_UPDATE_SIGNATURE;
#endif
  update->refused = ub_open(candidate, file, update->bytes, update->arena);
  if (update->refused != UB_OK) return UB_UPDATE_BUNDLE;
  const uint32_t golden = ub_golden_count(candidate);
  if (golden == 0) return UB_UPDATE_SELFTEST;
  for (uint32_t i = 0; i < golden; i++) {
    if (alive != NULL) alive(context);
    if (ub_selftest(candidate, i) != UB_OK) return UB_UPDATE_SELFTEST;
  }
  const slot_record active = {ACTIVE_MAGIC, update->sequence + 1, update->built_in, 0};
  return write_record(update, ACTIVE_OFFSET, active) ? UB_UPDATE_OK : UB_UPDATE_FLASH;
}

UB_SMALL ub_update_status ub_update_activate(ub_update *update, void (*alive)(void *context), void *context) {
  if (!has_storage(update)) return UB_UPDATE_STORAGE;
  if (update->bytes == 0) return UB_UPDATE_IDLE;
  if (update->held != update->bytes) return UB_UPDATE_INCOMPLETE;
  ub_agent *candidate = &update->agents[update->agent == &update->agents[0]];
  const ub_update_status status = accept(update, candidate, alive, context);
  if (status != UB_UPDATE_OK) return forget(update, status);
  update->sequence++;
  run(update, candidate);
  update->target = 1 - update->target;
  recall(update);
  return UB_UPDATE_OK;
}

static const struct {
  const char *name, *text;
} statuses[] = {
    [UB_UPDATE_OK] = {"ok", "all is well"},
    [UB_UPDATE_STORAGE] = {"storage", "there is no flash for another agent"},
    [UB_UPDATE_FLASH] = {"storage", "the flash failed"},
    [UB_UPDATE_SIZE] = {"update", "the file is empty or larger than a slot"},
    [UB_UPDATE_IDLE] = {"update", "no update was begun"},
    [UB_UPDATE_OFFSET] = {"update", "not the chunk that is due; see held in /update"},
    [UB_UPDATE_INCOMPLETE] = {"update", "bytes are missing; see held in /update"},
    [UB_UPDATE_CHECKSUM] = {"bundle", "the file has another CRC-32 than announced"},
    [UB_UPDATE_BUNDLE] = {"bundle", NULL}, /* ub_status_text() */
    [UB_UPDATE_SIGNATURE] = {"signature", "not signed with the key of this firmware"},
    [UB_UPDATE_SELFTEST] = {"selftest", "a golden sentence gave other numbers"},
};

const char *ub_update_name(ub_update_status status) { return statuses[status].name; }

const char *ub_update_text(const ub_update *update, ub_update_status status) {
  return status == UB_UPDATE_BUNDLE ? ub_status_text(update->refused) : statuses[status].text;
}
