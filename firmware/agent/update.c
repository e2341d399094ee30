#include "update.h"

#include <string.h>

#include "crc.h"
#include "signature.h"

#define ACTIVE_MAGIC 0x41425455u   /* "UTBA" */
#define TRANSFER_MAGIC 0x54425455u /* "UTBT" */

/* A slot's first block. Each record ends in the CRC-32 of what is before it. */
typedef struct {
  uint32_t magic;
  uint32_t sequence; /* the higher one of two slots is active */
  uint32_t built_in; /* CRC-32 of the bundle in the firmware when this one was activated */
  uint32_t crc32;
} active_record;
#define ACTIVE_OFFSET 0u

typedef struct {
  uint32_t magic;
  uint32_t bytes; /* of the file whose blocks follow */
  uint32_t file_crc32;
  uint32_t crc32;
} transfer_record;
#define TRANSFER_OFFSET 16u

/* For each block of the file the CRC-32 of its content, programmed when the block is complete: so a transfer goes on
 * after a loss of power. */
#define JOURNAL_OFFSET 32u

_Static_assert(sizeof(active_record) == 16 && sizeof(transfer_record) == 16, "layout");
_Static_assert(UB_BLOCK_BYTES % UB_CHUNK_BYTES == 0, "a chunk never crosses a block");

