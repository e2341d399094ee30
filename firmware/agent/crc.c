#include "crc.h"

#include "small.h"

/* Bit by bit: tables would take more room than they save time, for a line as for a bundle. */

UB_SMALL uint16_t ub_crc16(uint16_t crc, const void *data, size_t length) {
  uint32_t bits = crc;
  for (const uint8_t *byte = data, *const end = byte + length; byte < end; byte++) {
    bits ^= (uint32_t)*byte << 8;
    for (int i = 0; i < 8; i++) bits = bits << 1 ^ (bits & 0x8000 ? 0x1021 : 0);
  }
  return (uint16_t)bits;
}

UB_SMALL uint32_t ub_crc32(uint32_t crc, const void *data, size_t length) {
  crc = ~crc;
  for (const uint8_t *byte = data, *const end = byte + length; byte < end; byte++) {
    crc ^= *byte;
    for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}
