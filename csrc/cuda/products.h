// SPDX-License-Identifier: Apache-2.0
/// \file
/// The matrix product of scores.cu for rows of any layout.
#pragma once

#include "cuda/routes.h"
#include "cuda/scores.cuh"

namespace fimo::cuda {

/// out[i, j] (+)= <a[i], b[j]> of rows of `depth` elements of `dtype`.
void products(Context& context, DType dtype, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out);

}  // namespace fimo::cuda
