// SPDX-License-Identifier: Apache-2.0
/// \file
/// The table of kernels that every instruction set fills in, and the arguments of its entries.
///
/// Kernels are serial, allocate nothing and check nothing: the drivers (project.cpp, rows_project.cpp, outer.cpp, scores.cpp,
/// topk.cpp) cut the work into tasks, own the workspaces and have validated the sizes. Arrays of function pointers are indexed
/// by DType of the input.
#pragma once

#include <cstdint>

#include "fimo_fast/tensor_view.h"

namespace fimo {

/// What every projection kernel reads: rows of scaled slices of gradients.
struct SketchInput {
  const void* grads;        // [rows, dim]
  std::int64_t row_stride;  // elements
  std::int64_t rows;
  std::int64_t dim;
  std::uint64_t first_coordinate;  // of column 0, in the sketch's input
  double scale;                    // applied to each element, rounded to the accumulator type first
  std::uint64_t seed;
};

constexpr std::int64_t kDenseCoordinates = 128;  // of a panel of generated entries
constexpr std::int64_t kDenseColumns = 128;

/// Adds output columns [first_col, first_col + cols) of a dense sketch. first_col is a multiple of 128.
struct DenseTask {
  SketchInput in;
  void* out;  // [rows, sketch_dim] at column 0
  std::int64_t out_row_stride;
  std::int64_t first_col;
  std::int64_t cols;
  void* rows;   // [rows, kDenseCoordinates], scaled
  void* panel;  // [kDenseCoordinates, kDenseColumns]
};

/// Adds the outputs [first_col, last_col) of a Mask.
struct MaskTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t input_dim;
  std::int64_t sketch_dim;
  std::int64_t first_col;
  std::int64_t last_col;
};

/// Generates the nonzeros of `count` coordinates from `first` on, in the order coordinate, nonzero.
struct SjltEntriesTask {
  std::uint64_t first;
  std::int64_t count;
  std::int64_t nonzeros;
  double scale;
  std::uint64_t seed;
  std::int64_t period;           // coordinates generated together; sizes the next three
  const std::uint32_t* lengths;  // [period * nonzeros] columns in the block of each nonzero
  const std::uint32_t* starts;   // [period * nonzeros] and the first of them
  std::uint32_t* words;          // [period * nonzeros + 8]
  std::uint32_t column_step;     // what columns are multiplied by
  std::uint32_t* columns;        // [count, nonzeros]
  void* factors;                 // [count, nonzeros] 1 or -1; with one nonzero, scale or -scale
};

/// Adds the nonzeros [first_nonzero, last_nonzero) of coordinates, which fall into output columns [first_col, last_col).
struct SjltTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t nonzeros;
  std::int64_t first_nonzero;
  std::int64_t last_nonzero;
  std::int64_t first_col;
  std::int64_t last_col;
  std::int64_t column_step;      // what columns are multiplied by, a power of two
  const std::uint32_t* columns;  // [in.dim, nonzeros], see SjltEntriesTask
  const void* factors;           // [in.dim, nonzeros]
  void* sums;                    // [sketch_dim, lanes] for a group of at most `lanes` rows, or null: rows go one by one
  bool load_sums;                // from out, first
  bool store_sums;               // to out, at the end
};

/// How consecutive sign bits spread to the kept rows of a transform, 32 rows a word. Bit number r of a word's bits belongs to
/// its row p >= r. It gets there by moves of 16, 8, 4, 2 and 1, those that add up to p - r; moved[w, digit] has the places
/// where moves of 2^digit end.
struct SrhtSpread {
  const std::int32_t* first;   // [ceil(L / 32)] the column of each word's first kept row
  const std::uint32_t* moved;  // [ceil(L / 32), 5]
};

/// Adds an SRHT.
struct SrhtTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t block;            // L, a power of two
  std::int64_t sketch_dim;       // <= L
  const std::int32_t* rows;      // [sketch_dim] increasing rows of the transform, null where sketch_dim == L
  SrhtSpread spread;             // of `rows`, where they are given
  std::int64_t run;              // blocks of a row handled together; sizes the signs
  void* buffer;                  // [L]
  void* sums;                    // [rows, L] where `rows` is given
  std::uint32_t* signs_in;       // [4 * (run * L / 128 + 2)]
  std::uint32_t* signs_out;      // [run, 4 * ceil(L / 128)]
  std::uint32_t* signs_columns;  // [run * 4 * ceil(sketch_dim / 128) + 1] where `rows` is given
};

/// The columns of a CountSketch: where each coordinate goes and its sign, 1 or -1 in the accumulator type.
struct CountSketchColumns {
  const std::uint32_t* bucket;  // [count]
  const void* sign;             // [count]
  std::int64_t count;
};

/// The TensorSketch of some tokens of one example.
struct TensorTask {
  const void* a;  // [tokens, a_columns.count]
  std::int64_t a_token_stride;
  const void* delta;  // [tokens, delta_columns.count]
  std::int64_t delta_token_stride;
  std::int64_t tokens;  // at least 1
  CountSketchColumns a_columns;
  CountSketchColumns delta_columns;
  std::int64_t sketch_dim;  // a power of two
  void* a_sketch;           // [sketch_dim], scratch
  void* delta_sketch;       // [sketch_dim], scratch
  void* sums;               // [sketch_dim], the result
};

