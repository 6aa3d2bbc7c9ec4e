// SPDX-License-Identifier: Apache-2.0
// topk: rounds over the features. A round appends the scores above each query's threshold to its list; a selection then reduces
// the lists to their k best and raises the thresholds. See topk.cuh.
#include "cuda/topk.cuh"

#include "cuda/entry.h"
#include "cuda/topk_select.cuh"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kSmallK = 512;  // up to which 2048 keys are enough of a buffer
/// The first round keeps every score, the next ones at most `growth` times k a query where scores come in random order.
constexpr std::int64_t kGrowth = 8;
constexpr std::int64_t kGroupQueries = 1024;
constexpr std::int64_t kListBytes = std::int64_t{128} << 20;  // of all lists of a group

struct Operands {
  ConstMatrixView queries, features;
  RowScales scales;
};

class Rounds {
 public:
  Rounds(const Operands& operands, std::int64_t k) : operands_(operands) {
    const std::int64_t total = operands.features.rows;
    group_ = smaller(operands.queries.rows, kGroupQueries);
    lists_.k = k;
    lazy_ = k + larger(k, 256);
    first_ = smaller(k <= kSmallK ? 2048 : 4096, total);
    most_ = smaller(kListBytes / 8 / group_ - lazy_, total);
    lists_.capacity = larger(first_, lazy_ + most_);
  }

  void take(Context& context) {
    lists_.keys = context.take<TopkKey>(group_ * lists_.capacity);
    lists_.counts = context.take<std::int32_t>(group_);
    lists_.thresholds = context.take<float>(group_);
  }

  void run(Context& context, const MatrixView& values, std::int64_t* indices) const {
    const std::int64_t total = operands_.features.rows;
    for (std::int64_t query = 0; query < operands_.queries.rows; query += group_) {
      const Range group{query, smaller(query + group_, operands_.queries.rows)};
      for (std::int64_t first = 0, end = first_;; end = smaller(total, first + smaller(most_, kGrowth * first))) {
        score(context, group, {first, end});
        const bool last = end == total;
        select(context, group.end - query, first == 0 ? end : -1, last,
               last ? static_cast<float*>(values.data) + query * values.row_stride : nullptr, values.row_stride,
               indices + query * lists_.k);
        if (last) break;
        first = end;
      }
    }
  }

 private:
  void score(Context& context, Range group, Range features) const {
    const auto& [q, f, scales] = operands_;
    context.launch(topk_simple_kernel,
                   {dim3(static_cast<unsigned>(ceil_div(features.end - features.begin, 256)),
                         static_cast<unsigned>(group.end - group.begin)),
                    256},
                   advance(q.data, group.begin * q.row_stride, q.dtype), q.row_stride, f.data, f.row_stride,
                   static_cast<int>(q.dtype), q.cols, scales.queries ? scales.queries + group.begin : nullptr, scales.features,
                   TopkRound{lists_, features.begin, features.begin == 0}, features.end);
  }

  void select(Context& context, std::int64_t queries, std::int64_t count, bool last, float* values, std::int64_t values_stride,
              std::int64_t* indices) const {
    const auto launch = [&](auto kernel, std::size_t shared_bytes) {
      context.launch(kernel, {static_cast<unsigned>(queries), kSelectThreads, shared_bytes}, lists_, count, last ? 0 : lazy_,
                     values, values_stride, indices);
    };
    if (lists_.k <= kSmallK) {
      launch(topk_select_kernel<2048>, sizeof(SelectShared<2048>));
    } else {
      launch(topk_select_kernel<4096>, sizeof(SelectShared<4096>));
    }
  }

  Operands operands_;
  TopkLists lists_{};
  std::int64_t group_, lazy_, first_, most_;
};

void run(Context& context, const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k,
         const MatrixView& values, std::int64_t* indices, const RowScales& scales) {
  check_dtype("queries", queries.dtype, true);
  check_topk(queries, features, k, values, scales);
  require(k <= kMaxTopk, "k: expected at most ", kMaxTopk, " on CUDA, got ", k);
  require(features.rows < std::int64_t{1} << 32, "features: expected fewer than 2^32 rows on CUDA, got ", features.rows);
  if (queries.rows == 0) return;
  Rounds rounds({queries, features, scales}, k);
  rounds.take(context);
  if (!context.is_measuring()) rounds.run(context, values, indices);
}

}  // namespace

void topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
          std::int64_t* indices, const Queue& queue, const RowScales& scales) {
  Context context(queue);
  run(context, queries, features, k, values, indices, scales);
}

std::int64_t topk_workspace(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k,
                            const MatrixView& values, const RowScales& scales) {
  return measure([&](Context& context) { run(context, queries, features, k, values, nullptr, scales); });
}

}  // namespace fimo::cuda
