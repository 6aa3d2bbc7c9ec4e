// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sketches of per-example gradients of linear layers, G_b = sum_t delta[b,t] a[b,t]^T, from their factors.
///
/// vec(G) is G [m, n] flattened row by row. What is formed of it depends on the sketch:
///   FactoredSketch  nothing: S_delta delta_t and S_a a_t are, and the sum of their outer products is the result (LoGra)
///   TensorSketch    nothing: the CountSketches of the factors are, and the Walsh-Hadamard transform turns their dyadic
///                   convolution into products
///   Sketch          of a mask only the sampled entries; otherwise a tile of G of some examples at a time
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "fimo_fast/sketch.h"
#include "fimo_fast/tensor_view.h"

namespace fimo {

/// S_delta ⊗ S_a; sketch_dim is the product of both.
struct FactoredSketch {
  Sketch a;
  Sketch delta;
};

/// CountSketch whose bucket of entry (i, j) is h_delta(i) XOR h_a(j), its sign s_delta(i) s_a(j). h and s are those of SJLTs
/// with one nonzero: of a with `seed`, of delta with the top bit of `seed` flipped.
struct TensorSketch {
  std::int64_t a_dim;
  std::int64_t delta_dim;
  std::int64_t sketch_dim;  // a power of two
  std::uint64_t seed;
};

using OuterSketch = std::variant<Sketch, FactoredSketch, TensorSketch>;

/// Adds the sketch of each G_b to the rows of out.
///
/// a:      [B, T, n] of any DType.
/// delta:  [B, T, m] of the same.
/// sketch: of outer products of m and n numbers.
/// offset: where vec(G) begins in the input of a Sketch: that of a whole model's gradient has a slice for each layer. Without
/// it,
///         the sketch's input is vec(G). The other sketches take no offset.
/// then:   sketches applied to the result of `sketch`, one after the other; mostly none. FactGraSS is a FactoredSketch of two
///         masks, then an SJLT.
/// out:    [B, sketch_dim of the last sketch] of accumulator_dtype; not overlapping the inputs.
/// A row's bits depend on its own example and the sizes: not on the batch, strides or threads. Beside the rows of out
/// themselves, workspaces take at most 64 MiB a thread, or what one token or one row of a tile takes if that is more. Throws
/// std::invalid_argument when sizes or types disagree.
void outer_project(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                   const std::vector<Sketch>& then, std::optional<std::int64_t> offset, const MatrixView& out, int num_threads);

}  // namespace fimo
