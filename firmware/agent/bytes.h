/* Typed reads from a bundle, which is an array of bytes. Offsets were checked and aligned when it was opened. */
#ifndef UTTERBIT_BYTES_H
#define UTTERBIT_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define UB_ALIGNED(pointer, bytes) __builtin_assume_aligned((pointer), (bytes)) /* else rv32 loads byte by byte */
#define UB_COPY(to, from, bytes) __builtin_memcpy((to), (from), (bytes))         /* memcpy() is a call if freestanding */
#else
#define UB_ALIGNED(pointer, bytes) (pointer)
#define UB_COPY(to, from, bytes) memcpy((to), (from), (bytes))
#endif

static inline int32_t ub_read_i32(const uint8_t *array, uint32_t index) {
  int32_t value;
  UB_COPY(&value, UB_ALIGNED(array + 4u * index, 4), sizeof value);
  return value;
}

static inline uint32_t ub_read_u32(const uint8_t *array, uint32_t index) { return (uint32_t)ub_read_i32(array, index); }

static inline uint16_t ub_read_u16(const uint8_t *array, uint32_t index) {
  uint16_t value;
  UB_COPY(&value, UB_ALIGNED(array + 2u * index, 2), sizeof value);
  return value;
}

/* A mask has a bit for every slot. */
static inline uint32_t ub_mask_bytes(uint32_t slots) { return (slots + 7) / 8; }
static inline bool ub_bit(const uint8_t *mask, uint32_t index) { return mask[index / 8] >> index % 8 & 1; }

#endif
