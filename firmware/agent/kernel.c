#include "kernel.h"

#include "bytes.h"
#include "small.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- fixed point, as TFLite Micro does it (tensorflow/lite/kernels/internal/common.cc, gemmlowp/fixedpoint.h) --- */

/* gemmlowp SaturatingRoundingDoublingHighMul: round(a * b / 2^31). It saturates only where both are INT32_MIN, which they
 * never are here. */
INLINE int32_t high_mul(int32_t a, int32_t b) { return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31); }

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

/* ---- matrices ------------------------------------------------------------------------------------------------ */

/* Two positions are multiplied at once: a word holds x0 + x1 2^16, and sum_c w[c] (x0[c] + x1[c] 2^16) holds both dot
 * products, each in a lane of 16 bits, as long as neither leaves the range of an int16. By Cauchy and Schwarz they do not
 * in a stretch of columns where |w|^2 |x|^2 < 2^30, nor in one column. After each stretch the lanes are emptied. */
#define ROWS UB_TILE_ROWS

/* Loops of constant length over a tile must be unrolled, so that its lanes stand in registers. */
#define UNROLL _Pragma("GCC unroll 4")

INLINE uint32_t largest(uint32_t a, uint32_t b) { return a > b ? a : b; }

static uint32_t chunks_of(uint32_t columns) { return (columns + UB_CHUNK - 1) / UB_CHUNK; }

uint32_t ub_packed_bytes(uint32_t columns) {
  return (chunks_of(columns) + columns * (UB_BLOCK / 2)) * (uint32_t)sizeof(uint32_t);
}

UB_SMALL ub_block ub_pack(uint8_t *arena, const int8_t *x, uint32_t stride, int32_t zero, uint32_t columns, uint32_t positions) {
  const uint32_t pairs = (positions + 1) / 2, chunks = chunks_of(columns);
  uint32_t *const energy = (uint32_t *)(void *)arena, *const words = energy + chunks;
  uint32_t most = 0;
  for (uint32_t i = 0; i < chunks; i++) energy[i] = 0;
  for (uint32_t pair = 0; pair < pairs; pair++, x += 2 * stride) {
    const int8_t *const second = 2 * pair + 1 < positions ? x + stride : x;
    uint32_t *word = words + pair, c = 0, total = 0, second_total = 0;
    for (uint32_t i = 0; i < chunks; i++) {
      uint32_t squares = 0, second_squares = 0;
      for (const uint32_t end = columns - c < UB_CHUNK ? columns : c + UB_CHUNK; c < end; c++, word += pairs) {
        const int32_t a = x[c] - zero, b = second[c] - zero;
        *word = (uint32_t)a + ((uint32_t)b << 16);
        squares += (uint32_t)(a * a);
        second_squares += (uint32_t)(b * b);
      }
      total += squares;
      second_total += second_squares;
      energy[i] = largest(energy[i], largest(squares, second_squares));
    }
    most = largest(most, largest(total, second_total));
  }
  return (ub_block){energy, words, most, positions, columns};
}

/* Rows of weights, or of keys, of a tile. */
typedef struct {
  const int8_t *weights; /* [rows][columns], stride apart */
  const uint8_t *energy; /* of the tile, see ub_matrix */
  uint32_t rows, stride;
} tile;

/* sums[r][p] of a tile at a block of positions. */
typedef struct {
  int32_t at[ROWS][UB_BLOCK];
} tile_sums;

/* The end of the stretch that begins at a column. */
INLINE uint32_t stretch_end(const tile *t, const ub_block *x, uint32_t column) {
  uint32_t chunk = column / UB_CHUNK, w = 0, a = 0, end = column + 1;
  do {
    w += t->energy[chunk];
    a += x->energy[chunk];
    if (a > x->most) a = x->most;
    if ((uint64_t)w * a >= 1u << (30 - UB_ENERGY_BITS)) return end;
    end = ++chunk * UB_CHUNK;
  } while (end < x->columns);
  return x->columns;
}

