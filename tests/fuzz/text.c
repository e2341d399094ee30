/* Any bytes as a sentence: tokens lie within it, in order, and every token has pieces within the table. */
#include <stdlib.h>
#include <string.h>

#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
  if (!(condition)) abort()

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  enum { MAX = 31, FIRST = 32, ROWS = 3584 };
  uint8_t *const text = malloc(size + 1); /* its end is the end of an allocation */
  if (text == NULL) return 0;
  memcpy(text, data, size);
  ub_token tokens[MAX];
  const int32_t count = ub_tokenize(text, size, tokens, MAX);
  REQUIRE(count >= -1 && count <= MAX + 1);
  const uint32_t written = count > MAX ? MAX : count < 0 ? 0 : (uint32_t)count;
  for (uint32_t i = 0; i < written; i++) {
    REQUIRE(tokens[i].start < tokens[i].end && tokens[i].end <= size);
    REQUIRE(i == 0 || tokens[i - 1].end <= tokens[i].start);
    uint16_t pieces[UB_MAX_PIECES];
    const uint32_t found = ub_pieces(text, &tokens[i], FIRST, ROWS, pieces);
    REQUIRE(found >= 1 && found < UB_MAX_PIECES);
    for (uint32_t k = 0; k < found; k++) REQUIRE(pieces[k] >= FIRST && pieces[k] < ROWS);
    char number[UB_NUMBER_CHARS];
    if (tokens[i].number && ub_number_json(text, &tokens[i], number)) REQUIRE(strlen(number) < sizeof number);
  }
  if (written > 0) (void)ub_phrase_hash(text, tokens, 0, written, 0, 0);
  free(text);
  return 0;
}