/// Adds outputs of a Mask of outer products; `out` points to the first.
struct OuterMaskTask {
  const void* a;      // [examples, tokens, n]
  const void* delta;  // [examples, tokens, m]
  std::int64_t a_batch_stride;
  std::int64_t a_token_stride;
  std::int64_t delta_batch_stride;
  std::int64_t delta_token_stride;
  std::int64_t examples;
  std::int64_t tokens;  // at least 1
  std::int64_t outputs;
  const std::uint32_t* row;     // [outputs], positions in delta
  const std::uint32_t* column;  // [outputs], positions in a
  const void* scale;            // [outputs]
  void* out;
  std::int64_t out_row_stride;
};

/// Matrices enter the A B^T kernel packed as column panels: [ceil(cols / panel), depth, panel], zero in the padding.
struct PackTask {
  const void* source;
  std::int64_t col_stride;    // elements of the source between two packed columns
  std::int64_t depth_stride;  // and between two depths; one of both is 1
  std::int64_t cols;
  std::int64_t depth;
  void* packed;
};

/// C[i, j] = sum_d rows[i, d] * packed[d, j], for i < row_count, j < cols; added to C if accumulate.
struct GramTask {
  const void* rows;
  std::int64_t row_stride;
  std::int64_t depth_stride;  // of `rows`
  std::int64_t row_count;
  std::int64_t depth;
  const void* packed;
  std::int64_t cols;
  void* c;
  std::int64_t c_row_stride;
  bool accumulate;
};

/// The most vectors the kernel for few vectors takes; more of them are packed.
constexpr std::int64_t kMaxDotVectors = 8;

/// Vectors for DotTask, converted: [steps, vector_count, words of a step], with dot_step elements a step.
struct DotPrepareTask {
  const void* source;
  std::int64_t vector_stride;
  std::int64_t vector_count;
  std::int64_t depth;
  void* prepared;
};

/// out[i, v] = sum_d rows[i, d] * vectors[v, d].
struct DotTask {
  const void* rows;
  std::int64_t row_stride;
  std::int64_t row_count;
  std::int64_t depth;
  const void* vectors;  // from DotPrepareTask
  std::int64_t vector_count;
  void* out;
  std::int64_t out_stride;
};

/// out[i, j] = integer[i, j] * (row_scales[i] * col_scales[j]), where integer is dots[i, j] - bias[j], or sums[i, j] after that
/// was added to it (or has replaced it). Integers are float64, exact below 2^53. All matrices have one stride.
struct ScaleTask {
  const std::int32_t* dots;
  std::int64_t stride;
  std::int64_t rows;
  std::int64_t cols;
  const std::int32_t* bias;  // int8_row_bias times the sums of the packed or prepared columns
  const float* row_scales;
  const float* col_scales;
  double* sums;     // null if one call has the whole depth
  bool accumulate;  // into sums
  float* out;
};

/// Running lists of the best k scores of each query; list q is [k] at q * k.
struct TopkTask {
  const void* scores;  // [features, score_stride], a feature's scores of all queries side by side
  std::int64_t score_stride;
  std::int64_t queries;  // padding up to score_stride is readable
  std::int64_t features;
  std::int64_t first_index;  // feature number of row 0
  std::int64_t k;
  std::int64_t filled;    // entries of each list before this call; a heap, worst entry first, once equal to k
  void* values;           // [queries, k]
  std::int64_t* indices;  // [queries, k]
  void* thresholds;       // [score_stride], the worst value of each full list
};

struct Kernels {
  const char* name;

  void (*rademacher[kDTypeCount])(const DenseTask&);
  void (*gaussian[kDTypeCount])(const DenseTask&);
  void (*mask[kDTypeCount])(const MaskTask&);
  void (*sjlt_entries[kDTypeCount])(const SjltEntriesTask&);
  void (*sjlt[kDTypeCount])(const SjltTask&);
  void (*srht[kDTypeCount])(const SrhtTask&);
  void (*tensor[kDTypeCount])(const TensorTask&);
  void (*outer_mask[kDTypeCount])(const OuterMaskTask&);

  void (*pack[kDTypeCount])(const PackTask&);
  void (*gram[kDTypeCount])(const GramTask&);
  void (*dot_prepare[kDTypeCount])(const DotPrepareTask&);
  void (*dot[kDTypeCount])(const DotTask&);
  double (*sum_squares[kDTypeCount])(const void* x, std::int64_t count);

  // int8 only. Its products are of (row + int8_row_bias) and column: int8_row_bias times the column's sum comes off.
  void (*scale)(const ScaleTask&);

  // Of the accumulator type; null for the other types.
  double (*sum_products[kDTypeCount])(const void* x, const void* y, std::int64_t stride, std::int64_t rows, std::int64_t cols);
  void (*multiply[kDTypeCount])(const void* x, const void* y, void* out, std::int64_t count);
  void (*count_sketch_columns[kDTypeCount])(std::uint64_t seed, std::int64_t sketch_dim, std::int64_t columns,
                                            std::uint32_t* bucket, void* sign);
  void (*add[kDTypeCount])(void* out, const void* x, std::int64_t count);
  void (*topk[kDTypeCount])(const TopkTask&);

  std::int64_t lanes[kDTypeCount];  // of the accumulator type
  std::int64_t panel[kDTypeCount];  // columns of a packed panel

  // Packed and prepared columns consist of words: of the accumulator type, or for int8 of 32 bits.
  std::int64_t word_elements[kDTypeCount];  // elements in a word
  std::int64_t dot_step[kDTypeCount];       // elements in a step of prepared vectors
  std::int32_t int8_row_bias;
};

}  // namespace fimo
