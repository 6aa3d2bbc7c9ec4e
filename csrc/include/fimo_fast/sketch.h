// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sketches: fixed random linear maps S from R^input_dim to R^sketch_dim with E<Sx, Sy> = <x, y>.
///
/// A sketch is the five numbers below and nothing else; its entries come from Philox (random.h). The result's bits depend on
/// these numbers and on the input, never on instruction set, threads or batch. docs/numerics.md has the exact definitions:
///   rademacher  dense ±1/sqrt(sketch_dim)
///   gaussian    dense N(0, 1)/sqrt(sketch_dim)
///   sjlt        `nonzeros` entries ±1/sqrt(nonzeros) a column, one in each of `nonzeros` consecutive output blocks
///   srht        blocks of L coordinates (L the power of two at or above sketch_dim): random signs, Walsh-Hadamard transform,
///               sketch_dim of its L rows, random signs; the blocks' results are added
///   mask        one coordinate from each of sketch_dim strata, times the root of the stratum's length
#pragma once

#include <cstdint>

#include "fimo_fast/tensor_view.h"

namespace fimo {

enum class SketchKind : int { kRademacher = 0, kSjlt = 1, kSrht = 2, kGaussian = 3, kMask = 4 };

constexpr std::int64_t kMaxInputDim = std::int64_t{1} << 48;
constexpr std::int64_t kMaxSketchDim = std::int64_t{1} << 30;
constexpr std::int64_t kMaxNonzeros = 65535;  // keeps column * nonzeros + index within 64 bits

struct Sketch {
  SketchKind kind;
  std::int64_t input_dim;
  std::int64_t sketch_dim;
  std::uint64_t seed;
  std::int64_t nonzeros;  // sjlt only; 0 otherwise
};

/// Throws std::invalid_argument unless the numbers describe a sketch.
void validate(const Sketch& sketch);

/// Adds S[:, offset : offset + dim] applied to each row of grads to the rows of out.
///
/// grads: [batch, dim] of any DType, dim + offset <= sketch.input_dim.
/// out:   [batch, sketch_dim] of accumulator_dtype(grads.dtype); not overlapping grads.
/// Slices added in increasing order give the bits of one call (SRHT: when cut at multiples of L).
/// Throws std::invalid_argument when sizes or types disagree.
void project(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out, int num_threads);

}  // namespace fimo
