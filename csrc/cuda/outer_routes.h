// SPDX-License-Identifier: Apache-2.0
/// \file
/// The ways to sketch outer products that never form them. All add to the rows of `out`; no sizes are zero.
#pragma once

#include "cuda/routes.h"
#include "fimo_fast/outer_project.h"
#include "sketch_sizes.h"

namespace fimo::cuda {

/// Without `accumulate` it stores, all of out. Workspace: up to 2 piece_bytes, or what one token takes, and what
/// project_vectors needs for it (outer_factored.cu).
void project_factored(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const FactoredSketch& sketch,
                      bool accumulate, const MatrixView& out);

/// out += `then` of what project_factored would store, which is not formed: for sketches that sjlt_takes_products, of that many
/// tokens (outer_factored.cu).
void project_factored_sjlt(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta,
                           const FactoredSketch& sketch, const Sketch& then, const MatrixView& out);

/// Workspace: the factors' tables, 4 (k + n + m) bytes or so, and up to piece_bytes / 2; for k beyond what fits shared memory
/// twice piece_bytes, or what one token takes (outer_tensor.cu).
void project_tensor(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const TensorSketch& sketch,
                    const MatrixView& out);

/// `kept` are the outputs that keep an entry of the slice at `offset`, and the columns of `out`. Workspace: 12 bytes an output,
/// at most piece_bytes, and up to piece_bytes / 2 (outer_mask.cu).
void project_outer_mask(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                        std::int64_t offset, Range kept, const MatrixView& out);

/// An SRHT of a few tokens of float32, not formed (srht.cu); a.dim up to 2^30, blocks of 32 to 4096.
bool srht_takes_outer(const Sketch& sketch);
void project_srht_outer(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                        std::int64_t offset, const MatrixView& out);

/// An SJLT of sums of outer products of a few tokens, not formed: float32 without gaps (sjlt.cu).
bool sjlt_takes_products(const Sketch& sketch, std::int64_t tokens);
void project_sjlt_products(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                           const MatrixView& out);

/// x as float32, copied unless it is (outer_factored.cu).
ConstTensor3View as_float(Context& context, const ConstTensor3View& x);

/// x[0:count] = 0 (outer_factored.cu).
void zeros(Context& context, float* x, std::int64_t count);

/// The given examples, or tokens of each.
inline ConstTensor3View some_examples(ConstTensor3View x, Range examples) {
  x.data = advance(x.data, examples.begin * x.batch_stride, x.dtype);
  x.batch = examples.end - examples.begin;
  return x;
}
inline ConstTensor3View some_tokens(ConstTensor3View x, Range tokens) {
  x.data = advance(x.data, tokens.begin * x.token_stride, x.dtype);
  x.tokens = tokens.end - tokens.begin;
  return x;
}
inline MatrixView some_rows(MatrixView x, Range rows) {
  x.data = advance(x.data, rows.begin * x.row_stride, x.dtype);
  x.rows = rows.end - rows.begin;
  return x;
}

}  // namespace fimo::cuda
