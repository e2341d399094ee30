#include "signature.h"

#ifdef UB_PUBLIC_KEY /* else the curve is not linked */

#include <monocypher.h>
#include <string.h>

/* ---- SHA-512 (FIPS 180-4), which Monocypher's core lacks ---- */

typedef struct {
  uint64_t state[8];
  uint8_t block[128];
  uint64_t length; /* bytes hashed so far; fewer than 2^61 */
} sha512;

static const uint64_t sha512_rounds[80] = {
    0x428A2F98D728AE22, 0x7137449123EF65CD, 0xB5C0FBCFEC4D3B2F, 0xE9B5DBA58189DBBC,
    0x3956C25BF348B538, 0x59F111F1B605D019, 0x923F82A4AF194F9B, 0xAB1C5ED5DA6D8118,
    0xD807AA98A3030242, 0x12835B0145706FBE, 0x243185BE4EE4B28C, 0x550C7DC3D5FFB4E2,
    0x72BE5D74F27B896F, 0x80DEB1FE3B1696B1, 0x9BDC06A725C71235, 0xC19BF174CF692694,
    0xE49B69C19EF14AD2, 0xEFBE4786384F25E3, 0x0FC19DC68B8CD5B5, 0x240CA1CC77AC9C65,
    0x2DE92C6F592B0275, 0x4A7484AA6EA6E483, 0x5CB0A9DCBD41FBD4, 0x76F988DA831153B5,
    0x983E5152EE66DFAB, 0xA831C66D2DB43210, 0xB00327C898FB213F, 0xBF597FC7BEEF0EE4,
    0xC6E00BF33DA88FC2, 0xD5A79147930AA725, 0x06CA6351E003826F, 0x142929670A0E6E70,
    0x27B70A8546D22FFC, 0x2E1B21385C26C926, 0x4D2C6DFC5AC42AED, 0x53380D139D95B3DF,
    0x650A73548BAF63DE, 0x766A0ABB3C77B2A8, 0x81C2C92E47EDAEE6, 0x92722C851482353B,
    0xA2BFE8A14CF10364, 0xA81A664BBC423001, 0xC24B8B70D0F89791, 0xC76C51A30654BE30,
    0xD192E819D6EF5218, 0xD69906245565A910, 0xF40E35855771202A, 0x106AA07032BBD1B8,
    0x19A4C116B8D2D0C8, 0x1E376C085141AB53, 0x2748774CDF8EEB99, 0x34B0BCB5E19B48A8,
    0x391C0CB3C5C95A63, 0x4ED8AA4AE3418ACB, 0x5B9CCA4F7763E373, 0x682E6FF3D6B2B8A3,
    0x748F82EE5DEFB2FC, 0x78A5636F43172F60, 0x84C87814A1F0AB72, 0x8CC702081A6439EC,
    0x90BEFFFA23631E28, 0xA4506CEBDE82BDE9, 0xBEF9A3F7B2C67915, 0xC67178F2E372532B,
    0xCA273ECEEA26619C, 0xD186B8C721C0C207, 0xEADA7DD6CDE0EB1E, 0xF57D4F7FEE6ED178,
    0x06F067AA72176FBA, 0x0A637DC5A2C898A6, 0x113F9804BEF90DAE, 0x1B710B35131C471B,
    0x28DB77F523047D84, 0x32CAAB7B40C72493, 0x3C9EBE0A15C9BEBC, 0x431D67C49C100D4C,
    0x4CC5D4BECB3E42B6, 0x597F299CFC657E2A, 0x5FCB6FAB3AD6FAEC, 0x6C44198C4A475817};

static uint64_t rotate(uint64_t word, unsigned int right) { return word >> right | word << (64 - right); }

