// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sums of outer products of tokens: what form_gradients (routes.h) and the products of sketched factors are.
#pragma once

#include "cuda/context.h"
#include "fimo_fast/tensor_view.h"

namespace fimo::cuda {

/// out[b, i n + j - entries.begin] = (accumulate: +=) sum_t delta[b, t, i] a[b, t, j], entries i n + j in [begin, end). At
/// least one token. Workspace: up to piece_bytes / 2, where few entries have many tokens.
void sum_outer_products(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, Range entries,
                        bool accumulate, const MatrixView& out);

}  // namespace fimo::cuda
