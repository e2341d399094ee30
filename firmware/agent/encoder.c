/* The forward pass, top to bottom, in the order in which it runs. n: positions of this sentence (its words + 1), E:
 * width of an embedding, D: of the residual stream, A: heads * head width, F: hidden neurons, T: tags, C: classes;
 * b: positions of a block, at most UB_BLOCK, that go together from one line below to the next.
 *
 *   input   int8 [n][E]   sum of the pieces' rows                     zero point 0
 *   x       int8 [n][D]   convolution over neighbouring words
 *   per layer:
 *     h     int8 [b][D]   x / |x|                                     scale 1/128
 *     q k v int8 [n][A]   h W                                         zero point 0
 *     h     int8 [b][n]   p = softmax(q k^T) of a head                scale 1/256
 *     q     int8 [n][A]   p v, a head and block in the place of its queries
 *     x     int8 [n][D]   x + q W
 *     h     int8 [b][D]   x / |x|
 *     f     int8 [b][F]   relu(h W)
 *     x     int8 [n][D]   x + f W
 *   h       int8 [b][D]   x / |x|
 *   classes int8 [C]      h[0] W;  tags int8 [n - 1][T] h[1..] W
 *
 * TFLite Micro computes all L positions and masks those without a token; convert/ proves from the quantization
 * parameters that the mask makes their share exactly zero, so that here they need not be computed at all. */
#include "encoder.h"

#include <string.h>

#include "bytes.h"
#include "kernel.h"
#include "small.h"

/* ---- the forward pass ---------------------------------------------------------------------------------------- */

/* Where a layer stands in the encoder's section. */
static const uint8_t *layer_at(const ub_agent *agent, uint32_t index) {
  return agent->sections[UB_ENCODER].bytes + agent->encoder.layer + index * sizeof(ub_layer);
}

