/* Ed25519 (RFC 8032), verification only: for firmware that is built with a public key (docs/firmware.md). */
#ifndef UTTERBIT_SIGNATURE_H
#define UTTERBIT_SIGNATURE_H

#include <stdbool.h>
#include <stdint.h>

/* What follows a signed bundle in its file: UB_SIGNATURE_MAGIC, then the 64 bytes of the bundle's signature. */
#define UB_SIGNATURE_MAGIC "UTTSIGN1"
#define UB_SIGNATURE_BYTES 72

/* Whether the last UB_SIGNATURE_BYTES of the file are a signature of all that stands before, by the key in 64 hexadecimal
 * digits. Nothing else of the file is looked at. `alive`, or NULL, is called now and then, for that takes a while. */
bool ub_is_signed(const uint8_t *file, uint32_t bytes, const char *key, void (*alive)(void *context), void *context);

#endif
