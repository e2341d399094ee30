/* The two checksums of Utterbit: CRC-16 guards a line of the protocol, CRC-32 a bundle. Both are chained: the result for
 * some bytes is the start for those that follow. */
#ifndef UTTERBIT_CRC_H
#define UTTERBIT_CRC_H

#include <stddef.h>
#include <stdint.h>

#define UB_CRC16_START 0xFFFF

/* CRC-16/CCITT-FALSE (polynomial 0x1021, no reflection). Start with UB_CRC16_START. */
uint16_t ub_crc16(uint16_t crc, const void *data, size_t length);

/* CRC-32 of IEEE 802.3, as zlib's crc32(). Start with 0. */
uint32_t ub_crc32(uint32_t crc, const void *data, size_t length);

#endif
