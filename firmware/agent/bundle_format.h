/* The agent bundle, byte by byte: one file that is the agent. docs/bundle.md explains it.
 *
 * This header is the only home of the layout. The firmware includes it, and train/agentlib.py hands it to cffi, so that
 * the writer in Python fills the very structs that the reader in C takes apart. It therefore holds nothing but numeric
 * #defines and structs of fixed-width integers; all numbers are little-endian, every struct is naturally aligned.
 *
 *   ub_header | ub_section[sections] | sections, each aligned to 16 bytes
 */
#ifndef UTTERBIT_BUNDLE_FORMAT_H
#define UTTERBIT_BUNDLE_FORMAT_H

#include <stdint.h>

#define UB_MAGIC 0x42545455 /* "UTTB" */
#define UB_VERSION 9

/* Section kinds. Each stands exactly once in a bundle. */
#define UB_MANIFEST 1   /* JSON: name, languages, thresholds, provenance, metrics */
#define UB_LABELS 2     /* ub_labels_header: intents, slots, classes, score calibration */
#define UB_FEATURES 3   /* ub_features_header: the embedding table of the word pieces */
#define UB_ENCODER 4    /* ub_encoder_header: shapes and quantization parameters */
#define UB_VALUES 5     /* ub_values_header: spoken value -> normalised value */
#define UB_GOLDEN 6     /* ub_golden_header: sentences and the CRCs of what they must give */
#define UB_FLATBUFFER 7 /* the TFLite model; the encoder's weights are read from it in place */
#define UB_SECTIONS 7

/* Limits that size the firmware's buffers; a bundle beyond them is refused. */
#define UB_MAX_POSITIONS 64 /* words of a sentence + 1 */
#define UB_MAX_LAYERS 8
#define UB_MAX_WIDTH 256  /* of the residual stream, of an embedding, of all heads of a layer together */
#define UB_MAX_HIDDEN 1024 /* neurons of a feed-forward layer */
#define UB_MAX_CLASSES 512
#define UB_MAX_TAGS 255 /* 1 + 2 * slots */
#define UB_MAX_SLOTS 16 /* slots in one answer */
/* Limits of how long an answer or a self-test may take, which must end before a board's watchdog. */
#define UB_MAX_MACS 33554432 /* multiply-accumulates of a sentence of full length */
#define UB_MIN_HEAD 4 /* width of an attention head: softmax costs by the head, not by multiply-accumulates */
#define UB_MAX_SEARCH 32768 /* slots times classes, each counted once more for every slot that it needs */
#define UB_MAX_GOLDEN 64
#define UB_NONE 0xFFFF

typedef struct {
  uint32_t magic;
  uint32_t crc32;    /* of every byte after this field */
  uint32_t length;   /* of the whole file */
  uint16_t version;
  uint16_t sections; /* UB_SECTIONS */
} ub_header;

typedef struct {
  uint32_t kind;
  uint32_t offset; /* from the start of the file, a multiple of 16 */
  uint32_t length;
} ub_section;

/* In what follows an "offset" counts from the start of its section, unless it says otherwise. */

/* A string table is uint32_t end[count], then the bytes: string i is bytes[end[i - 1] .. end[i]). UTF-8, no NULs. */
typedef struct {
  uint16_t intents;
  uint16_t slots;
  uint16_t classes;       /* outputs of the intent head: an intent with the slots that it implies, or out of scope */
  uint16_t threshold;     /* least score of an answer, in 1/10000 */
  uint16_t others;        /* how much other intents count against the best one in the score, in 1/256, at most 256 */
  uint16_t tag_weight;    /* how much a step of the tags' logits counts beside one of the classes', in 1/256 */
  uint32_t intent_names;  /* offset of a string table [intents] */
  uint32_t slot_names;    /* offset of a string table [slots] */
  uint32_t implied;       /* offset of a string table [classes]: a JSON object on one line, or empty */
  uint32_t class_intent;  /* offset of uint16_t[classes]; UB_NONE: out of scope */
  uint32_t slot_masks;    /* offset of uint8_t[classes][2][(slots + 7) / 8]: bit s is set if the class can carry slot s,
                             and in the second if it never goes without */
  uint32_t numeric_mask;  /* offset of uint8_t[(slots + 7) / 8]: slots whose digits are their value */
  uint32_t single_mask;   /* offset of uint8_t[(slots + 7) / 8]: slots that stand at most once in a sentence */
  uint32_t probability;   /* offset of uint32_t[256]: exp(-d * scale / temperature) in 1/65536, d = 0 .. 255 steps */
} ub_labels_header;

typedef struct {
  uint16_t rows;      /* of the table: [0, positions) are positions, the rest hash buckets */
  uint16_t embed;     /* width E of a row */
  uint16_t positions; /* L */
  uint8_t bits;       /* 4 (two values a byte, the lower nibble first, each + 8) or 8 (int8) */
  uint8_t hashing;    /* UB_HASHING: how words become rows */
  uint32_t table;     /* offset of the rows, [rows][E * bits / 8] bytes */
} ub_features_header;
#define UB_HASHING 3

