/* Opening a bundle: everything in it is checked here, once, so that nothing need be checked where it is used. */
#include <string.h>

#include "agent.h"
#include "bytes.h"
#include "crc.h"
#include "encoder.h"
#include "kernel.h"
#include "small.h"

_Static_assert(sizeof(ub_header) == 16, "layout");
_Static_assert(sizeof(ub_section) == 12, "layout");
_Static_assert(sizeof(ub_labels_header) == 44, "layout");
_Static_assert(sizeof(ub_features_header) == 12, "layout");
_Static_assert(sizeof(ub_matrix) == 32, "layout");
_Static_assert(sizeof(ub_sum) == 20, "layout");
_Static_assert(sizeof(ub_layer) == 6 * 32 + 2 * 20 + 2 * 8 + 2 * 4 + 8, "layout");
_Static_assert(sizeof(ub_encoder_header) == 16 + 3 * 32 + 4, "layout");
_Static_assert(sizeof(ub_values_header) == 16 && sizeof(ub_value) == 8, "layout");
_Static_assert(sizeof(ub_golden_header) == 8 && sizeof(ub_golden) == 16, "layout");

/* `count` items of `size` bytes at `offset` lie within the section, aligned to their size, but at most to 4. */
static bool holds(const ub_view *section, uint32_t offset, uint32_t count, uint32_t size) {
  const uint32_t alignment = size % 4 == 0 ? 4 : size;
  return offset % alignment == 0 && offset <= section->length && (uint64_t)count * size <= section->length - offset;
}

/* The struct that a section begins with. */
static bool read_header(const ub_view *section, void *out, uint32_t size) {
  if (section->length < size) return false;
  memcpy(out, section->bytes, size);
  return true;
}

/* Each of `count` words, `step` words apart, lies in [least, least + span]. */
static bool words_lie(const uint8_t *words, uint32_t count, uint32_t step, uint32_t least, uint32_t span) {
  for (uint32_t i = 0; i < count; i++)
    if (ub_read_u32(words, i * step) - least > span) return false;
  return true;
}

/* Replies carry the text as it is: they are UTF-8, and a control character would break their line. `least`: 1 if NULs may
 * end strings in it. */
static bool fits_a_line(const uint8_t *text, size_t length, uint32_t least) {
  for (size_t at = 0; at < length;) {
    const uint32_t c = ub_code_point(text, length, &at);
    if (c == UB_INVALID || c - least < 0x20 - least) return false;
  }
  return true;
}

/* ---- file ---------------------------------------------------------------------------------------------------- */

static ub_status open_sections(ub_agent *agent, const uint8_t *bundle, size_t size) {
  ub_header header;
  if (size < sizeof header) return UB_ERROR_LENGTH;
  memcpy(&header, bundle, sizeof header);
  if (header.magic != UB_MAGIC) return UB_ERROR_MAGIC;
  if (header.length < sizeof header + UB_SECTIONS * sizeof(ub_section) || header.length > size) return UB_ERROR_LENGTH;
  const size_t covered = offsetof(ub_header, length);
  if (ub_crc32(0, bundle + covered, header.length - covered) != header.crc32) return UB_ERROR_CRC;
  if (header.version != UB_VERSION) return UB_ERROR_VERSION;
  if (header.sections != UB_SECTIONS) return UB_ERROR_FORMAT;
  const ub_view whole = {bundle, header.length};
  for (uint32_t i = 0; i < UB_SECTIONS; i++) {
    ub_section section;
    memcpy(&section, bundle + sizeof header + i * sizeof section, sizeof section);
    if (section.kind == 0 || section.kind > UB_SECTIONS || agent->sections[section.kind].bytes) return UB_ERROR_FORMAT;
    if (section.offset % 16 != 0 || !holds(&whole, section.offset, section.length, 1)) return UB_ERROR_FORMAT;
    agent->sections[section.kind] = (ub_view){bundle + section.offset, section.length};
  }
  agent->crc32 = header.crc32;
  agent->length = header.length;
  return UB_OK;
}

/* ---- labels -------------------------------------------------------------------------------------------------- */