/* ub_dot(): sums += weights x over one stretch of `columns`; words: of its first column. */
#if defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_mul) && !defined(__riscv_32e)
/* In assembly, because a tile takes every register that there is and GCC spills them: 12% fewer instructions. Lanes of
 * rows 0 to 3: s0-s3, s4-s7, s8-s11, a4-a7; rows: t0-t3; words: a2; end: a1; weights: t4-t6, ra. There is a loop for
 * every number of pairs; what is before and behind it they share. */
_Static_assert(ROWS == 4 && UB_BLOCK == 8, "the tile below");
void ub_dot(const int8_t *const row[ROWS], uint32_t columns, const uint32_t *words, tile_sums *sums, uint32_t pairs);
__asm__(
    ".macro ub_pair at, lane0, lane1, lane2, lane3\n"
    "  lw a0, \\at(a2)\n"
    "  mul a3, t4, a0\n  add \\lane0, \\lane0, a3\n"
    "  mul a3, t5, a0\n  add \\lane1, \\lane1, a3\n"
    "  mul a3, t6, a0\n  add \\lane2, \\lane2, a3\n"
    "  mul a0, ra, a0\n  add \\lane3, \\lane3, a0\n"
    ".endm\n"
    ".macro ub_column pairs, c\n"
    "  lb t4, \\c(t0)\n  lb t5, \\c(t1)\n  lb t6, \\c(t2)\n  lb ra, \\c(t3)\n"
    "  ub_pair 4*\\pairs*\\c, s0, s4, s8, a4\n"
    "  .if \\pairs > 1\n  ub_pair 4*\\pairs*\\c+4, s1, s5, s9, a5\n  .endif\n"
    "  .if \\pairs > 2\n  ub_pair 4*\\pairs*\\c+8, s2, s6, s10, a6\n  .endif\n"
    "  .if \\pairs > 3\n  ub_pair 4*\\pairs*\\c+12, s3, s7, s11, a7\n  .endif\n"
    ".endm\n"
    ".macro ub_columns pairs\n" /* enters behind as many columns as a0 says, and goes on from there by fours */
    "  beqz a0, 1f\n  addi a0, a0, -2\n  bltz a0, 2f\n  beqz a0, 3f\n  j 4f\n"
    "1:\n  ub_column \\pairs, 0\n"
    "2:\n  ub_column \\pairs, 1\n"
    "3:\n  ub_column \\pairs, 2\n"
    "4:\n  ub_column \\pairs, 3\n"
    "  addi t0, t0, 4\n  addi t1, t1, 4\n  addi t2, t2, 4\n  addi t3, t3, 4\n  addi a2, a2, 16*\\pairs\n"
    "  bne t0, a1, 1b\n"
    "  lw a3, 8(sp)\n  li t4, 0x8000\n" /* rounds what is above a lane's lower half */
    ".endm\n"
    ".macro ub_empty lane, at\n"
    "  slli a0, \\lane, 16\n  srai a0, a0, 16\n  add \\lane, \\lane, t4\n  srai \\lane, \\lane, 16\n"
    "  lw a1, \\at(a3)\n  lw a2, \\at+4(a3)\n  add a1, a1, a0\n  add a2, a2, \\lane\n"
    "  sw a1, \\at(a3)\n  sw a2, \\at+4(a3)\n"
    ".endm\n"
    ".macro ub_empty_pair at, lane0, lane1, lane2, lane3\n"
    "  ub_empty \\lane0, \\at\n  ub_empty \\lane1, \\at+32\n  ub_empty \\lane2, \\at+64\n  ub_empty \\lane3, \\at+96\n"
    ".endm\n"
    ".macro ub_clear lane0, lane1, lane2, lane3\n"
    "  li \\lane0, 0\n  li \\lane1, 0\n  li \\lane2, 0\n  li \\lane3, 0\n"
    ".endm\n"
    ".pushsection .text.ub_dot,\"ax\",@progbits\n"
    ".globl ub_dot\n.hidden ub_dot\n.type ub_dot, @function\n"
    "ub_dot:\n"
    "  addi sp, sp, -64\n"
    "  sw ra, 60(sp)\n  sw s0, 56(sp)\n  sw s1, 52(sp)\n  sw s2, 48(sp)\n  sw s3, 44(sp)\n  sw s4, 40(sp)\n"
    "  sw s5, 36(sp)\n  sw s6, 32(sp)\n  sw s7, 28(sp)\n  sw s8, 24(sp)\n  sw s9, 20(sp)\n  sw s10, 16(sp)\n"
    "  sw s11, 12(sp)\n  sw a3, 8(sp)\n"
    "  mv a3, a4\n"
    "  lw t0, 0(a0)\n  lw t1, 4(a0)\n  lw t2, 8(a0)\n  lw t3, 12(a0)\n"
    "  ub_clear s0, s4, s8, a4\n  ub_clear s1, s5, s9, a5\n  ub_clear s2, s6, s10, a6\n  ub_clear s3, s7, s11, a7\n"
    "  neg a0, a1\n  add a1, a1, t0\n"
    "  andi a0, a0, 3\n  beqz a0, 1f\n" /* the loops count from a0 columns before the first: none of those is read */
    "  sub t0, t0, a0\n  sub t1, t1, a0\n  sub t2, t2, a0\n  sub t3, t3, a0\n"
    "  mul t4, a0, a3\n  slli t4, t4, 2\n  sub a2, a2, t4\n"
    "1:\n"
    "  addi a3, a3, -2\n  bltz a3, .Lub_one\n  beqz a3, .Lub_two\n  addi a3, a3, -1\n  beqz a3, .Lub_three\n"
    "  ub_columns 4\n"
    "  ub_empty_pair 24, s3, s7, s11, a7\n"
    ".Lub_empty_three:\n"
    "  ub_empty_pair 16, s2, s6, s10, a6\n"
    ".Lub_empty_two:\n"
    "  ub_empty_pair 8, s1, s5, s9, a5\n"
    ".Lub_empty_one:\n"
    "  ub_empty_pair 0, s0, s4, s8, a4\n"
    "  lw ra, 60(sp)\n  lw s0, 56(sp)\n  lw s1, 52(sp)\n  lw s2, 48(sp)\n  lw s3, 44(sp)\n  lw s4, 40(sp)\n"
    "  lw s5, 36(sp)\n  lw s6, 32(sp)\n  lw s7, 28(sp)\n  lw s8, 24(sp)\n  lw s9, 20(sp)\n  lw s10, 16(sp)\n"
    "  lw s11, 12(sp)\n"
    "  addi sp, sp, 64\n"
    "  ret\n"
    ".Lub_three:\n  ub_columns 3\n  j .Lub_empty_three\n"
    ".Lub_two:\n  ub_columns 2\n  j .Lub_empty_two\n"
    ".Lub_one:\n  ub_columns 1\n  j .Lub_empty_one\n"
    ".size ub_dot, . - ub_dot\n"
    ".popsection\n");
