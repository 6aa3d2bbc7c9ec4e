// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the drivers of rows_project share.
#pragma once

#include "cuda/device/launch.h"
#include "cuda/rows/rows.cuh"

namespace fimo::cuda {

/// The sums of parts of the tokens, cut so that about `together` blocks run, `units` of them for each part. Workspace: up to
/// piece_bytes.
class RowsParts {
 public:
  RowsParts(Context& context, const MatrixView& out, std::int64_t units, std::int64_t together, std::int64_t most) : out_(out) {
    const std::int64_t size = out.rows * out.cols;
    count_ = larger(1, smaller(smaller(ceil_div(together, units), most), piece_bytes / (4 * size)));
    if (count_ > 1) sums_ = context.take<float>(count_ * size);
    require(units <= ((std::int64_t{1} << 31) - 1) / count_, "delta: expected at most 2^31 blocks, got ", units, " times ",
            count_);
    blocks_ = static_cast<unsigned>(units * count_);
  }

  /// Of the grid.
  unsigned blocks() const { return blocks_; }
  RowsOut target() const {
    if (count_ == 1) return {static_cast<float*>(out_.data), count_, 0, out_.row_stride};
    return {sums_, count_, out_.rows * out_.cols, out_.cols};
  }
  /// After the kernel that has filled them.
  void add(Context& context) const {
    if (count_ > 1) add_parts(context, sums_, count_, out_);
  }

 private:
  MatrixView out_;
  std::int64_t count_ = 1;
  unsigned blocks_ = 0;
  float* sums_ = nullptr;
};

/// An SRHT of sorted rows (rows_srht.cu).
void rows_srht(Context& context, const Rows& rows, DType dtype, const Sketch& sketch, const MatrixView& out);

}  // namespace fimo::cuda