static bool string_table_holds(const ub_view *section, uint32_t offset, uint32_t count) {
  if (!holds(section, offset, count, 4)) return false;
  const uint32_t first = offset + 4 * count;
  uint32_t end = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t next = ub_read_u32(section->bytes + offset, i);
    if (next < end || !holds(section, first, next, 1)) return false;
    if (!fits_a_line(section->bytes + first + end, next - end, 0)) return false;
    end = next;
  }
  return true;
}

/* How long decoding may look for the best class and tags. */
static bool search_ends(const ub_view *section, const ub_labels_header *labels, uint32_t mask_bytes) {
  uint32_t searches = labels->classes;
  for (uint32_t i = 0; i < labels->classes; i++) {
    const uint8_t *const needed = section->bytes + labels->slot_masks + (2 * i + 1) * mask_bytes;
    for (uint32_t slot = 0; slot < labels->slots; slot++) searches += ub_bit(needed, slot);
  }
  return searches * labels->slots <= UB_MAX_SEARCH;
}

static bool open_labels(ub_agent *agent) {
  const ub_view *const section = &agent->sections[UB_LABELS];
  ub_labels_header *const labels = &agent->labels;
  if (!read_header(section, labels, sizeof *labels)) return false;
  if (labels->classes == 0 || labels->classes > UB_MAX_CLASSES || labels->intents > labels->classes ||
      1 + 2 * (uint32_t)labels->slots > UB_MAX_TAGS || labels->threshold > 10000 || labels->others > 256)
    return false;
  const uint32_t mask_bytes = ub_mask_bytes(labels->slots);
  if (!string_table_holds(section, labels->intent_names, labels->intents) ||
      !string_table_holds(section, labels->slot_names, labels->slots) ||
      !string_table_holds(section, labels->implied, labels->classes) ||
      !holds(section, labels->class_intent, labels->classes, 2) ||
      !holds(section, labels->slot_masks, 2 * labels->classes * mask_bytes, 1) ||
      !holds(section, labels->numeric_mask, mask_bytes, 1) || !holds(section, labels->single_mask, mask_bytes, 1) ||
      !holds(section, labels->probability, 256, 4) || !search_ends(section, labels, mask_bytes))
    return false;
  uint32_t least = 0;
  for (uint32_t i = 0; i < labels->classes; i++) {
    const uint32_t intent = ub_read_u16(section->bytes + labels->class_intent, i);
    if (intent < least || (intent >= labels->intents && intent != UB_NONE)) return false;
    least = intent;
  }
  return words_lie(section->bytes + labels->probability, 256, 1, 0, 65536);
}

static bool open_values(ub_agent *agent) {
  const ub_view *const section = &agent->sections[UB_VALUES];
  ub_values_header *const values = &agent->values;
  if (!read_header(section, values, sizeof *values) ||
      !holds(section, values->entries, values->count, sizeof(ub_value)) ||
      !holds(section, values->pool, values->pool_length, 1))
    return false;
  if (values->count == 0) return true;
  const uint8_t *const pool = section->bytes + values->pool;
  if (values->pool_length == 0 || pool[values->pool_length - 1] != 0 || !fits_a_line(pool, values->pool_length, 1))
    return false;
  for (uint32_t i = 0; i < values->count; i++) {
    const uint32_t text = ub_read_u32(section->bytes + values->entries, 2 * i + offsetof(ub_value, text) / 4);
    if (text >= values->pool_length || (pool[text] & 0xC0) == 0x80) return false; /* in the middle of a character */
  }
  return true;
}

/* ---- encoder ------------------------------------------------------------------------------------------------- */

static bool scale_holds(int32_t multiplier, int32_t shift) { return multiplier >= 0 && shift <= 0 && shift >= -31; }