static void compress(sha512 *hash) {
  uint64_t schedule[16], s[8];
  memcpy(s, hash->state, sizeof s);
  for (unsigned int t = 0; t < 80; t++) {
    uint64_t *const w = &schedule[t % 16];
    if (t < 16) {
      *w = 0;
      for (unsigned int i = 0; i < 8; i++) *w = *w << 8 | hash->block[8 * t + i];
    } else {
      const uint64_t early = schedule[(t + 1) % 16], late = schedule[(t + 14) % 16];
      *w += (rotate(early, 1) ^ rotate(early, 8) ^ early >> 7) + schedule[(t + 9) % 16] +
            (rotate(late, 19) ^ rotate(late, 61) ^ late >> 6);
    }
    const uint64_t sum1 = rotate(s[4], 14) ^ rotate(s[4], 18) ^ rotate(s[4], 41);
    const uint64_t sum0 = rotate(s[0], 28) ^ rotate(s[0], 34) ^ rotate(s[0], 39);
    const uint64_t chosen = (s[4] & s[5]) ^ (~s[4] & s[6]);
    const uint64_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
    const uint64_t t1 = s[7] + sum1 + chosen + sha512_rounds[t] + *w;
    memmove(s + 1, s, 7 * sizeof s[0]);
    s[4] += t1;
    s[0] = t1 + sum0 + majority;
  }
  for (unsigned int i = 0; i < 8; i++) hash->state[i] += s[i];
}

static void absorb(sha512 *hash, const uint8_t *bytes, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) {
    hash->block[hash->length++ % sizeof hash->block] = bytes[i];
    if (hash->length % sizeof hash->block == 0) compress(hash);
  }
}

static void finish(sha512 *hash, uint8_t digest[64]) {
  static const uint8_t one = 0x80, zero = 0;
  const uint64_t bits = 8 * hash->length;
  absorb(hash, &one, 1);
  while (hash->length % sizeof hash->block != sizeof hash->block - 16) absorb(hash, &zero, 1);
  for (unsigned int i = 0; i < 8; i++) absorb(hash, &zero, 1); /* the upper half of the length in bits */
  for (unsigned int i = 0; i < 8; i++) {
    const uint8_t byte = (uint8_t)(bits >> (56 - 8 * i));
    absorb(hash, &byte, 1);
  }
  for (unsigned int i = 0; i < 64; i++) digest[i] = (uint8_t)(hash->state[i / 8] >> (56 - 8 * (i % 8)));
}

/* ---- Ed25519: SB = R + SHA-512(R, A, M) A (RFC 8032, 5.1.7) ---- */

static bool decode_key(const char *digits, uint8_t key[32]) {
  if (strlen(digits) != 64) return false;
  for (unsigned int i = 0; i < 64; i++) {
    const char digit = digits[i];
    const int value = digit >= '0' && digit <= '9'   ? digit - '0'
                      : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                      : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                     : -1;
    if (value < 0) return false;
    key[i / 2] = (uint8_t)(key[i / 2] << 4 | value);
  }
  return true;
}

_Static_assert(sizeof UB_PUBLIC_KEY - 1 == 64, "UB_PUBLIC_KEY is not 64 hexadecimal digits");

bool ub_is_signed(const uint8_t *file, uint32_t bytes, const char *key, void (*alive)(void *context), void *context) {
  enum { BITE = 65536 };
  const size_t magic = sizeof UB_SIGNATURE_MAGIC - 1;
  uint8_t public_key[32] = {0}, signature[64], digest[64], scalar[32];
  if (bytes < UB_SIGNATURE_BYTES) return false;
  const uint32_t told = bytes - UB_SIGNATURE_BYTES;
  if (memcmp(file + told, UB_SIGNATURE_MAGIC, magic) != 0 || !decode_key(key, public_key)) return false;
  memcpy(signature, file + told + magic, sizeof signature);
  sha512 hash = {.state = {
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179}};
  absorb(&hash, signature, 32);
  absorb(&hash, public_key, sizeof public_key);
  for (uint32_t at = 0; at < told; at += BITE) {
    if (alive != NULL) alive(context);
    absorb(&hash, file + at, told - at < BITE ? told - at : BITE);
  }
  if (alive != NULL) alive(context);
  finish(&hash, digest);
  crypto_eddsa_reduce(scalar, digest);
  return crypto_eddsa_check_equation(signature, public_key, scalar) == 0;
}

#endif