#else
INLINE void dot(uint32_t pairs, const int8_t *const row[ROWS], uint32_t columns, const uint32_t *words, tile_sums *sums) {
  const int8_t *w0 = row[0], *w1 = row[1], *w2 = row[2], *w3 = row[3];
  uint32_t lanes[ROWS][UB_BLOCK / 2];
  UNROLL for (uint32_t r = 0; r < ROWS; r++)
    UNROLL for (uint32_t p = 0; p < pairs; p++) lanes[r][p] = 0;
  for (const int8_t *const end = w0 + columns; w0 != end; w0++, w1++, w2++, w3++, words += pairs) {
    const int32_t w[ROWS] = {*w0, *w1, *w2, *w3};
    UNROLL for (uint32_t p = 0; p < pairs; p++)
      UNROLL for (uint32_t r = 0; r < ROWS; r++) lanes[r][p] += (uint32_t)w[r] * words[p];
  }
  UNROLL for (uint32_t r = 0; r < ROWS; r++)
    UNROLL for (uint32_t p = 0; p < pairs; p++) {
      const int32_t low = (int16_t)lanes[r][p];
      sums->at[r][2 * p] += low;
      sums->at[r][2 * p + 1] += (int32_t)(lanes[r][p] - (uint32_t)low) >> 16;
    }
}

