/* The forward pass, top to bottom, in the order in which it runs. n: positions of this sentence (its words + 1), E:
 * width of an embedding, D: of the residual stream, A: heads * head width, F: hidden neurons, T: tags, C: classes.
 *
 *   input   int8 [n][E]   sum of the pieces' rows                     zero point 0
 *   x       int8 [n][D]   convolution over neighbouring words
 *   per layer:
 *     h     int8 [n][D]   x / |x|                                     scale 1/128
 *     q k v int8 [n][A]   h W                                         zero point 0
 *     p     uint8 [n]     softmax(q k^T), one row at a time           scale 1/256
 *     h     int8 [n][A]   p v
 *     x     int8 [n][D]   x + h W
 *     h     int8 [n][D]   x / |x|
 *     f     int8 [n][F]   relu(h W)
 *     x     int8 [n][D]   x + f W
 *   h       int8 [n][D]   x / |x|
 *   classes int8 [C]      h[0] W;  tags int8 [n - 1][T] h[1..] W
 *
 * TFLite Micro computes all L positions and masks those without a token; convert/ proves from the quantization
 * parameters that the mask makes their share exactly zero, so that here they need not be computed at all. */
#include "encoder.h"

#include <string.h>

#include "bytes.h"
#include "kernel.h"

/* ---- the forward pass ---------------------------------------------------------------------------------------- */

static ub_layer read_layer(const ub_encoder_header *encoder, const uint8_t *section, uint32_t index) {
  ub_layer layer;
  memcpy(&layer, section + encoder->layer + index * sizeof layer, sizeof layer);
  return layer;
}

