// SPDX-License-Identifier: Apache-2.0
// TensorSketch: tokens of an example are summed in parts of at most 256, which are added to out in order.
#include "cpu/isa/dispatch.h"
#include "cpu/outer_sketches.h"
#include "cpu/workspace.h"
#include "fimo_fast/parallel.h"

namespace fimo {
namespace {

/// The columns of one factor's CountSketch, generated once for all tokens.
class CountSketch {
 public:
  CountSketch(const Kernels& table, std::int64_t dim, std::int64_t sketch_dim, std::uint64_t seed, DType acc)
      : bucket_(dim * 4), sign_(dim * dtype_size(acc)), dim_(dim) {
    table.count_sketch_columns[static_cast<int>(acc)](seed, sketch_dim, dim, bucket_.as<std::uint32_t>(), sign_.get());
  }
  CountSketchColumns columns() const { return {bucket_.as<std::uint32_t>(), sign_.get(), dim_}; }

 private:
  Workspace bucket_, sign_;
  std::int64_t dim_;
};

}  // namespace

void project_tensor(const ConstTensor3View& a, const ConstTensor3View& delta, const TensorSketch& sketch, const MatrixView& out,
                    int num_threads) {
  const Kernels& table = kernels();
  const DType acc = out.dtype;
  const std::int64_t size = sketch.sketch_dim, bytes = size * dtype_size(acc);
  const CountSketch of_a(table, a.dim, size, sketch.seed, acc);
  const CountSketch of_delta(table, delta.dim, size, sketch.seed ^ (std::uint64_t{1} << 63), acc);
  const auto sum_part = [&](std::int64_t b, std::int64_t first, void* scratch_a, void* scratch_delta, void* sums) {
    table.tensor[static_cast<int>(a.dtype)](
        {advance(a.data, b * a.batch_stride + first * a.token_stride, a.dtype), a.token_stride,
         advance(delta.data, b * delta.batch_stride + first * delta.token_stride, a.dtype), delta.token_stride,
         smaller(kPartTokens, a.tokens - first), of_a.columns(), of_delta.columns(), size, scratch_a, scratch_delta, sums});
  };
  const auto add_part = [&](std::int64_t b, const void* sums) {
    table.add[static_cast<int>(acc)](advance(out.data, b * out.row_stride, acc), sums, size);
  };
  num_threads = useful_threads(static_cast<double>(a.batch) * static_cast<double>(a.tokens * (a.dim + delta.dim + size) + size),
                               num_threads);
  const std::int64_t parts = ceil_div(a.tokens, kPartTokens);
  if (a.batch >= num_threads || parts == 1) {
    const std::int64_t tasks = smaller(a.batch, 4 * std::int64_t{num_threads});
    parallel_for(tasks, num_threads, [&](std::int64_t task) {
      const Workspace scratch_a(bytes), scratch_delta(bytes), sums(bytes);
      const Range examples = part_of(a.batch, tasks, task, 1);
      for (std::int64_t b = examples.begin; b < examples.end; ++b) {
        for (std::int64_t part = 0; part < parts; ++part) {
          sum_part(b, part * kPartTokens, scratch_a.get(), scratch_delta.get(), sums.get());
          add_part(b, sums.get());
        }
      }
    });
    return;
  }
  // A few long examples: the threads sum parts of one side by side.
  const Workspace sums(num_threads * bytes);
  for (std::int64_t b = 0; b < a.batch; ++b) {
    for (std::int64_t first = 0; first < parts; first += num_threads) {
      const std::int64_t count = smaller(num_threads, parts - first);
      parallel_for(count, num_threads, [&](std::int64_t i) {
        const Workspace scratch_a(bytes), scratch_delta(bytes);
        sum_part(b, (first + i) * kPartTokens, scratch_a.get(), scratch_delta.get(), advance(sums.get(), i * size, acc));
      });
      for (std::int64_t i = 0; i < count; ++i) add_part(b, advance(sums.get(), i * size, acc));
    }
  }
}

}  // namespace fimo