/* Functions of their own, so that registers are spent on nothing but the lanes. (For the same reason library.json keeps
 * GCC from scheduling instructions before it has allotted registers.) */
#define DOT(pairs)                                                                                                     \
  static __attribute__((noinline)) void dot_##pairs(const int8_t *const row[ROWS], uint32_t columns,                   \
                                                    const uint32_t *words, tile_sums *sums) {                          \
    dot(pairs, row, columns, words, sums);                                                                             \
  }
DOT(1)
DOT(2)
DOT(3)
DOT(4)

static void ub_dot(const int8_t *const row[ROWS], uint32_t columns, const uint32_t *words, tile_sums *sums,
                   uint32_t pairs) {
  switch (pairs) {
    case 1: dot_1(row, columns, words, sums); break;
    case 2: dot_2(row, columns, words, sums); break;
    case 3: dot_3(row, columns, words, sums); break;
    default: dot_4(row, columns, words, sums);
  }
}
#endif

/* sums += weights x. A last tile of fewer rows repeats its last one. */
static void dot_block(const tile *t, const ub_block *x, tile_sums *sums) {
  const uint32_t pairs = (x->positions + 1) / 2;
  for (uint32_t column = 0, end; column < x->columns; column = end) {
    end = stretch_end(t, x, column);
    const int8_t *row[ROWS], *w = t->weights + column;
    for (uint32_t r = 0; r < ROWS; r++) {
      row[r] = w;
      if (r + 1 < t->rows) w += t->stride;
    }
    ub_dot(row, end - column, x->words + column * pairs, sums, pairs);
  }
}

/* Weights of 4 bits as int8. */
INLINE void unpack(const int8_t *from, const int8_t *end, int8_t *to) {
  for (; from != end; from++, to += 2) {
    const int32_t both = *from;
    store(&to[0], (int32_t)((uint32_t)both << 28) >> 28);
    store(&to[1], both >> 4);
  }
}

/* What a block is multiplied with: a matrix, or the rows of attention. */
typedef struct {
  tile first;
  int8_t *room; /* where weights of 4 bits are unpacked, a tile at a time; NULL: they have 8 */
  uint32_t rows;
  const uint8_t *bias;        /* int32_t[rows]; NULL: none */
  const uint8_t *multipliers; /* int32_t[channels] */
  const uint8_t *shifts;      /* int8_t[channels] */
  uint32_t step;              /* from a row's channel to the next one's: 1, or 0 if there is one channel */
  int32_t zero, least;
} factor;

static void multiply(const factor *f, const ub_block *x, int8_t *y, uint32_t y_stride, uint32_t y_step) {
  tile t = f->first;
  const int8_t *weights = t.weights;
  const int32_t zero = f->zero, least = f->least;
  for (uint32_t row = 0, channel = 0; row < f->rows; row += ROWS) {
    t.rows = f->rows - row < ROWS ? f->rows - row : ROWS;
    tile_sums sums;
    for (uint32_t r = 0; r < ROWS; r++) {
      const int32_t bias = f->bias != NULL && r < t.rows ? ub_read_i32(f->bias, row + r) : 0;
      for (uint32_t p = 0; p < UB_BLOCK; p++) sums.at[r][p] = bias;
    }
    t.weights = weights;
    weights += t.rows * t.stride >> (f->room != NULL);
    if (f->room != NULL) {
      unpack(t.weights, weights, f->room);
      t.weights = f->room;
    }
    dot_block(&t, x, &sums);
    for (uint32_t r = 0; r < t.rows; r++, y += y_step, channel += f->step) {
      const multiplier scale = prepare(ub_read_i32(f->multipliers, channel), (int8_t)f->shifts[channel]);
      int8_t *to = y;
      for (const int32_t *sum = sums.at[r], *const end = sum + x->positions; sum != end; sum++, to += y_stride)
        store(to, ub_clamp(requantize(*sum, scale) + zero, least, 127));
    }
    t.energy += chunks_of(x->columns);
  }
}