static uint32_t most_of(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* Bytes of the arena's regions, in their order. */
typedef struct {
  uint32_t packed; /* ub_matmul()'s own */
  uint32_t x;      /* [n][D] */
  uint32_t h;      /* [n][max(D, A)] */
  uint32_t work;   /* input, q k v, f, or the logits */
} arena_layout;

static arena_layout layout(const ub_encoder_header *encoder, const uint8_t *section, uint32_t n) {
  uint32_t columns = most_of(encoder->convolution.columns, encoder->width);
  arena_layout bytes = {0, n * encoder->width, n * encoder->width, (n + encoder->kernel - 1u) * encoder->embed};
  for (uint32_t i = 0; i < encoder->layers; i++) {
    const ub_layer layer = read_layer(encoder, section, i);
    const uint32_t all = (uint32_t)layer.heads * layer.head_width;
    columns = most_of(columns, most_of(all, layer.up.rows));
    bytes.h = most_of(bytes.h, n * all);
    bytes.work = most_of(bytes.work, n * most_of(most_of(3 * all, layer.up.rows), encoder->width));
  }
  bytes.work = most_of(bytes.work, encoder->classes + 2 * n * encoder->tags);
  bytes.packed = ub_packed_bytes(columns);
  return bytes;
}

uint32_t ub_encoder_arena(const ub_encoder_header *encoder, const uint8_t *section, uint32_t positions) {
  const arena_layout bytes = layout(encoder, section, positions);
  return bytes.packed + bytes.x + bytes.h + bytes.work;
}

/* The input stands in the work region, between rows of zeros that the convolution sees beyond both ends. */
static int8_t *input_rows(const ub_agent *agent, uint32_t n) {
  const arena_layout bytes = layout(&agent->encoder, agent->sections[UB_ENCODER].bytes, n);
  int8_t *const work = (int8_t *)agent->arena + bytes.packed + bytes.x + bytes.h;
  const uint32_t margin = agent->encoder.kernel / 2u * agent->encoder.embed;
  memset(work, 0, margin);
  memset(work + margin + n * agent->encoder.embed, 0, margin);
  return work + margin;
}

const int8_t *ub_embed(const ub_agent *agent, const uint8_t *text, const ub_token *tokens, uint32_t count) {
  const ub_features_header *const features = &agent->features;
  const uint8_t *const table = agent->sections[UB_FEATURES].bytes + features->table;
  const uint32_t embed = features->embed, row_bytes = embed * features->bits / 8u;
  int8_t *const input = input_rows(agent, count + 1);
  for (uint32_t position = 0; position <= count; position++) {
    uint16_t rows[UB_MAX_PIECES] = {(uint16_t)position};
    uint32_t pieces = 1;
    if (position > 0) pieces += ub_pieces(text, &tokens[position - 1], features->positions, features->rows, rows + 1);
    int16_t sum[UB_MAX_WIDTH] = {0};
    for (uint32_t piece = 0; piece < pieces; piece++) {
      const uint8_t *const row = table + rows[piece] * row_bytes;
      if (features->bits == 4) {
        for (uint32_t i = 0; i < row_bytes; i++) {
          sum[2 * i] = (int16_t)(sum[2 * i] + (row[i] & 15) - 8);
          sum[2 * i + 1] = (int16_t)(sum[2 * i + 1] + (row[i] >> 4) - 8);
        }
      } else {
        for (uint32_t i = 0; i < embed; i++) sum[i] = (int16_t)(sum[i] + (int8_t)row[i]);
      }
    }
    for (uint32_t i = 0; i < embed; i++) input[position * embed + i] = ub_saturate(sum[i]);
  }
  return input;
}

ub_logits ub_encode_embeddings(const ub_agent *agent, const int8_t *embeddings, uint32_t positions) {
  memcpy(input_rows(agent, positions), embeddings, (size_t)positions * agent->encoder.embed);
  return ub_encode(agent, positions);
}

/* Attention of every head: q, k, v int8 [n][A] -> context int8 [n][A]. */
static void attend(const ub_layer *layer, const uint8_t *section, const int8_t *q, const int8_t *k, const int8_t *v,
                   uint32_t n, int8_t *context) {
  const int8_t *const masked = (const int8_t *)section + layer->masked + 128;
  const uint32_t width = layer->head_width, all = (uint32_t)layer->heads * width;
  for (uint32_t head = 0; head < all; head += width) {
    for (uint32_t i = 0; i < n; i += UB_BLOCK) {
      const uint32_t queries = n - i < UB_BLOCK ? n - i : UB_BLOCK, at = i * all + head;
      ub_attention rows;
      ub_attention_logits(&layer->logits, masked, q + at, k + head, all, width, queries, n, &rows);
      ub_softmax(section + layer->exponential, queries, n, &rows);
      ub_attention_context(&layer->context, &rows, v + head, all, width, queries, n, context + at);
    }
  }
}

ub_logits ub_encode(const ub_agent *agent, uint32_t n) {
  const ub_encoder_header *const encoder = &agent->encoder;
  const uint8_t *const section = agent->sections[UB_ENCODER].bytes;
  const uint32_t width = encoder->width;
  const arena_layout bytes = layout(encoder, section, n);
  int8_t *const x = (int8_t *)agent->arena + bytes.packed;
  int8_t *const h = x + bytes.x;
  int8_t *const work = h + bytes.h;

  ub_matmul(agent, &encoder->convolution, work, encoder->embed, n, x, width);
  for (uint32_t index = 0; index < encoder->layers; index++) {
    const ub_layer layer = read_layer(encoder, section, index);
    const uint32_t all = (uint32_t)layer.heads * layer.head_width;
    int8_t *const q = work, *const k = q + n * all, *const v = k + n * all;

    ub_normalize(x, layer.attention_zero, n, width, h);
    ub_matmul(agent, &layer.query, h, width, n, q, all);
    ub_matmul(agent, &layer.key, h, width, n, k, all);
    ub_matmul(agent, &layer.value, h, width, n, v, all);
    attend(&layer, section, q, k, v, n, h);
    ub_matmul(agent, &layer.output, h, all, n, work, width);
    ub_add(&layer.attention_residual, x, work, n * width);

    ub_normalize(x, layer.feed_forward_zero, n, width, h);
    ub_matmul(agent, &layer.up, h, width, n, work, layer.up.rows);
    ub_matmul(agent, &layer.down, work, layer.up.rows, n, h, width);
    ub_add(&layer.feed_forward_residual, x, h, n * width);
  }
  ub_normalize(x, encoder->final_zero, n, width, h);
  int8_t *const classes = work, *const tags = work + encoder->classes;
  ub_matmul(agent, &encoder->class_head, h, width, 1, classes, encoder->classes);
  ub_matmul(agent, &encoder->tag_head, h + width, width, n - 1, tags, encoder->tags);
  return (ub_logits){classes, tags, (uint8_t *)tags + (n - 1) * encoder->tags};
}
