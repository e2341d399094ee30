#include "crc.h"

#include "small.h"

/* Bit by bit, for a line is short. */
UB_SMALL uint16_t ub_crc16(uint16_t crc, const void *data, size_t length) {
  uint32_t bits = crc;
  for (const uint8_t *byte = data, *const end = byte + length; byte < end; byte++) {
    bits ^= (uint32_t)*byte << 8;
    for (int i = 0; i < 8; i++) bits = bits << 1 ^ (bits & 0x8000 ? 0x1021 : 0);
  }
  return (uint16_t)bits;
}

/* By a table of nibbles: a whole bundle is checked at every start, which takes four times as long bit by bit. */
UB_SMALL uint32_t ub_crc32(uint32_t crc, const void *data, size_t length) {
  static const uint32_t nibbles[16] = {
      0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
      0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
  };
  crc = ~crc;
  for (const uint8_t *byte = data, *const end = byte + length; byte < end; byte++) {
    crc ^= *byte;
    crc = crc >> 4 ^ nibbles[crc & 0xF];
    crc = crc >> 4 ^ nibbles[crc & 0xF];
  }
  return ~crc;
}
