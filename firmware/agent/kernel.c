#include "kernel.h"

#include "bytes.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- fixed point, as TFLite Micro does it (tensorflow/lite/kernels/internal/common.cc, gemmlowp/fixedpoint.h) --- */

/* gemmlowp SaturatingRoundingDoublingHighMul: round(a * b / 2^31). It saturates only where both are INT32_MIN. */
INLINE int32_t high_mul(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* The same of numbers that are not negative; the form that takes the fewest instructions. */
INLINE uint32_t high_mul_positive(uint32_t a, uint32_t b) {
  const uint64_t product = (uint64_t)(2 * a) * b;
  return (uint32_t)(product >> 32) + ((uint32_t)product >> 31);
}

/* A multiplier and a right shift, prepared for requantize(). */
typedef struct {
  uint32_t twice;    /* the significand in Q0.32 */
  int32_t exponent;  /* 0 .. 31 */
  int32_t half;      /* 2^exponent / 2 */
  int32_t negatives; /* numbers below this round half away from zero, that is down */
} multiplier;

/* significand: Q0.31, not negative; shift: -31 .. 0 (checked when the bundle was opened). */
INLINE multiplier prepare(int32_t significand, int32_t shift) {
  const int32_t half = (int32_t)(1u << -shift >> 1);
  return (multiplier){2u * (uint32_t)significand, -shift, half, half ? 0 : INT32_MIN};
}

/* MultiplyByQuantizedMultiplier with double rounding: SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT. */
INLINE int32_t requantize(int32_t x, multiplier m) {
  const int64_t product = (int64_t)x * m.twice;
  const int32_t high = (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
  return (high + m.half - (high < m.negatives)) >> m.exponent;
}

/* Stores an int8; through its bits, because GCC would first extend the sign of what it then truncates. */
INLINE void store(int8_t *to, int32_t value) { *(uint8_t *)to = (uint8_t)value; }

INLINE uint32_t leading_zeros(uint32_t x) {
  uint32_t count = 0;
  for (uint32_t step = 16; step > 0; step >>= 1)
    if (x >> (32 - step) == 0) count += step, x <<= step;
  return x >> 31 ? count : count + 1;
}

/* ---- matrices ------------------------------------------------------------------------------------------------ */

/* Sums of two rows of weights at a block of positions: what fits into the registers of a RISC-V. */
typedef struct {
  int32_t at[UB_BLOCK][2];
} tile;

/* Loops of constant length over a tile must be unrolled, so that its sums stand in registers. */
#define UNROLL _Pragma("GCC unroll 4")

/* sums[p][r] += sum_c weights[r][c] * x[p][c]. */
INLINE void dot(uint32_t positions, const int8_t *weights, uint32_t weights_stride, const int8_t *x, uint32_t x_stride,
                uint32_t columns, tile *sums) {
  tile sum = *sums;
  uint32_t c = 0;
  for (; c + 4 <= columns; c += 4, weights += 4, x += 4) {
    UNROLL for (uint32_t p = 0; p < positions; p++) {
      const int8_t *const w = weights + weights_stride, *const a = x + p * x_stride;
      sum.at[p][0] += weights[0] * a[0] + weights[1] * a[1] + weights[2] * a[2] + weights[3] * a[3];
      sum.at[p][1] += w[0] * a[0] + w[1] * a[1] + w[2] * a[2] + w[3] * a[3];
    }
  }
  *sums = sum;
  for (; c < columns; c++, weights++, x++)
    for (uint32_t p = 0; p < positions; p++)
      for (uint32_t r = 0; r < 2; r++) sums->at[p][r] += weights[r * weights_stride] * x[p * x_stride];
}

/* Four columns of a position, packed so that two multiplications give the sum of four products.
 *
 * For weights w and inputs a of int8, (w0 + w2 2^16) (a2 + a0 2^16) = w0 a2 + (w0 a0 + w2 a2) 2^16 modulo 2^32, and
 * likewise with w1, w3, a1, a3. The upper half of the sum of both is the sum of all four products, if it fits into 16
 * bits: that is so for every input if |w0| + |w1| + |w2| + |w3| <= 255, which the converter finds for each row (narrow).
 * A word of weights, with 128 added to each of its bytes, is u0 + u1 2^8 + u2 2^16 + u3 2^24; its odd bytes alone are
 * u1 + u3 2^16. So that the even bytes need not be taken out, `odd` holds what undoes the odd ones in the first product,
 * and `bias` undoes the 128s and rounds the lower half away. */
typedef struct {
  uint32_t all;  /* a2 + a0 2^16: times all four bytes */
  uint32_t odd;  /* a3 + a1 2^16 - 2^8 all: times the odd bytes */
  uint32_t bias; /* 2^15 - 128 (1 + 2^8 + 2^16 + 2^24) all - 128 (1 + 2^16) odd */
} packed;

#define BYTES_128 0x80808080u
#define ODD_BYTES 0x00FF00FFu

uint32_t ub_packed_bytes(uint32_t columns) { return columns / 4 * UB_BLOCK * (uint32_t)sizeof(packed); }

/* x [positions][columns] to out [columns / 4][positions]. */
static void pack(const int8_t *x, uint32_t x_stride, uint32_t positions, uint32_t columns, packed *out) {
  for (uint32_t p = 0; p < positions; p++) {
    const int8_t *const row = x + p * x_stride;
    packed *quad = out + p;
    for (uint32_t c = 0; c < columns; c += 4, quad += positions) {
      quad->all = (uint32_t)row[c + 2] + ((uint32_t)row[c] << 16);
      quad->odd = (uint32_t)row[c + 3] + ((uint32_t)row[c + 1] << 16) - (quad->all << 8);
      quad->bias = (1u << 15) - BYTES_128 * quad->all - (quad->odd << 7) - (quad->odd << 23);
    }
  }
}

/* dot() of two narrow rows whose bytes are aligned to words. */
INLINE void dot_packed(uint32_t positions, const int8_t *weights, uint32_t weights_stride, const packed *x,
                       uint32_t columns, tile *sums) {
  const uint8_t *bytes = (const uint8_t *)weights, *const end = bytes + columns;
  tile sum = *sums;
  for (; bytes != end; bytes += 4, x += positions) {
    const uint32_t all0 = ub_read_u32(bytes, 0) ^ BYTES_128, odd0 = all0 >> 8 & ODD_BYTES;
    const uint32_t all1 = ub_read_u32(bytes + weights_stride, 0) ^ BYTES_128, odd1 = all1 >> 8 & ODD_BYTES;
    UNROLL for (uint32_t p = 0; p < positions; p++) {
      sum.at[p][0] += (int32_t)(all0 * x[p].all + odd0 * x[p].odd + x[p].bias) >> 16;
      sum.at[p][1] += (int32_t)(all1 * x[p].all + odd1 * x[p].odd + x[p].bias) >> 16;
    }
  }
  *sums = sum;
}

/* Rows of weights that are computed in one go: those of a byte of ub_matrix.narrow. */
#define GROUP_ROWS 8

/* Up to GROUP_ROWS rows of weights, or of keys, and inputs at up to UB_BLOCK positions. */
typedef struct {
  const int8_t *weights; /* [rows][columns], weights_stride apart */
  const uint8_t *bias;   /* int32_t[rows] */
  const int8_t *x;       /* [positions][columns], x_stride apart */
  const packed *packed_x;
  uint32_t rows, columns, weights_stride, x_stride;
  uint32_t narrow; /* a bit per row */
} group;

/* sums[i] = bias + weights x of the rows 2i and 2i + 1; an odd last row stands for two. */
INLINE void dot_group(uint32_t positions, const group *g, tile *sums) {
  const int8_t *weights = g->weights;
  for (uint32_t row = 0; row < g->rows; row += 2, weights += 2 * g->weights_stride, sums++) {
    const uint32_t second = g->rows - row > 1, stride = second ? g->weights_stride : 0;
    UNROLL for (uint32_t p = 0; p < positions; p++) {
      sums->at[p][0] = ub_read_i32(g->bias, row);
      sums->at[p][1] = ub_read_i32(g->bias, row + second);
    }
    if ((g->narrow >> row & 3) == 3)
      dot_packed(positions, weights, stride, g->packed_x, g->columns, sums);
    else
      dot(positions, weights, stride, g->x, g->x_stride, g->columns, sums);
  }
}

/* Functions of their own, so that registers are spent on nothing but the sums. (For the same reason library.json keeps
 * GCC from scheduling instructions before it has allotted registers: 7% fewer of them on rv32imc.) */
#define NOINLINE static __attribute__((noinline))
NOINLINE void dot_group_1(const group *g, tile *sums) { dot_group(1, g, sums); }
NOINLINE void dot_group_2(const group *g, tile *sums) { dot_group(2, g, sums); }
NOINLINE void dot_group_3(const group *g, tile *sums) { dot_group(3, g, sums); }
NOINLINE void dot_group_4(const group *g, tile *sums) { dot_group(4, g, sums); }

static void dot_group_at(uint32_t positions, const group *g, tile *sums) {
  switch (positions) {
    case 1: dot_group_1(g, sums); break;
    case 2: dot_group_2(g, sums); break;
    case 3: dot_group_3(g, sums); break;
    default: dot_group_4(g, sums);
  }
}

/* Requantizes the sums of one row of weights at a block of positions. */
INLINE void store_column(uint32_t positions, const int32_t *sum, multiplier scale, int32_t zero, int32_t least,
                         int8_t *y, uint32_t y_stride) {
  UNROLL for (uint32_t p = 0; p < positions; p++, y += y_stride)
    store(y, ub_clamp(requantize(sum[2 * p], scale) + zero, least, 127));
}

void ub_matmul(const ub_agent *agent, const ub_matrix *m, const int8_t *x, uint32_t x_stride, uint32_t n, int8_t *y,
               uint32_t y_stride) {
  const uint8_t *const section = agent->sections[UB_ENCODER].bytes;
  const int8_t *const weights = (const int8_t *)agent->sections[UB_FLATBUFFER].bytes + m->weights;
  const uint32_t columns = m->columns;
  const int32_t zero = m->output_zero, least = m->output_min;
  const bool aligned = (m->weights | columns) % 4 == 0;
  packed *const packed_x = (packed *)(void *)agent->arena;
  multiplier scale = prepare(ub_read_i32(section + m->multiplier, 0), (int8_t)section[m->shift]);
  for (; n > 0; x += UB_BLOCK * x_stride, y += UB_BLOCK * y_stride) {
    const uint32_t positions = n < UB_BLOCK ? n : UB_BLOCK;
    n -= positions;
    if (aligned) pack(x, x_stride, positions, columns, packed_x);
    for (uint32_t row = 0; row < m->rows; row += GROUP_ROWS) {
      const uint32_t rows = m->rows - row < GROUP_ROWS ? m->rows - row : GROUP_ROWS;
      const group g = {.weights = weights + row * columns, .weights_stride = columns, .rows = rows, .columns = columns,
                       .bias = section + m->bias + 4 * row, .x = x, .x_stride = x_stride, .packed_x = packed_x,
                       .narrow = aligned ? section[m->narrow + row / GROUP_ROWS] : 0};
      tile sums[GROUP_ROWS / 2];
      dot_group_at(positions, &g, sums);
      for (uint32_t r = 0; r < rows; r++) {
        if (m->channels > 1)
          scale = prepare(ub_read_i32(section + m->multiplier, row + r), (int8_t)section[m->shift + row + r]);
        const int32_t *const sum = &sums[r / 2].at[0][r % 2];
        if (positions == UB_BLOCK)
          store_column(UB_BLOCK, sum, scale, zero, least, y + row + r, y_stride);
        else
          store_column(positions, sum, scale, zero, least, y + row + r, y_stride);
      }
    }
  }
}

/* ---- norm and residual --------------------------------------------------------------------------------------- */

/* x * 2^exponent, saturating (gemmlowp SaturatingRoundingMultiplyByPOT for a positive exponent). */
INLINE int32_t saturating_shift_left(int32_t x, uint32_t exponent) {
  const int32_t limit = INT32_MAX >> exponent;
  if (x > limit) return INT32_MAX;
  if (x < -limit - 1) return INT32_MIN;
  return (int32_t)((uint32_t)x << exponent);
}

/* GetInvSqrtQuantizedMultiplierExp: 1 / sqrt(x) as a significand in Q0.31 and an exponent (left if positive). */
static int32_t inverse_sqrt(int32_t x, int32_t *exponent) {
  *exponent = 0;
  if (x <= 1) return INT32_MAX;
  int32_t right = 11;
  while (x >= 1 << 29) {
    x /= 4;
    right++;
  }
  const uint32_t pairs = (leading_zeros((uint32_t)x) - 1) / 2 - 1;
  right -= (int32_t)pairs;
  x = (int32_t)((uint32_t)x << 2 * pairs);
  const uint32_t half = ((uint32_t)x / 2 + 1) / 2; /* Q3.28 */
  uint32_t y = 1 << 28;
  for (int step = 0; step < 5; step++) { /* Newton's; nothing is negative or saturates, whatever x */
    const uint32_t cube = high_mul_positive(high_mul_positive(y, y), y) << 6;
    y = (high_mul_positive((1 << 28) + (1 << 27), y) - high_mul_positive(half, cube)) << 3;
  }
  y = high_mul_positive(y, 1518500250); /* sqrt(2) / 2 */
  if (right < 0) {
    y <<= -right;
    right = 0;
  }
  *exponent = -right;
  return (int32_t)y;
}

void ub_normalize(const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h) {
  for (uint32_t p = 0; p < n; p++, x += width, h += width) {
    int32_t square = 0, exponent;
    UNROLL for (uint32_t i = 0; i < width; i++) square += (x[i] - zero) * (x[i] - zero);
    const int32_t significand = inverse_sqrt(square, &exponent);
    exponent += 7;
    const int32_t left = exponent > 0 ? exponent : 0;
    const multiplier scale = prepare(significand, exponent > 0 ? 0 : exponent);
    for (uint32_t i = 0; i < width; i++) store(&h[i], ub_clamp(requantize((x[i] - zero) * (1 << left), scale), -128, 127));
  }
}

void ub_add(const ub_sum *sum, int8_t *x, const int8_t *y, uint32_t count) {
  const multiplier scale = prepare(sum->output_multiplier, sum->output_shift);
  const bool halved = ub_is_half(sum->a_multiplier, sum->a_shift); /* x's scale is the larger one, else y's */
  const int8_t *const large = halved ? x : y, *const small = halved ? y : x;
  const int32_t large_zero = halved ? sum->a_zero : sum->b_zero, small_zero = halved ? sum->b_zero : sum->a_zero;
  const multiplier small_scale =
      halved ? prepare(sum->b_multiplier, sum->b_shift) : prepare(sum->a_multiplier, sum->a_shift);
  const int32_t zero = sum->output_zero;
  for (uint32_t i = 0; i < count; i++) {
    const int32_t a = (large[i] - large_zero) * (1 << 19); /* what requantize() gives with half of 2^20 */
    const int32_t b = requantize((small[i] - small_zero) * (1 << 20), small_scale);
    store(&x[i], ub_clamp(requantize(a + b, scale) + zero, -128, 127));
  }
}

/* ---- attention ----------------------------------------------------------------------------------------------- */

void ub_attention_logits(const ub_scale *scale, const int8_t *masked, const int8_t *q, const int8_t *k, uint32_t stride,
                         uint32_t width, uint32_t queries, uint32_t n, ub_attention *rows) {
  static const _Alignas(4) uint8_t no_bias[4 * GROUP_ROWS] = {0};
  const multiplier logits = prepare(scale->multiplier, scale->shift);
  for (uint32_t j = 0; j < n; j += GROUP_ROWS) {
    const uint32_t keys = n - j < GROUP_ROWS ? n - j : GROUP_ROWS;
    const group g = {.weights = k + j * stride, .weights_stride = stride, .rows = keys, .columns = width,
                     .bias = no_bias, .x = q, .x_stride = stride};
    tile sums[GROUP_ROWS / 2];
    dot_group_at(queries, &g, sums);
    for (uint32_t i = 0; i < queries; i++)
      for (uint32_t r = 0; r < keys; r++)
        store(&rows->logits[i][j + r], masked[ub_clamp(requantize(sums[r / 2].at[i][r % 2], logits), -128, 127)]);
  }
}

/* gemmlowp one_over_one_plus_x_for_x_in_0_1: Q0.31 -> Q0.31, three steps of Newton's division. */
static int32_t one_over_one_plus(int32_t x) {
  const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
  int32_t y = 1515870810 + high_mul(half_denominator, -1010580540); /* 48/17 - 32/17 d, in Q2.29 */
  for (int step = 0; step < 3; step++) {
    const int32_t error = (1 << 29) - high_mul(half_denominator, y);
    y += saturating_shift_left(high_mul(y, error), 2);
  }
  return saturating_shift_left(y, 1);
}

void ub_softmax(const uint8_t *exponential, uint32_t queries, uint32_t n, ub_attention *rows) {
  for (uint32_t q = 0; q < queries; q++) {
    const int8_t *const logits = rows->logits[q];
    uint32_t terms[UB_MAX_POSITIONS]; /* exp(logit - the largest), Q0.31 */
    int32_t most = -128;
    for (uint32_t i = 0; i < n; i++) most = logits[i] > most ? logits[i] : most;
    uint32_t sum = 0; /* Q12.19 */
    for (uint32_t i = 0; i < n; i++) {
      terms[i] = ub_read_u32(exponential, (uint32_t)(most - logits[i]));
      sum += (terms[i] + (1u << 11)) >> 12;
    }
    const uint32_t zeros = leading_zeros(sum); /* one term is 1.0 and there are at most 64: 6 .. 12 */
    const uint32_t scale = (uint32_t)one_over_one_plus((int32_t)((sum << zeros) - (1u << 31)));
    const uint32_t exponent = 12 - zeros + 31 - 8;
    const uint32_t half = (1u << exponent) >> 1;
    for (uint32_t i = 0; i < n; i++) {
      const uint32_t p = (high_mul_positive(scale, terms[i]) + half) >> exponent;
      rows->probabilities[q][i] = (uint8_t)(p > 255 ? 255 : p);
    }
  }
}

/* Two columns of v are weighed by one multiplication: their bytes, with 128 added, stand in lanes of 16 bits, which hold
 * p0 v0 + p1 v1 + ... as long as the probabilities add up to at most 257. All of a row are about 256 together, so that the
 * lanes are emptied once or twice. */
#define MOST_PROBABILITY 257

/* Where the lanes must be emptied: ends of stretches of keys, as many as are returned. total: of every query. */
static uint32_t find_stretches(const ub_attention *rows, uint32_t queries, uint32_t n, uint8_t ends[UB_MAX_POSITIONS],
                               uint32_t total[UB_BLOCK]) {
  uint32_t count = 0, before[UB_BLOCK] = {0};
  for (uint32_t q = 0; q < queries; q++) total[q] = 0;
  for (uint32_t j = 0; j < n; j++) {
    bool full = false;
    for (uint32_t q = 0; q < queries; q++) {
      const uint32_t sum = total[q] + rows->probabilities[q][j];
      full |= sum - before[q] > MOST_PROBABILITY;
      total[q] = sum;
    }
    if (!full) continue;
    ends[count++] = (uint8_t)j;
    for (uint32_t q = 0; q < queries; q++) before[q] = total[q] - rows->probabilities[q][j];
  }
  ends[count++] = (uint8_t)n;
  return count;
}

/* Adds the keys of a stretch to the sums of four columns; v is aligned to words. */
INLINE void weigh(uint32_t queries, const ub_attention *rows, const uint8_t *v, uint32_t stride, uint32_t from,
                  uint32_t end, int32_t sums[UB_BLOCK][4]) {
  uint32_t even[UB_BLOCK] = {0}, odd[UB_BLOCK] = {0};
  for (uint32_t j = from; j < end; j++) {
    const uint32_t all = ub_read_u32(v + j * stride, 0) ^ BYTES_128, evens = all & ODD_BYTES, odds = all >> 8 & ODD_BYTES;
    UNROLL for (uint32_t q = 0; q < queries; q++) {
      const uint32_t p = rows->probabilities[q][j];
      even[q] += p * evens;
      odd[q] += p * odds;
    }
  }
  UNROLL for (uint32_t q = 0; q < queries; q++) {
    sums[q][0] += (int32_t)(even[q] & 0xFFFF);
    sums[q][1] += (int32_t)(odd[q] & 0xFFFF);
    sums[q][2] += (int32_t)(even[q] >> 16);
    sums[q][3] += (int32_t)(odd[q] >> 16);
  }
}

NOINLINE void weigh_1(const ub_attention *rows, const uint8_t *v, uint32_t stride, uint32_t from, uint32_t end,
                      int32_t sums[UB_BLOCK][4]) {
  weigh(1, rows, v, stride, from, end, sums);
}
NOINLINE void weigh_2(const ub_attention *rows, const uint8_t *v, uint32_t stride, uint32_t from, uint32_t end,
                      int32_t sums[UB_BLOCK][4]) {
  weigh(2, rows, v, stride, from, end, sums);
}
NOINLINE void weigh_3(const ub_attention *rows, const uint8_t *v, uint32_t stride, uint32_t from, uint32_t end,
                      int32_t sums[UB_BLOCK][4]) {
  weigh(3, rows, v, stride, from, end, sums);
}
NOINLINE void weigh_4(const ub_attention *rows, const uint8_t *v, uint32_t stride, uint32_t from, uint32_t end,
                      int32_t sums[UB_BLOCK][4]) {
  weigh(4, rows, v, stride, from, end, sums);
}

void ub_attention_context(const ub_scale *scale, const ub_attention *rows, const int8_t *v, uint32_t stride,
                          uint32_t width, uint32_t queries, uint32_t n, int8_t *context) {
  const multiplier out = prepare(scale->multiplier, scale->shift);
  uint8_t ends[UB_MAX_POSITIONS];
  uint32_t total[UB_BLOCK];
  const uint32_t stretches = find_stretches(rows, queries, n, ends, total);
  uint32_t c = 0;
  for (; ((uintptr_t)v | stride) % 4 == 0 && c + 4 <= width; c += 4, v += 4, context += 4) {
    int32_t sums[UB_BLOCK][4];
    for (uint32_t q = 0; q < queries; q++)
      UNROLL for (uint32_t i = 0; i < 4; i++) sums[q][i] = -128 * (int32_t)total[q];
    for (uint32_t s = 0, from = 0; s < stretches; from = ends[s++]) {
      const uint8_t *const bytes = (const uint8_t *)v;
      switch (queries) {
        case 1: weigh_1(rows, bytes, stride, from, ends[s], sums); break;
        case 2: weigh_2(rows, bytes, stride, from, ends[s], sums); break;
        case 3: weigh_3(rows, bytes, stride, from, ends[s], sums); break;
        default: weigh_4(rows, bytes, stride, from, ends[s], sums);
      }
    }
    for (uint32_t q = 0; q < queries; q++)
      UNROLL for (uint32_t i = 0; i < 4; i++)
        store(&context[q * stride + i], ub_clamp(requantize(sums[q][i], out), -128, 127));
  }
  for (; c < width; c++, v++, context++)
    for (uint32_t q = 0; q < queries; q++) {
      int32_t sum = 0;
      for (uint32_t j = 0; j < n; j++) sum += (int32_t)rows->probabilities[q][j] * v[j * stride];
      context[q * stride] = ub_saturate(requantize(sum, out));
    }
}
