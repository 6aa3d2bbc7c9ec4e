// SPDX-License-Identifier: Apache-2.0
/// \file
/// What launches are planned for, and the launches that every room may ask for. Sizes are at least 1, types float32, bfloat16
/// or float16, results float32: entry points (<op>.cu) have checked them.
#pragma once

#include "cuda/device/context.h"
#include "fimo_fast/sketch.h"

namespace fimo::cuda {

/// Of the device that work is cut for, an H100: the cut, and with it the bits of sums, is the same on every device.
constexpr std::int64_t kMultiprocessors = 132;

/// Bytes of workspace for a piece of what is too large to keep at once: tiles of formed gradients, sketches of some tokens or
/// examples, tables, lists, parts of sums. Only tests change it, so that loops over pieces show in small cases.
inline std::int64_t piece_bytes = std::int64_t{32} << 20;

// out += the sketches of the rows of grads, by the kind of sketch.
void project_dense(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                   const MatrixView& out);
void project_sjlt(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out);
void project_srht(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out);
void project_mask(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out);

/// The one of them that `sketch` asks for (project.cu).
void project_vectors(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                     const MatrixView& out);

/// out[b, c] += parts[0][b][c] + parts[1][b][c] + ..., in an order that depends on count alone. parts: [count, out.rows,
/// out.cols] (parts.cu).
void add_parts(Context& context, const float* parts, std::int64_t count, const MatrixView& out);

}  // namespace fimo::cuda
