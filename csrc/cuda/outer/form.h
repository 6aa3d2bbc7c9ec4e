// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sums of outer products of tokens: gradients that are formed, and products of sketched factors.
#pragma once

#include "cuda/device/context.h"
#include "fimo_fast/tensor_view.h"

namespace fimo::cuda {

/// out[b, i n + j - entries.begin] = (accumulate: +=) sum_t delta[b, t, i] a[b, t, j], entries i n + j in [begin, end). At
/// least one token. Workspace: up to piece_bytes / 2, where few entries have many tokens.
void sum_outer_products(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, Range entries,
                        bool accumulate, const MatrixView& out);

/// gradients[b, i * n + j - entries.begin] = sum_t delta[b, t, i] a[b, t, j] for the entries i * n + j in [begin, end) of the
/// given examples, in rows `stride` apart.
void form_gradients(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, Range examples, Range entries,
                    float* gradients, std::int64_t stride);

}  // namespace fimo::cuda
