#include "text.h"

#include "small.h"

/* ---- characters ---------------------------------------------------------------------------------------------- */

uint32_t ub_code_point(const uint8_t *text, size_t length, size_t *at) {
  const uint8_t lead = text[*at];
  if (lead < 0x80) {
    *at += 1;
    return lead;
  }
  if (lead < 0xC2 || lead > 0xF4) return UB_INVALID;
  const uint32_t more = 1u + (lead >= 0xE0) + (lead >= 0xF0), least = 1u << (5 * more + 1);
  uint32_t code = lead & (0x3Fu >> more);
  if (length - *at <= more) return UB_INVALID;
  for (uint32_t i = 1; i <= more; i++) {
    const uint8_t next = text[*at + i];
    if ((next & 0xC0u) != 0x80) return UB_INVALID;
    code = code << 6 | (next & 0x3Fu);
  }
  if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return UB_INVALID;
  *at += more + 1;
  return code;
}

static bool within(uint32_t code, uint32_t first, uint32_t last) { return code - first <= last - first; }

typedef struct {
  uint16_t first, last;
  uint16_t value;
} range;

/* The first of the ranges that the code point is in, or NULL. */
static const range *find(const range *ranges, uint32_t count, uint32_t code) {
  for (; count > 0; count--, ranges++)
    if (within(code, ranges->first, ranges->last)) return ranges;
  return NULL;
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define TO(from, to) (uint16_t)(65536 + (to) - (from)) /* an offset that goes back */

/* Lower case where it is a matter of one code point to one, full-width forms to ASCII, any script's digits to 0-9. */
static uint32_t fold(uint32_t c) {
  /* What is added, modulo 2^16. 0: 1 to what is even, upper case, 0 to what is odd; 1: the other way round */
  static const range offsets[] = {
      {0xC0, 0xD6, 32},    {0xD8, 0xDE, 32},    {0x100, 0x12F, 0},   {0x132, 0x137, 0},   {0x139, 0x148, 1},
      {0x14A, 0x177, 0},   {0x179, 0x17E, 1},   {0x1A0, 0x1A5, 0},   {0x1AF, 0x1B0, 1},   {0x1CD, 0x1DC, 1},
      {0x1DE, 0x1EF, 0},   {0x1F8, 0x21F, 0},   {0x388, 0x38A, 37},  {0x391, 0x3A1, 32},  {0x3A3, 0x3AB, 32},
      {0x400, 0x40F, 80},  {0x410, 0x42F, 32},  {0x460, 0x481, 0},   {0x48A, 0x4BF, 0},   {0x4D0, 0x52F, 0},
      {0x531, 0x556, 48},  {0x1E00, 0x1E95, 0}, {0x1EA0, 0x1EFF, 0}, {0x18F, 0x18F, 202}, {0x386, 0x386, 38},
      {0x38C, 0x38C, 64},  {0x38E, 0x38F, 63},  {0x3C2, 0x3C2, 0},
      {0x130, 0x130, TO(0x130, 'i')},    {0x131, 0x131, TO(0x131, 'i')},    /* its upper case is I, too */
      {0x178, 0x178, TO(0x178, 0xFF)},   {0x1E9E, 0x1E9E, TO(0x1E9E, 0xDF)},
      {0x2019, 0x2019, TO(0x2019, '\'')}, {0x2BC, 0x2BC, TO(0x2BC, '\'')},   {0x2212, 0x2212, TO(0x2212, '-')},
      {0x2013, 0x2013, TO(0x2013, '-')},  {0x66A, 0x66A, TO(0x66A, '%')},   {0x66B, 0x66B, TO(0x66B, '.')},
      {0x66C, 0x66C, TO(0x66C, ',')},   {0x37E, 0x37E, TO(0x37E, '?')},   {0x61F, 0x61F, TO(0x61F, '?')},
  };
  static const uint16_t zeros[] = {0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66,
                                   0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20, 0x1040, 0x17E0, 0x1810};
  if (within(c, 0xFF01, 0xFF5E)) c -= 0xFEE0;
  if (c < 0x80) return within(c, 'A', 'Z') ? c + 32 : c;
  const range *const found = find(offsets, COUNT(offsets), c);
  if (found != NULL) return found->value > 1 ? (uint16_t)(c + found->value) : c + ((c & 1u) == found->value);
  for (size_t i = 0; i < COUNT(zeros); i++)
    if (within(c, zeros[i], zeros[i] + 9u)) return '0' + (c - zeros[i]);
  return c;
}

typedef enum {
  BREAK,     /* space or punctuation: ends a token, is none */
  SYMBOL,    /* a token of its own */
  DIGIT,
  LETTER,    /* runs of letters are words */
  SYLLABLE,  /* scripts that set no spaces: each begins a token */
  MARK       /* stays with the character before it */
} char_class;

/* The class of a folded code point. */
static char_class classify(uint32_t c) {
  static const range classes[] = {
      {0x300, 0x36F, MARK},        {0xE31, 0xE31, MARK},        {0xE34, 0xE3C, MARK},      {0xE47, 0xE4E, MARK},
      {0x102B, 0x103E, MARK},      {0x1056, 0x1059, MARK},      {0x17B6, 0x17D3, MARK},
      {0xAD, 0xAD, MARK},          {0x200C, 0x200D, MARK},      {0x20D0, 0x20FF, MARK},    {0xFE00, 0xFE0F, MARK},
      {0x3099, 0x309A, MARK},
      {0x30FC, 0x30FC, MARK}, /* the long vowel of kana */
      {0x3005, 0x3005, SYLLABLE},
      {0x55A, 0x55F, BREAK},       {0x589, 0x58A, BREAK},     {0x5BE, 0x5BE, BREAK},
      {0x5C3, 0x5C3, BREAK},
      {0x60C, 0x60C, BREAK},       {0x61B, 0x61C, BREAK},       {0x6D4, 0x6D4, BREAK},
      {0x964, 0x965, BREAK},       {0x17D4, 0x17DA, BREAK},     {0x2000, 0x206F, BREAK},   {0x3000, 0x303F, BREAK},
      {0x2E00, 0x2E7F, BREAK},     {0x30FB, 0x30FB, BREAK},     {0xFE10, 0xFE1F, BREAK},   {0xFE30, 0xFE6F, BREAK},
      {0xFEFF, 0xFEFF, BREAK},     {0xFF5F, 0xFF65, BREAK},
      {0xE00, 0xE7F, SYLLABLE}, /* Thai */
      {0x1000, 0x109F, SYLLABLE},  {0x1780, 0x17FF, SYLLABLE},  {0x3040, 0x30FF, SYLLABLE},
      {0x31F0, 0x31FF, SYLLABLE},  {0x3400, 0x9FFF, SYLLABLE},  {0xF900, 0xFAFF, SYLLABLE},
      {'#', '&', SYMBOL},          {'+', '+', SYMBOL},          {'/', '/', SYMBOL},        {'=', '=', SYMBOL},
      {'?', '@', SYMBOL},          {0xA2, 0xA5, SYMBOL},        {0xB0, 0xB0, SYMBOL},      {0xD7, 0xD7, SYMBOL},
      {0xF7, 0xF7, SYMBOL},        {0x20A0, 0x20CF, SYMBOL},    {0x2100, 0x2BFF, SYMBOL},
      {0xAA, 0xAA, LETTER},        {0xB5, 0xB5, LETTER},        {0xBA, 0xBA, LETTER},
      {0xBC, 0xBE, DIGIT}, /* quarters */
  };
  if (within(c, 'a', 'z')) return LETTER;
  if (within(c, '0', '9')) return DIGIT;
  if (within(c, 0x1F000, 0x1FAFF)) return SYMBOL;
  if (within(c, 0x20000, 0x3FFFF)) return SYLLABLE;
  if (within(c, 0xE80, 0xEFF)) c -= 0x80; /* Lao: as Thai */
  const range *const found = find(classes, COUNT(classes), c);
  return found != NULL ? (char_class)found->value : c < 0xC0 ? BREAK : LETTER;
}

/* ---- tokens -------------------------------------------------------------------------------------------------- */

/* The class of the character at text[at], BREAK at the end. The text there must be valid. */
static char_class class_at(const uint8_t *text, size_t length, size_t at) {
  if (at >= length) return BREAK;
  const uint32_t code = ub_code_point(text, length, &at);
  return code == UB_INVALID ? BREAK : classify(fold(code));
}

/* Whether a number begins at text[at]: with a digit, or a point before one. */
static bool number_at(const uint8_t *text, size_t length, size_t at) {
  return class_at(text, length, at + (at < length && text[at] == '.')) == DIGIT;
}

/* Whether one or two letters stand at text[at]: 's, 't, 'll. The word behind l' has more. */
static bool ending_at(const uint8_t *text, size_t length, size_t at) {
  uint32_t letters = 0;
  for (; letters < 3 && class_at(text, length, at) == LETTER; letters++) (void)ub_code_point(text, length, &at);
  return letters == 1 || letters == 2;
}

/* Whether a token is one letter with a point behind it, as each is in "u. s. d.". */
static bool initial(const uint8_t *text, size_t length, const ub_token *token) {
  size_t at = token->start;
  if (class_at(text, length, at) != LETTER) return false;
  (void)ub_code_point(text, length, &at);
  return at < length && text[at] == '.';
}

UB_SMALL int32_t ub_tokenize(const uint8_t *text, size_t length, ub_token *tokens, uint32_t max) {
  if (length > UB_MAX_TEXT) return -1;
  uint32_t count = 0;
  ub_token token = {0, 0, 0};
  char_class open = BREAK; /* class of the token being read: BREAK if none */
  bool joined = false;     /* to the character before, as a hyphen is and a sign is not */
  size_t at = 0, start;
  do {
    start = at;
    const uint32_t raw = at < length ? ub_code_point(text, length, &at) : ' '; /* the end is a break */
    if (raw == UB_INVALID) return -1;
    const uint32_t c = fold(raw);
    char_class kind = classify(c);
    bool begins;
    if (kind == MARK) {
      begins = false;
      kind = open;
    } else if (kind == DIGIT || kind == LETTER) {
      begins = open != kind;
    } else if (open == DIGIT && (c == '.' || c == ',' || c == ':') && class_at(text, length, at) == DIGIT) {
      kind = DIGIT, begins = false;
    } else if (open == LETTER && c == '\'' && ending_at(text, length, at)) {
      kind = LETTER, begins = true; /* kitchen's: the kitchen is a slot, 's is not */
    } else if ((c == '-' || c == '.') && !joined && number_at(text, length, c == '-' ? at : start)) {
      kind = DIGIT, begins = true;
    } else {
      begins = true; /* a symbol or syllable, or the break that ends a token */
    }
    if (begins) {
      if (open != BREAK) {
        /* The point that ends a sentence is no part of its last word; that of an abbreviation is. */
        if (count > 0 && initial(text, length, &token) && initial(text, length, &tokens[count - 1])) token.end++;
        if (count == max) return (int32_t)max + 1;
        tokens[count++] = token;
      }
      token.start = (uint16_t)start;
      token.number = kind == DIGIT;
      open = kind;
    }
    if (open != BREAK) token.end = (uint16_t)at;
    joined = open != BREAK || c == '.';
  } while (start < length);
  return (int32_t)count;
}

/* ---- hashed pieces ------------------------------------------------------------------------------------------- */

/* FNV-1a over code points, each kind of piece with a start of its own, then the finalizer of Wang's integer hash. */
enum { WORD = 1, PREFIX, SUFFIX, TRIGRAM, SHAPE, PHRASE };

static uint32_t hash_start(uint32_t kind) { return 2166136261u ^ kind * 0x9E3779B1u; }
static uint32_t hash_add(uint32_t hash, uint32_t c) { return (hash ^ c) * 16777619u; }

static __attribute__((noinline)) uint32_t hash_end(uint32_t hash) {
  hash = (hash ^ hash >> 15) * 0x2C1B3C6Du;
  hash = (hash ^ hash >> 12) * 0x297A2D39u;
  return hash ^ hash >> 15;
}

/* Not in line: it has five callers. */
static __attribute__((noinline)) uint32_t hash_run(uint32_t kind, const uint32_t *chars, uint32_t count) {
  uint32_t hash = hash_start(kind);
  for (uint32_t i = 0; i < count; i++) hash = hash_add(hash, chars[i]);
  return hash;
}

/* Changes how a character looks or where a line may break, not what it is. */
static bool unheard(uint32_t c) { return c == 0xAD || within(c, 0x20D0, 0x20FF) || within(c, 0xFE00, 0xFE0F); }

/* The folded characters of a token, at most UB_WORD_CHARS of them. */
static uint32_t fold_token(const uint8_t *text, const ub_token *token, uint32_t *chars) {
  uint32_t count = 0;
  for (size_t at = token->start; at < token->end && count < UB_WORD_CHARS;) {
    const uint32_t code = ub_code_point(text, token->end, &at);
    if (code == UB_INVALID) break;
    if (!unheard(code) && (code != '.' || token->number)) chars[count++] = fold(code);
  }
  return count;
}

UB_SMALL uint32_t ub_pieces(const uint8_t *text, const ub_token *token, uint16_t first, uint16_t rows,
                            uint16_t *pieces) {
  const uint32_t buckets = (uint32_t)rows - first;
  uint32_t chars[UB_WORD_CHARS + 2]; /* ^word$ */
  uint32_t *const word = chars + 1;
  const uint32_t length = fold_token(text, token, word);
  uint32_t hashes[UB_MAX_PIECES - 1];
  uint32_t count = 0;

  hashes[count++] = hash_run(WORD, word, length);
  if (token->number) {
    for (uint32_t i = 0; i < length; i++)
      if (within(word[i], '0', '9')) word[i] = '0';
    hashes[count++] = hash_run(SHAPE, word, length);
  } else {
    for (uint32_t n = 2; n <= 4 && n < length; n++) hashes[count++] = hash_run(PREFIX, word, n);
    for (uint32_t n = 2; n <= 4 && n < length; n++) hashes[count++] = hash_run(SUFFIX, word + length - n, n);
    chars[0] = '^';
    word[length] = '$';
    for (uint32_t i = 0; i < length && length > 1 && count < UB_MAX_PIECES - 1; i++)
      hashes[count++] = hash_run(TRIGRAM, chars + i, 3);
  }
  for (uint32_t i = 0; i < count; i++) pieces[i] = (uint16_t)(first + (uint32_t)((uint64_t)hash_end(hashes[i]) * buckets >> 32));
  return count;
}

UB_SMALL uint32_t ub_phrase_hash(const uint8_t *text, const ub_token *tokens, uint32_t from, uint32_t to,
                                 uint32_t any, uint16_t slot) {
  uint32_t hash = hash_add(hash_start(PHRASE), slot);
  for (uint32_t i = from; i < to; i++) {
    uint32_t chars[UB_WORD_CHARS];
    const uint32_t length = i == any ? 0 : fold_token(text, &tokens[i], chars); /* no token is empty */
    for (uint32_t k = 0; k < length; k++) hash = hash_add(hash, chars[k]);
    hash = hash_add(hash, ' ');
  }
  return hash_end(hash);
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* Whether three digits stand at chars[at], and no more. */
static bool group_at(const uint32_t *chars, uint32_t length, uint32_t at) {
  uint32_t digits = 0;
  while (at + digits < length && within(chars[at + digits], '0', '9')) digits++;
  return digits == 3;
}

UB_SMALL bool ub_number_json(const uint8_t *text, const ub_token *token, char out[UB_NUMBER_CHARS]) {
  uint32_t chars[UB_WORD_CHARS];
  const uint32_t length = fold_token(text, token, chars);
  if (length == UB_WORD_CHARS) return false; /* there may be more */
  uint32_t at = 0, used = 0, digits = 0, decimals = 0;
  bool point = false, grouped = false;
  if (at < length && chars[at] == '-') out[used++] = (char)chars[at++];
  for (; at < length; at++) {
    const uint32_t c = chars[at];
    if (within(c, '0', '9')) {
      if (digits == 9) return false;
      const bool leading_zero = used > 0 && out[used - 1] == '0' && digits == 1 && !point;
      if (leading_zero) used--, digits--;
      out[used++] = (char)c;
      digits++;
      if (point) decimals++;
    } else if (c == ',' && !point && group_at(chars, length, at + 1) && (grouped || digits <= 3) &&
               (digits > 1 || (digits == 1 && out[used - 1] != '0'))) { /* 1,000; neither 0,500 nor 1234,567 */
      grouped = true;
    } else if (!point && (c == '.' || (c == ',' && digits > 0 && !grouped))) {
      if (digits == 0) out[used++] = '0';
      out[used++] = '.';
      point = true;
    } else if (!point && within(c, 0xBC, 0xBE) && at + 1 == length) {
      if (digits == 0) out[used++] = '0';
      out[used++] = '.';
      if (c != 0xBD) out[used++] = c == 0xBC ? '2' : '7';
      out[used++] = '5';
      digits++;
    } else {
      return false;
    }
  }
  out[used] = '\0';
  return digits > 0 && (!point || decimals > 0);
}
