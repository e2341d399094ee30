/* Another agent over the line, into the inactive one of two slots of flash (docs/protocol.md, docs/firmware.md).
 *
 *   static ub_update update;
 *   ub_status opened = ub_update_start(&update, &storage, built_in, built_in_size, &arena);
 *   board.update = &update;
 *   ub_session_start(&session, &board, update.agent, opened);
 *
 * A slot's first block holds its records, the others the bundle. Flash is erased block by block to ones, and programming
 * only clears bits. The record that makes a slot the active one is programmed last, after everything else was verified,
 * and the other slot is never touched meanwhile: power may fail at any byte.
 */
#ifndef UTTERBIT_UPDATE_H
#define UTTERBIT_UPDATE_H

#include "agent.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UB_BLOCK_BYTES 4096 /* erased at once */
#define UB_CHUNK_BYTES 256  /* programmed at once; of a bundle in one request */

/* Two slots of flash, given by the board. What was erased or programmed is seen in `slots` as soon as the call returns. */
typedef struct {
  const uint8_t *slots[2]; /* where they are read, each aligned to 16 */
  uint32_t slot_bytes;     /* of each, a multiple of UB_BLOCK_BYTES, at most 4 MB */
  void *context;           /* handed to both functions, which return false if the flash failed */
  bool (*erase)(void *context, uint32_t slot, uint32_t offset);
  /* offset and length are multiples of 4, the bytes are aligned to 4 and lie within one page of UB_CHUNK_BYTES */
  bool (*program)(void *context, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t length);
} ub_storage;

typedef enum {
  UB_UPDATE_OK = 0,
  UB_UPDATE_STORAGE,    /* the board has no slots */
  UB_UPDATE_FLASH,      /* the flash failed */
  UB_UPDATE_SIZE,       /* more bytes than a slot holds, or none */
  UB_UPDATE_IDLE,       /* no update was begun */
  UB_UPDATE_OFFSET,     /* not the chunk that is due */
  UB_UPDATE_INCOMPLETE, /* activated too early */
  UB_UPDATE_CHECKSUM,   /* what was received has another CRC-32 than announced */
  UB_UPDATE_BUNDLE,     /* ub_open() refuses it: see `refused` */
  UB_UPDATE_SIGNATURE,  /* not signed with the key of this build */
  UB_UPDATE_SELFTEST    /* a golden sentence gave other numbers, or there is none */
} ub_update_status;

typedef struct {
  const ub_storage *storage; /* NULL: the board has no slots */
  const ub_agent *agent;     /* the one that runs; NULL: there is no valid bundle */
  ub_status refused;         /* why UB_UPDATE_BUNDLE was the answer */

  uint32_t bytes; /* of the file that is being received; 0: none is */
  uint32_t crc32; /* of all of them */
  uint32_t held;  /* so many of them are in flash */

  uint32_t built_in; /* CRC-32 of the bundle in the firmware */
  uint32_t sequence; /* of the active record */
  uint32_t target;   /* the slot that is not active */
  ub_arena *arena;
  ub_agent agents[2]; /* one runs, the other is tried */
} ub_update;

/* Opens the agent of the active slot, or the built-in one where no slot has a valid agent or where all were activated
 * beside another built-in one (the firmware is newer). storage: NULL if the board has none.
 * Returns what ub_open() said of the agent that runs. */
ub_status ub_update_start(ub_update *update, const ub_storage *storage, const uint8_t *built_in, size_t size,
                          ub_arena *arena);

/* Prepares for a file of so many bytes with that CRC-32. update->held of them are there already if the same file was
 * begun before, also before a loss of power. */
ub_update_status ub_update_begin(ub_update *update, uint32_t bytes, uint32_t crc32);

/* Stores a chunk: UB_CHUNK_BYTES, the last one what is left. offset must be update->held; a chunk that is there already
 * is passed over. */
ub_update_status ub_update_data(ub_update *update, uint32_t offset, const uint8_t *bytes, uint32_t length);

/* Verifies all of the file, opens it, computes its golden sentences, and only then makes it the agent that runs.
 * Whatever is refused is thrown away. alive: as in ub_board, may be NULL. */
ub_update_status ub_update_activate(ub_update *update, void (*alive)(void *context), void *context);

const char *ub_update_name(ub_update_status status); /* a short stable word: "update", ... */
const char *ub_update_text(const ub_update *update, ub_update_status status); /* one sentence for a person */

#ifdef __cplusplus
}
#endif

#endif
