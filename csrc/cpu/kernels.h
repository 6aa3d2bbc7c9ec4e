// SPDX-License-Identifier: Apache-2.0
/// \file
/// The table of kernels that every instruction set fills in, and the arguments of its entries.
///
/// Kernels are serial, allocate nothing and check nothing: the drivers (project.cpp, outer.cpp, scores.cpp, topk.cpp) cut the
/// work into tasks, own the workspaces and have validated the sizes. Arrays of function pointers are indexed by DType of the
/// input.
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

/// Adds output columns [first_col, first_col + cols) of a Rademacher sketch. first_col is a multiple of 128, cols <= 128.
struct RademacherTask {
  SketchInput in;
  void* out;  // [rows, sketch_dim] at column 0
  std::int64_t out_row_stride;
  std::int64_t first_col;
  std::int64_t cols;
};

/// Adds the nonzeros [first_nonzero, last_nonzero) of every column of an SJLT, which fall into output columns
/// [first_col, first_col + cols).
struct SjltTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t nonzeros;
  std::int64_t first_nonzero;
  std::int64_t last_nonzero;
  const std::int64_t* block_start;  // [nonzeros + 1], first output column of each nonzero's block
  std::int64_t coordinates;         // handled together; sizes the next three
  std::uint32_t* words;             // [4 * (coordinates * nonzeros / 4 + 2)]
  std::uint32_t* entries;           // [coordinates * (last_nonzero - first_nonzero)]
  void* transposed;                 // [coordinates, lanes]
  void* sums;                       // [groups, cols, lanes], or null: then rows are handled one by one
};

/// Adds an SRHT.
struct SrhtTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t block;        // L, a power of two
  std::int64_t sketch_dim;   // <= L
  const std::int32_t* rows;  // [sketch_dim] increasing rows of the transform, null where sketch_dim == L
  void* buffer;              // [L]
  std::uint32_t* signs_in;   // [max(L, 128) / 32]
  std::uint32_t* signs_out;  // [ceil(sketch_dim / 128) * 4]
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

  void (*rademacher[kDTypeCount])(const RademacherTask&);
  void (*sjlt[kDTypeCount])(const SjltTask&);
  void (*srht[kDTypeCount])(const SrhtTask&);

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
  void (*topk[kDTypeCount])(const TopkTask&);

  std::int64_t lanes[kDTypeCount];  // of the accumulator type
  std::int64_t panel[kDTypeCount];  // columns of a packed panel

  // Packed and prepared columns consist of words: of the accumulator type, or for int8 of 32 bits.
  std::int64_t word_elements[kDTypeCount];  // elements in a word
  std::int64_t dot_step[kDTypeCount];       // elements in a step of prepared vectors
  std::int32_t int8_row_bias;
};

}  // namespace fimo
