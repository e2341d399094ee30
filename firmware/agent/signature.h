/* Ed25519 (RFC 8032), verification only: for firmware that is built with a public key (docs/firmware.md). */
#ifndef UTTERBIT_SIGNATURE_H
#define UTTERBIT_SIGNATURE_H

#include <stdbool.h>
#include <stdint.h>

/* What follows a signed bundle in its file: UB_SIGNATURE_MAGIC, then the 64 bytes of the bundle's signature. */
#define UB_SIGNATURE_MAGIC "UTTSIGN1"
#define UB_SIGNATURE_BYTES 72

/* Whether the file is a bundle of `bundle` bytes and a signature of those by the key in 64 hexadecimal digits. */
bool ub_is_signed(const uint8_t *file, uint32_t bytes, uint32_t bundle, const char *key);

#endif