/* y[r] = clamp(requantize(bias[r] + sum_c weights[r][c] * (x[c] - input_zero)) + output_zero), as TFLite's
 * FULLY_CONNECTED and CONV_2D. */
typedef struct {
  uint32_t weights;    /* offset in the *flatbuffer section* of [rows][columns], of `bits` each */
  uint32_t bias;       /* offset in the *flatbuffer section* of int32_t[rows]; 0: none */
  uint32_t multiplier; /* offset of int32_t[channels]: significands in Q0.31 */
  uint32_t shift;      /* offset of int8_t[channels]: power-of-two exponents, left if positive */
  uint32_t energy;     /* offset of uint8_t[tiles][chunks]: the largest |w|^2 that a row of UB_TILE_ROWS rows has in
                          UB_CHUNK columns, in units of 2^UB_ENERGY_BITS, rounded up; where input_zero is -128 that of
                          its positive or of its negative weights alone, whichever is larger */
  uint16_t rows;
  uint16_t columns;
  uint16_t channels;   /* rows (quantized per channel) or 1 (per tensor) */
  int8_t output_zero;
  int8_t output_min;   /* -128, or output_zero if a ReLU is fused in; the maximum is 127 */
  int8_t input_zero;
  uint8_t bits;        /* of a weight: 8, or 4: two's complement, two a byte, the lower nibble first; even columns */
  uint8_t reserved[2];
} ub_matrix;
#define UB_TILE_ROWS 4
#define UB_CHUNK 8
#define UB_ENERGY_BITS 10

/* out = requantize(scaled(a) + scaled(b)) + output_zero, as TFLite's int8 ADD */
typedef struct {
  int32_t a_multiplier;
  int32_t b_multiplier;
  int32_t output_multiplier;
  int8_t a_shift;
  int8_t b_shift;
  int8_t output_shift;
  int8_t a_zero;
  int8_t b_zero;
  int8_t output_zero;
  int8_t reserved[2];
} ub_sum;

/* One batched product of attention (q k^T or p v): int32 -> int8, output zero point 0. */
typedef struct {
  int32_t multiplier;
  int32_t shift;
} ub_scale;

typedef struct {
  ub_matrix query; /* [heads * head_width, width] */
  ub_matrix key;
  ub_matrix value;
  ub_matrix output; /* [width, heads * head_width] */
  ub_matrix up;     /* [hidden, width], ReLU */
  ub_matrix down;   /* [width, hidden] */
  ub_sum attention_residual;
  ub_sum feed_forward_residual;
  ub_scale logits;  /* q k^T */
  ub_scale context; /* softmax(...) v */
  uint32_t masked;  /* offset of int8_t[256]: logit + 128 -> input of the softmax at a position that holds a token */
  uint32_t exponential; /* offset of int32_t[256]: exp(-d * scale) in Q0.31, d = 0 .. 255; 0 where TFLite cuts off */
  uint16_t heads;
  uint16_t head_width;
  int8_t attention_zero;    /* zero point of the residual stream that enters attention */
  int8_t feed_forward_zero; /* ... that enters the feed-forward layer */
  uint16_t reserved;
} ub_layer;

typedef struct {
  uint16_t positions; /* L: position 0 is the sentence's own, words follow */
  uint16_t embed;     /* E */
  uint16_t width;     /* D, the residual stream */
  uint16_t kernel;    /* words that the convolution sees, odd */
  uint16_t layers;
  uint16_t classes;
  uint16_t tags;
  int8_t final_zero;  /* zero point of the residual stream that enters the heads */
  uint8_t reserved;
  ub_matrix convolution; /* [width, kernel * embed] */
  ub_matrix class_head;  /* [classes, width], position 0 */
  ub_matrix tag_head;    /* [tags, width], every other position */
  uint32_t layer;        /* offset of ub_layer[layers] */
} ub_encoder_header;

typedef struct {
  uint32_t count;
  uint32_t entries; /* offset of ub_value[count], ascending by hash */
  uint32_t pool;    /* offset of the JSON scalars, each on one line and ended by a NUL */
  uint32_t pool_length;
} ub_values_header;

typedef struct {
  uint32_t hash; /* of slot and phrase, ub_phrase_hash(); slot UB_NONE: a number in any numeric slot */
  uint32_t text; /* offset in the pool */
} ub_value;

typedef struct {
  uint32_t count;
  uint32_t entries; /* offset of ub_golden[count] */
} ub_golden_header;

typedef struct {
  uint32_t text; /* offset of the UTF-8 sentence */
  uint16_t length;
  uint16_t positions;     /* words + 1 */
  uint32_t embedding_crc; /* CRC-32 of the encoder's input, int8_t[positions][E] */
  uint32_t logits_crc;    /* CRC-32 of int8_t[classes], then int8_t[positions - 1][tags], from tflite-micro */
} ub_golden;

#endif