static uint32_t most_of(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* Regions of the arena, in their order:
 *   packed  the block that enters a matrix
 *   x       [n][D]
 *   h       [b][max(D, n)]: a block before a matrix or behind it, or p
 *   work    input, q k v, f, or the logits
 *   spare   a tile of weights of 4 bits as int8; or the energy of a head's keys and values */
UB_SMALL uint32_t ub_encoder_arena(ub_agent *agent) {
  const ub_encoder_header *const encoder = &agent->encoder;
  const uint32_t n = encoder->positions, width = encoder->width, block = n < UB_BLOCK ? n : UB_BLOCK;
  uint32_t columns = most_of(encoder->convolution.columns, most_of(width, n)), spare = 0;
  uint32_t work = most_of((n + encoder->kernel - 1u) * encoder->embed, encoder->classes + 2 * n * encoder->tags);
  for (uint32_t i = 0; i < encoder->layers; i++) {
    const uint8_t *const layer = layer_at(agent, i);
    const uint32_t each = ub_read_u16(layer + offsetof(ub_layer, head_width), 0);
    const uint32_t all = ub_read_u16(layer + offsetof(ub_layer, heads), 0) * each;
    const uint32_t hidden = ub_read_u16(layer + offsetof(ub_layer, up) + offsetof(ub_matrix, rows), 0);
    columns = most_of(columns, most_of(all, hidden));
    work = most_of(work, most_of(3 * n * all, block * hidden));
    spare = most_of(spare, ub_energy_bytes(n, each) + ub_energy_bytes(each, n));
  }
  agent->x = ub_packed_bytes(columns);
  agent->h = agent->x + n * width;
  agent->work = agent->h + block * most_of(width, n);
  agent->spare = agent->work + work;
  return agent->spare + most_of(spare, UB_TILE_ROWS * columns);
}

/* The input stands in the work region, between rows of zeros that the convolution sees beyond both ends. */
static int8_t *input_rows(const ub_agent *agent, uint32_t n) {
  const uint32_t kernel = agent->encoder.kernel, embed = agent->encoder.embed;
  int8_t *const work = (int8_t *)agent->arena + agent->work;
  memset(work, 0, (n + kernel - 1) * embed);
  return work + kernel / 2 * embed;
}

UB_SMALL const int8_t *ub_embed(const ub_agent *agent, const uint8_t *text, const ub_token *tokens, uint32_t count) {
  const ub_features_header *const features = &agent->features;
  const uint8_t *const table = agent->sections[UB_FEATURES].bytes + features->table;
  const uint32_t embed = features->embed, row_bytes = embed * features->bits / 8u;
  int8_t *const input = input_rows(agent, count + 1);
  int8_t *to = input;
  for (uint32_t position = 0; position <= count; position++) {
    uint16_t rows[UB_MAX_PIECES] = {(uint16_t)position};
    uint32_t pieces = 1;
    if (position > 0) pieces += ub_pieces(text, &tokens[position - 1], features->positions, features->rows, rows + 1);
    for (uint32_t i = 0; i < embed; i++) {
      int32_t sum = 0;
      for (uint32_t piece = 0; piece < pieces; piece++) {
        const uint8_t *const row = table + rows[piece] * row_bytes;
        sum += features->bits == 8 ? (int8_t)row[i] : (row[i / 2] >> 4 * (i % 2) & 15) - 8;
      }
      *to++ = ub_saturate(sum);
    }
  }
  return input;
}

UB_SMALL ub_logits ub_encode_embeddings(const ub_agent *agent, const int8_t *embeddings, uint32_t positions) {
  memcpy(input_rows(agent, positions), embeddings, (size_t)positions * agent->encoder.embed);
  return ub_encode(agent, positions);
}

/* What the steps below share. */
typedef struct {
  const ub_agent *agent;
  const uint8_t *section; /* the encoder's */
  int8_t *x, *h, *work;
  uint8_t *energy;
  uint32_t n;
} activations;

/* Positions of the block that begins at `first`: as many as in the others, and even ones. */
static uint32_t block_at(const activations *a, uint32_t first) {
  const uint32_t left = a->n - first, blocks = (left + UB_BLOCK - 1) / UB_BLOCK, pairs = (left + 1) / 2;
  const uint32_t positions = (pairs + blocks - 1) / blocks * 2;
  return positions < left ? positions : left;
}

/* x / |x| of a block, packed. */
static ub_block normalized(const activations *a, uint32_t first, uint32_t positions, int32_t zero) {
  const uint32_t width = a->agent->encoder.width;
  ub_normalize(a->x + first * width, zero, positions, width, a->h);
  return ub_pack(a->agent->arena, a->h, width, 0, width, positions);
}

static void convolve(const activations *a) {
  const ub_encoder_header *const encoder = &a->agent->encoder;
  for (uint32_t i = 0, positions; i < a->n; i += positions) {
    positions = block_at(a, i);
    const ub_block input = ub_pack(a->agent->arena, a->work + i * encoder->embed, encoder->embed, 0,
                                   encoder->convolution.columns, positions);
    ub_matmul(a->agent, &encoder->convolution, &input, a->x + i * encoder->width, encoder->width, 1);
  }
}

static void attend(const activations *a, const ub_layer *layer) {
  const int8_t *const masked = (const int8_t *)a->section + layer->masked + 128;
  uint8_t *const arena = a->agent->arena;
  const uint32_t n = a->n, width = a->agent->encoder.width, each = layer->head_width, all = layer->heads * each;
  int8_t *const q = a->work, *const k = q + n * all, *const v = k + n * all;
  for (uint32_t i = 0, positions; i < n; i += positions) {
    positions = block_at(a, i);
    const ub_block h = normalized(a, i, positions, layer->attention_zero);
    ub_matmul(a->agent, &layer->query, &h, q + i * all, all, 1);
    ub_matmul(a->agent, &layer->key, &h, k + i * all, all, 1);
    ub_matmul(a->agent, &layer->value, &h, v + i, 1, n);
  }
  for (uint32_t head = 0; head < all; head += each) {
    const ub_rows keys = ub_bound(a->energy, k + head, all, n, each);
    const ub_rows values = ub_bound(a->energy + ub_energy_bytes(n, each), v + head * n, n, each, n);
    for (uint32_t i = 0, positions; i < n; i += positions) {
      positions = block_at(a, i);
      int8_t *const rows = q + i * all + head, *const p = a->h;
      const ub_block queries = ub_pack(arena, rows, all, 0, each, positions);
      ub_product(&layer->logits, &keys, &queries, p, n);
      ub_softmax(masked, a->section + layer->exponential, positions, n, p);
      const ub_block weights = ub_pack(arena, p, n, -128, n, positions);
      ub_product(&layer->context, &values, &weights, rows, all);
    }
  }
  for (uint32_t i = 0, positions; i < n; i += positions) {
    positions = block_at(a, i);
    const ub_block context = ub_pack(arena, q + i * all, all, 0, all, positions);
    ub_matmul(a->agent, &layer->output, &context, a->h, width, 1);
    ub_add(&layer->attention_residual, a->x + i * width, a->h, positions * width);
  }
}

static void feed_forward(const activations *a, const ub_layer *layer) {
  const uint32_t width = a->agent->encoder.width, hidden = layer->up.rows;
  for (uint32_t i = 0, positions; i < a->n; i += positions) {
    positions = block_at(a, i);
    const ub_block h = normalized(a, i, positions, layer->feed_forward_zero);
    ub_matmul(a->agent, &layer->up, &h, a->work, hidden, 1);
    const ub_block f = ub_pack(a->agent->arena, a->work, hidden, layer->down.input_zero, hidden, positions);
    ub_matmul(a->agent, &layer->down, &f, a->h, width, 1);
    ub_add(&layer->feed_forward_residual, a->x + i * width, a->h, positions * width);
  }
}

UB_SMALL ub_logits ub_encode(const ub_agent *agent, uint32_t n) {
  const ub_encoder_header *const encoder = &agent->encoder;
  const uint8_t *const section = agent->sections[UB_ENCODER].bytes;
  int8_t *const arena = (int8_t *)agent->arena, *const work = arena + agent->work;
  const activations a = {agent, section, arena + agent->x, arena + agent->h, work, agent->arena + agent->spare, n};

  convolve(&a);
  for (uint32_t index = 0; index < encoder->layers; index++) {
    ub_layer layer;
    memcpy(&layer, layer_at(agent, index), sizeof layer);
    attend(&a, &layer);
    feed_forward(&a, &layer);
  }
  int8_t *const classes = work, *const tags = work + encoder->classes;
  const uint32_t width = encoder->width;
  ub_normalize(a.x, encoder->final_zero, 1, width, a.h);
  const ub_block sentence = ub_pack(agent->arena, a.h, width, 0, width, 1);
  ub_matmul(agent, &encoder->class_head, &sentence, classes, encoder->classes, 1);
  for (uint32_t i = 1, positions; i < n; i += positions) {
    positions = block_at(&a, i);
    const ub_block words = normalized(&a, i, positions, encoder->final_zero);
    ub_matmul(agent, &encoder->tag_head, &words, tags + (i - 1) * encoder->tags, encoder->tags, 1);
  }
  return (ub_logits){classes, tags, (uint8_t *)tags + (n - 1) * encoder->tags};
}