/* The ub_matrix at an offset of the section, which holds it. */
static bool matrix_holds(const ub_agent *agent, uint32_t offset, uint32_t rows, uint32_t columns) {
  const ub_view *const section = &agent->sections[UB_ENCODER], *const model = &agent->sections[UB_FLATBUFFER];
  ub_matrix m;
  memcpy(&m, section->bytes + offset, sizeof m);
  if (m.rows != rows || m.columns != columns || (m.channels != 1 && m.channels != rows)) return false;
  if ((m.bits != 4 && m.bits != 8) || columns * m.bits % 8 != 0) return false;
  if (!holds(model, m.weights, rows * columns * m.bits / 8, 1) || !holds(model, m.bias, rows, 4) ||
      !holds(section, m.multiplier, m.channels, 4) ||
      !holds(section, m.shift, m.channels, 1) || !holds(section, m.energy, ub_energy_bytes(rows, columns), 1))
    return false;
  for (uint32_t i = 0; i < m.channels; i++)
    if (!scale_holds(ub_read_i32(section->bytes + m.multiplier, i), (int8_t)section->bytes[m.shift + i])) return false;
  const uint32_t limit = 1 << 29; /* leaves room for any sum of products */
  return m.bias == 0 || words_lie(model->bytes + m.bias, rows, 1, 0u - limit, 2 * limit);
}

static bool sum_holds(const ub_sum *sum) {
  return scale_holds(sum->a_multiplier, sum->a_shift) && scale_holds(sum->b_multiplier, sum->b_shift) &&
         scale_holds(sum->output_multiplier, sum->output_shift) &&
         (ub_is_half(sum->a_multiplier, sum->a_shift) || ub_is_half(sum->b_multiplier, sum->b_shift));
}

/* `*macs` grows by the layer's multiply-accumulates of a position. */
static bool layer_holds(const ub_agent *agent, uint32_t offset, uint32_t *macs) {
  enum { WIDTH, HEADS, HIDDEN };
  static const struct {
    uint8_t matrix, rows, columns;
  } matrices[] = {
      {offsetof(ub_layer, query), HEADS, WIDTH}, {offsetof(ub_layer, key), HEADS, WIDTH},
      {offsetof(ub_layer, value), HEADS, WIDTH}, {offsetof(ub_layer, output), WIDTH, HEADS},
      {offsetof(ub_layer, up), HIDDEN, WIDTH},   {offsetof(ub_layer, down), WIDTH, HIDDEN},
  };
  const ub_view *const section = &agent->sections[UB_ENCODER];
  ub_layer layer;
  memcpy(&layer, section->bytes + offset, sizeof layer);
  const uint32_t sizes[] = {
      [WIDTH] = agent->encoder.width, [HEADS] = (uint32_t)layer.heads * layer.head_width, [HIDDEN] = layer.up.rows};
  if (layer.head_width < UB_MIN_HEAD || sizes[HEADS] == 0 || sizes[HEADS] > UB_MAX_WIDTH || sizes[HIDDEN] == 0 ||
      sizes[HIDDEN] > UB_MAX_HIDDEN)
    return false;
  for (uint32_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++)
    if (!matrix_holds(agent, offset + matrices[i].matrix, sizes[matrices[i].rows], sizes[matrices[i].columns]))
      return false;
  if (!sum_holds(&layer.attention_residual) || !sum_holds(&layer.feed_forward_residual) ||
      !scale_holds(layer.logits.multiplier, layer.logits.shift) ||
      !scale_holds(layer.context.multiplier, layer.context.shift) || !holds(section, layer.masked, 256, 1) ||
      !holds(section, layer.exponential, 256, 4))
    return false;
  *macs += sizes[HEADS] * (4 * sizes[WIDTH] + 2u * agent->encoder.positions) + 2 * sizes[WIDTH] * sizes[HIDDEN];
  const uint8_t *const exponential = section->bytes + layer.exponential;
  /* Softmax divides by a sum in which the first one is. */
  return ub_read_i32(exponential, 0) == INT32_MAX && words_lie(exponential, 256, 1, 0, INT32_MAX);
}

