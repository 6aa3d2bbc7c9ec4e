// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sums over many tokens with few results: parts of the tokens side by side, which add_parts adds up.
#pragma once

#include "cuda/device/launch.h"

namespace fimo::cuda {

/// The cut of the tokens that brings launches of `blocks` blocks a part near `wanted` blocks, with `least` tokens or more in a
/// part (a multiple of `unit`). The first part's sums go to `out`, those of the others into the workspace: up to
/// piece_bytes / 2.
class TokenParts {
 public:
  TokenParts(Context& context, std::int64_t tokens, std::int64_t blocks, std::int64_t wanted, std::int64_t least,
             const MatrixView& out, std::int64_t unit = 1)
      : out_(out) {
    const std::int64_t size = out.rows * out.cols;
    const std::int64_t fit = 1 + piece_bytes / 2 / (4 * size);
    const std::int64_t parts = smaller(smaller(ceil_div(wanted, blocks), tokens / least), fit);
    length_ = round_up(ceil_div(tokens, larger(1, parts)), unit);
    count_ = ceil_div(tokens, length_);
    if (count_ > 1) others_ = context.take<float>((count_ - 1) * size);
  }

  std::int64_t count() const { return count_; }
  std::int64_t length() const { return length_; }  // of all but the last
  float* others() const { return others_; }        // [count - 1, out.rows, out.cols]
  /// After the kernel that has filled them.
  void add(Context& context) const {
    if (count_ > 1) add_parts(context, others_, count_ - 1, out_);
  }

 private:
  MatrixView out_;
  std::int64_t length_, count_;
  float* others_ = nullptr;
};

}  // namespace fimo::cuda
