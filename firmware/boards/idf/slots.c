#include "slots.h"

#include "esp_err.h"
#include "esp_partition.h"

#define MOST_BYTES (4u * 1024 * 1024) /* of a slot: update.h */

static const esp_partition_t *partitions[2];

static bool erase(void *context, uint32_t slot, uint32_t offset) {
  (void)context;
  return esp_partition_erase_range(partitions[slot], offset, UB_BLOCK_BYTES) == ESP_OK;
}

static bool program(void *context, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t length) {
  (void)context;
  return esp_partition_write(partitions[slot], offset, bytes, length) == ESP_OK;
}

const ub_storage *agent_slots(void) {
  static const char *const labels[2] = {"agent_0", "agent_1"};
  static ub_storage storage = {.erase = erase, .program = program};
  storage.slot_bytes = MOST_BYTES;
  for (int slot = 0; slot < 2; slot++) {
    partitions[slot] = esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, labels[slot]);
    if (partitions[slot] == NULL) {
      return NULL;
    }
    if (partitions[slot]->size < storage.slot_bytes) {
      storage.slot_bytes = partitions[slot]->size / UB_BLOCK_BYTES * UB_BLOCK_BYTES;
    }
  }
  for (int slot = 0; slot < 2; slot++) {
    const void *bytes;
    esp_partition_mmap_handle_t handle; /* mapped for good; the driver keeps what is seen there up to date */
    if (esp_partition_mmap(partitions[slot], 0, storage.slot_bytes, ESP_PARTITION_MMAP_DATA, &bytes, &handle) != ESP_OK) {
      return NULL;
    }
    storage.slots[slot] = bytes;
  }
  return &storage;
}