static bool open_encoder(ub_agent *agent) {
  const ub_view *const section = &agent->sections[UB_ENCODER];
  ub_encoder_header *const e = &agent->encoder;
  if (!read_header(section, e, sizeof *e)) return false;
  if (e->positions < 2 || e->positions > UB_MAX_POSITIONS || e->embed == 0 || e->embed > UB_MAX_WIDTH || e->width == 0 ||
      e->width > UB_MAX_WIDTH || e->kernel % 2 == 0 || e->kernel > 2 * UB_MAX_POSITIONS || e->layers > UB_MAX_LAYERS ||
      e->classes != agent->labels.classes || e->tags != 1 + 2 * (uint32_t)agent->labels.slots)
    return false;
  if (!matrix_holds(agent, offsetof(ub_encoder_header, convolution), e->width, (uint32_t)e->kernel * e->embed) ||
      !matrix_holds(agent, offsetof(ub_encoder_header, class_head), e->classes, e->width) ||
      !matrix_holds(agent, offsetof(ub_encoder_header, tag_head), e->tags, e->width) ||
      !holds(section, e->layer, e->layers, sizeof(ub_layer)))
    return false;
  uint32_t macs = e->width * ((uint32_t)e->kernel * e->embed + e->tags);
  for (uint32_t i = 0; i < e->layers; i++)
    if (!layer_holds(agent, e->layer + i * (uint32_t)sizeof(ub_layer), &macs)) return false;
  return macs * e->positions + e->width * e->classes - e->width * e->tags <= UB_MAX_MACS;
}

static bool open_features(ub_agent *agent) {
  const ub_view *const section = &agent->sections[UB_FEATURES];
  ub_features_header *const f = &agent->features;
  return read_header(section, f, sizeof *f) && f->hashing == UB_HASHING && (f->bits == 4 || f->bits == 8) &&
         f->embed == agent->encoder.embed && f->embed % 2 == 0 && f->positions == agent->encoder.positions &&
         f->rows > f->positions && holds(section, f->table, (uint32_t)f->rows * f->embed * f->bits / 8, 1);
}

static bool golden_holds(const ub_agent *agent) {
  const ub_view *const section = &agent->sections[UB_GOLDEN];
  ub_golden_header header;
  if (!read_header(section, &header, sizeof header) || header.count > UB_MAX_GOLDEN ||
      !holds(section, header.entries, header.count, sizeof(ub_golden)))
    return false;
  for (uint32_t i = 0; i < header.count; i++) {
    ub_golden golden;
    memcpy(&golden, section->bytes + header.entries + i * sizeof golden, sizeof golden);
    if (golden.length > UB_MAX_TEXT || !holds(section, golden.text, golden.length, 1)) return false;
  }
  return true;
}

UB_SMALL ub_status ub_open(ub_agent *agent, const uint8_t *bundle, size_t size, ub_arena *arena) {
  memset(agent, 0, sizeof *agent);
  if (bundle == NULL || (uintptr_t)bundle % 16 != 0) return UB_ERROR_FORMAT;
  const ub_status status = open_sections(agent, bundle, size);
  if (status != UB_OK) return status;
  if (!open_labels(agent) || !open_values(agent) || !open_encoder(agent) || !open_features(agent) || !golden_holds(agent))
    return UB_ERROR_FORMAT;
  agent->arena_bytes = ub_encoder_arena(agent);
  if (agent->arena_bytes > sizeof arena->bytes) return UB_ERROR_ARENA;
  agent->arena = arena->bytes;
#ifdef UB_TFLM
  return ub_tflm_open(agent);
#else
  return UB_OK;
#endif
}

UB_SMALL void ub_hold(ub_agent *agent, const ub_arena *arena) {
  static const uint8_t kinds[] = {UB_ENCODER, UB_FLATBUFFER};
  uint32_t left = arena->weights == NULL ? 0 : arena->weight_bytes, total = 0;
  for (uint32_t i = 0; i < sizeof kinds; i++) {
    const uint32_t bytes = (agent->sections[kinds[i]].length + 15u) & ~15u;
    if (bytes > left) return;
    left -= bytes;
  }
  for (uint32_t i = 0; i < sizeof kinds; i++) {
    ub_view *const section = &agent->sections[kinds[i]];
    uint8_t *const copy = arena->weights + total;
    memcpy(copy, section->bytes, section->length);
    section->bytes = copy;
    total += (section->length + 15u) & ~15u;
  }
  agent->held_bytes = total;
}