void ub_matmul(const ub_agent *agent, const ub_matrix *m, const ub_block *x, int8_t *y, uint32_t y_stride,
               uint32_t y_step) {
  const uint8_t *const section = agent->sections[UB_ENCODER].bytes, *const model = agent->sections[UB_FLATBUFFER].bytes;
  const factor f = {
      .first = {.weights = (const int8_t *)model + m->weights,
                .energy = section + m->energy, .stride = m->columns},
      .room = m->bits == 4 ? (int8_t *)agent->arena + agent->spare : NULL,
      .rows = m->rows,
      .bias = m->bias ? model + m->bias : NULL,
      .multipliers = section + m->multiplier,
      .shifts = section + m->shift,
      .step = m->channels > 1,
      .zero = m->output_zero,
      .least = m->output_min,
  };
  multiply(&f, x, y, y_stride, y_step);
}

/* ---- norm and residual --------------------------------------------------------------------------------------- */

/* GetInvSqrtQuantizedMultiplierExp: 1 / sqrt(x) as a significand in Q0.31 and an exponent (left if positive). */
static UB_SMALL int32_t inverse_sqrt(int32_t x, int32_t *exponent) {
  *exponent = 0;
  if (x <= 1) return INT32_MAX;
  int32_t right = 11;
  for (; x >= 1 << 29; right++) x /= 4;
  for (; x < 1 << 27; right--) x *= 4;
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

UB_SMALL void ub_normalize(const int8_t *x, int32_t zero, uint32_t n, uint32_t width, int8_t *h) {
  for (uint32_t p = 0; p < n; p++, x += width, h += width) {
    int32_t square = 0, exponent;
    for (uint32_t i = 0; i < width; i++) square += (x[i] - zero) * (x[i] - zero);
    const int32_t significand = inverse_sqrt(square, &exponent);
    exponent += 7;
    const int32_t left = exponent > 0 ? exponent : 0;
    const multiplier scale = prepare(significand, exponent > 0 ? 0 : exponent);
    for (uint32_t i = 0; i < width; i++) store(&h[i], ub_clamp(requantize((x[i] - zero) * (1 << left), scale), -128, 127));
  }
}

void ub_add(const ub_sum *sum, int8_t *x, const int8_t *y, uint32_t count) {
  const multiplier scale = prepare(sum->output_multiplier, sum->output_shift);
  const int8_t *large = x, *small = y; /* in scale */
  int32_t large_zero = sum->a_zero, small_zero = sum->b_zero, significand = sum->b_multiplier, shift = sum->b_shift;
  if (!ub_is_half(sum->a_multiplier, sum->a_shift)) {
    large = y, small = x;
    large_zero = sum->b_zero, small_zero = sum->a_zero, significand = sum->a_multiplier, shift = sum->a_shift;
  }
  const multiplier small_scale = prepare(significand, shift);
  const int32_t zero = sum->output_zero;
  for (uint32_t i = 0; i < count; i++) {
    const int32_t a = (large[i] - large_zero) * (1 << 19); /* what requantize() gives with half of 2^20 */
    const int32_t b = requantize((small[i] - small_zero) * (1 << 20), small_scale);
    store(&x[i], ub_clamp(requantize(a + b, scale) + zero, -128, 127));
  }
}

/* ---- attention ----------------------------------------------------------------------------------------------- */

uint32_t ub_energy_bytes(uint32_t count, uint32_t columns) { return (count + ROWS - 1) / ROWS * chunks_of(columns); }

UB_SMALL ub_rows ub_bound(uint8_t *energy, const int8_t *rows, uint32_t stride, uint32_t count, uint32_t columns) {
  uint8_t *next = energy;
  for (uint32_t first = 0; first < count; first += ROWS) {
    const uint32_t behind = count - first < ROWS ? count : first + ROWS;
    for (uint32_t c = 0, end; c < columns; c = end) {
      end = columns - c < UB_CHUNK ? columns : c + UB_CHUNK;
      uint32_t most = 0;
      for (uint32_t r = first; r < behind; r++) {
        uint32_t squares = 0;
        for (const int8_t *w = rows + r * stride + c, *const stop = w + (end - c); w != stop; w++)
          squares += (uint32_t)(*w * *w);
        most = largest(most, squares);
      }
      *next++ = (uint8_t)((most + (1u << UB_ENERGY_BITS) - 1) >> UB_ENERGY_BITS);
    }
  }
  return (ub_rows){rows, energy, count, stride};
}

void ub_product(const ub_scale *scale, const ub_rows *rows, const ub_block *x, int8_t *y, uint32_t y_stride) {
  const uint8_t shift = (uint8_t)scale->shift;
  const factor f = {.first = {.weights = rows->rows, .energy = rows->energy, .stride = rows->stride},
                    .rows = rows->count, .multipliers = (const uint8_t *)&scale->multiplier, .shifts = &shift,
                    .least = -128};
  multiply(&f, x, y, y_stride, 1);
}

/* gemmlowp one_over_one_plus_x_for_x_in_0_1: Q0.31 -> Q0.31, three steps of Newton's division. Of what saturates there
 * only the last doubling ever does, whatever x. */
static UB_SMALL int32_t one_over_one_plus(int32_t x) {
  const int32_t half_denominator = (1 << 30) + x / 2;
  int32_t y = 1515870810 + high_mul(half_denominator, -1010580540); /* 48/17 - 32/17 d, in Q2.29 */
  for (int step = 0; step < 3; step++) y += high_mul(y, (1 << 29) - high_mul(half_denominator, y)) * 4;
  return y > INT32_MAX / 2 ? INT32_MAX : 2 * y;
}

UB_SMALL void ub_softmax(const int8_t *masked, const uint8_t *exponential, uint32_t rows, uint32_t n, int8_t *x) {
  for (; rows > 0; rows--, x += n) {
    uint32_t terms[UB_MAX_POSITIONS]; /* exp(logit - the largest), Q0.31 */
    int32_t most = -128;
    for (uint32_t i = 0; i < n; i++) {
      const int8_t logit = masked[x[i]];
      store(&x[i], logit);
      most = logit > most ? logit : most;
    }
    uint32_t sum = 0; /* Q12.19 */
    for (uint32_t i = 0; i < n; i++) {
      terms[i] = ub_read_u32(exponential, (uint32_t)(most - x[i]));
      sum += (terms[i] + (1u << 11)) >> 12;
    }
    uint32_t exponent = 12 + 31 - 8;
    for (; sum < 1u << 31; exponent--) sum *= 2; /* one term is 1.0, and there are at most 64: 6 to 12 times */
    const uint32_t scale = (uint32_t)one_over_one_plus((int32_t)(sum - (1u << 31)));
    const uint32_t half = (1u << exponent) >> 1;
    for (uint32_t i = 0; i < n; i++) {
      const uint32_t p = (high_mul_positive(scale, terms[i]) + half) >> exponent;
      store(&x[i], (int32_t)(p > 255 ? 255 : p) - 128);
    }
  }
}