static const uint8_t *content(const ub_update *update, uint32_t slot) {
  return update->storage->slots[slot] + UB_BLOCK_BYTES;
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

static bool read_active(const ub_update *update, uint32_t slot, active_record *record) {
  memcpy(record, update->storage->slots[slot] + ACTIVE_OFFSET, sizeof *record);
  return record->magic == ACTIVE_MAGIC && record->crc32 == ub_crc32(0, record, offsetof(active_record, crc32));
}

static bool erase(const ub_update *update, uint32_t offset) {
  const ub_storage *storage = update->storage;
  if (!storage->erase(storage->context, update->target, offset)) return false;
  const uint8_t *block = storage->slots[update->target] + offset;
  for (uint32_t i = 0; i < UB_BLOCK_BYTES; i++)
    if (block[i] != 0xFF) return false;
  return true;
}

static bool program(const ub_update *update, uint32_t offset, const void *bytes, uint32_t length) {
  const ub_storage *storage = update->storage;
  return storage->program(storage->context, update->target, offset, bytes, length) &&
         memcmp(storage->slots[update->target] + offset, bytes, length) == 0;
}

static uint32_t block_crc(const ub_update *update, uint32_t block) {
  const uint32_t start = block * UB_BLOCK_BYTES;
  return ub_crc32(0, content(update, update->target) + start, smaller(UB_BLOCK_BYTES, update->bytes - start));
}

static bool fits(const ub_update *update, uint32_t bytes) {
  return bytes > 0 && bytes <= update->storage->slot_bytes - UB_BLOCK_BYTES &&
         (bytes - 1) / UB_BLOCK_BYTES < (UB_BLOCK_BYTES - JOURNAL_OFFSET) / 4;
}

/* Finds what an interrupted transfer left in the slot that is not active. */
static void recall(ub_update *update) {
  const uint8_t *records = update->storage->slots[update->target];
  transfer_record transfer;
  active_record active;
  update->bytes = update->crc32 = update->held = 0;
  memcpy(&transfer, records + TRANSFER_OFFSET, sizeof transfer);
  memcpy(&active, records + ACTIVE_OFFSET, sizeof active);
  for (uint32_t i = 0; i < sizeof active; i++)
    if (records[ACTIVE_OFFSET + i] != 0xFF) return; /* was active, or nearly so: nothing can be programmed there */
  if (transfer.magic != TRANSFER_MAGIC || transfer.crc32 != ub_crc32(0, &transfer, offsetof(transfer_record, crc32)) ||
      !fits(update, transfer.bytes))
    return;
  update->bytes = transfer.bytes;
  update->crc32 = transfer.file_crc32;
  for (uint32_t block = 0; update->held < update->bytes; block++) {
    uint32_t crc;
    memcpy(&crc, records + JOURNAL_OFFSET + 4 * block, sizeof crc);
    if (crc != block_crc(update, block)) return;
    update->held = smaller(update->bytes, (block + 1) * UB_BLOCK_BYTES);
  }
}

/* Makes the agent the one that runs. */
static void run(ub_update *update, ub_agent *agent) {
  ub_hold(agent, update->arena);
  update->agent = agent;
}

static ub_update_status forget(ub_update *update, ub_update_status why) {
  update->bytes = update->crc32 = update->held = 0;
  (void)erase(update, 0); /* if it fails, the next begin says so */
  return why;
}

ub_status ub_update_start(ub_update *update, const ub_storage *storage, const uint8_t *built_in, size_t size,
                          ub_arena *arena) {
  memset(update, 0, sizeof *update);
  update->storage = storage;
  update->arena = arena;
  const ub_status opened = ub_open(&update->agents[0], built_in, size, arena);
  if (opened == UB_OK) {
    run(update, &update->agents[0]);
    update->built_in = update->agents[0].crc32;
  }
  if (storage == NULL) return opened;

  active_record records[2];
  bool valid[2];
  for (uint32_t slot = 0; slot < 2; slot++) {
    valid[slot] = read_active(update, slot, &records[slot]);
    if (valid[slot] && records[slot].sequence > update->sequence) update->sequence = records[slot].sequence;
  }
  const uint32_t newer = valid[1] && (!valid[0] || records[1].sequence > records[0].sequence);
  update->target = newer; /* unless it turns out to be the one that runs */
  for (uint32_t turn = 0; turn < 2; turn++) {
    const uint32_t slot = turn == 0 ? newer : 1 - newer;
    if (valid[slot] && records[slot].built_in == update->built_in &&
        ub_open(&update->agents[1], content(update, slot), storage->slot_bytes - UB_BLOCK_BYTES, arena) == UB_OK) {
      run(update, &update->agents[1]);
      update->target = 1 - slot;
      recall(update);
      return UB_OK;
    }
  }
  recall(update);
  return opened;
}

ub_update_status ub_update_begin(ub_update *update, uint32_t bytes, uint32_t crc32) {
  if (update == NULL || update->storage == NULL) return UB_UPDATE_STORAGE;
  if (!fits(update, bytes)) return UB_UPDATE_SIZE;
  if (update->bytes == bytes && update->crc32 == crc32) return UB_UPDATE_OK;
  update->bytes = update->crc32 = update->held = 0;
  if (!erase(update, 0)) return UB_UPDATE_FLASH;
  transfer_record record = {TRANSFER_MAGIC, bytes, crc32, 0};
  record.crc32 = ub_crc32(0, &record, offsetof(transfer_record, crc32));
  if (!program(update, TRANSFER_OFFSET, &record, sizeof record)) return UB_UPDATE_FLASH;
  update->bytes = bytes;
  update->crc32 = crc32;
  return UB_UPDATE_OK;
}

ub_update_status ub_update_data(ub_update *update, uint32_t offset, const uint8_t *bytes, uint32_t length) {
  if (update == NULL || update->storage == NULL) return UB_UPDATE_STORAGE;
  if (update->bytes == 0) return UB_UPDATE_IDLE;
  if (offset % UB_CHUNK_BYTES != 0 || offset >= update->bytes || offset > update->held ||
      length != smaller(UB_CHUNK_BYTES, update->bytes - offset))
    return UB_UPDATE_OFFSET;
  if (offset < update->held) return UB_UPDATE_OK;

  const uint32_t at = UB_BLOCK_BYTES + offset;
  _Alignas(4) uint8_t chunk[UB_CHUNK_BYTES];
  memset(chunk, 0xFF, sizeof chunk);
  memcpy(chunk, bytes, length);
  if ((offset % UB_BLOCK_BYTES == 0 && !erase(update, at)) || !program(update, at, chunk, (length + 3) & ~3u))
    return forget(update, UB_UPDATE_FLASH);
  update->held = offset + length;
  if (update->held % UB_BLOCK_BYTES == 0 || update->held == update->bytes) {
    const uint32_t block = offset / UB_BLOCK_BYTES;
    const uint32_t crc = block_crc(update, block);
    if (!program(update, JOURNAL_OFFSET + 4 * block, &crc, sizeof crc)) return forget(update, UB_UPDATE_FLASH);
  }
  return UB_UPDATE_OK;
}

ub_update_status ub_update_activate(ub_update *update, void (*alive)(void *context), void *context) {
  if (update == NULL || update->storage == NULL) return UB_UPDATE_STORAGE;
  if (update->bytes == 0) return UB_UPDATE_IDLE;
  if (update->held != update->bytes) return UB_UPDATE_INCOMPLETE;
  const uint8_t *file = content(update, update->target);
  if (ub_crc32(0, file, update->bytes) != update->crc32) return forget(update, UB_UPDATE_CHECKSUM);

  ub_agent *candidate = &update->agents[update->agent == &update->agents[0]];
  update->refused = ub_open(candidate, file, update->bytes, update->arena);
  if (update->refused != UB_OK) return forget(update, UB_UPDATE_BUNDLE);
#ifdef UB_PUBLIC_KEY
  if (alive != NULL) alive(context);
  if (!ub_is_signed(file, update->bytes, candidate->length, UB_PUBLIC_KEY)) return forget(update, UB_UPDATE_SIGNATURE);
#endif
  const uint32_t golden = ub_golden_count(candidate);
  if (golden == 0) return forget(update, UB_UPDATE_SELFTEST);
  for (uint32_t i = 0; i < golden; i++) {
    if (alive != NULL) alive(context);
    if (ub_selftest(candidate, i) != UB_OK) return forget(update, UB_UPDATE_SELFTEST);
  }

  active_record record = {ACTIVE_MAGIC, update->sequence + 1, update->built_in, 0};
  record.crc32 = ub_crc32(0, &record, offsetof(active_record, crc32));
  if (!program(update, ACTIVE_OFFSET, &record, sizeof record)) return forget(update, UB_UPDATE_FLASH);
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
    [UB_UPDATE_STORAGE] = {"storage", "this board has no flash for another agent"},
    [UB_UPDATE_FLASH] = {"storage", "the flash could not be erased or programmed"},
    [UB_UPDATE_SIZE] = {"update", "the file is empty or has more bytes than a slot holds"},
    [UB_UPDATE_IDLE] = {"update", "no update was begun"},
    [UB_UPDATE_OFFSET] = {"update", "this is not the chunk that is due; /update tells how many bytes are held"},
    [UB_UPDATE_INCOMPLETE] = {"update", "not all bytes of the file have come; /update tells how many are held"},
    [UB_UPDATE_CHECKSUM] = {"bundle", "what was received has another CRC-32 than was announced"},
    [UB_UPDATE_BUNDLE] = {"bundle", NULL}, /* ub_status_text() */
    [UB_UPDATE_SIGNATURE] = {"signature", "the bundle is not signed with the key that this firmware asks for"},
    [UB_UPDATE_SELFTEST] = {"selftest", "a golden sentence of the new agent gave other numbers"},
};

const char *ub_update_name(ub_update_status status) { return statuses[status].name; }

const char *ub_update_text(const ub_update *update, ub_update_status status) {
  return status == UB_UPDATE_BUNDLE ? ub_status_text(update->refused) : statuses[status].text;
}
