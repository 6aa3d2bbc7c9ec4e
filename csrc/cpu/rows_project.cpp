// SPDX-License-Identifier: Apache-2.0
// Sketches of the gradients of embeddings: an example's tokens are sorted by their rows, rows of the same index are added up,
// and what they make of one row, or of one block of an SRHT, is sketched at once.
#include "fimo_fast/rows_project.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/checks.h"
#include "common/mask.h"
#include "cpu/isa/dispatch.h"
#include "cpu/sketch_tables.h"
#include "cpu/srht_rows.h"
#include "cpu/workspace.h"
#include "fimo_fast/parallel.h"

namespace fimo {
namespace {

void check(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
           const MatrixView& out) {
  check_rows_project(index, delta, sketch, offset, out);
  // Any number of rows that have no numbers.
  const std::int64_t rows = delta.dim ? (sketch.input_dim - offset) / delta.dim : INT64_MAX;
  for (std::int64_t b = 0; b < index.batch; ++b) {
    for (std::int64_t t = 0; t < index.tokens; ++t) {
      const std::int64_t row = index.data[b * index.batch_stride + t];
      require(row >= 0 && row < rows, "index: expected 0 or more, and less than ", rows, " (rows of ", delta.dim,
              " numbers from offset ", offset, " on within input_dim = ", sketch.input_dim, "), got ", row, " at example ", b,
              ", token ", t);
    }
  }
}

template <class Bits>
bool is_zero(const void* row, std::int64_t count) {
  constexpr Bits kWithoutSign = static_cast<Bits>(~Bits{0}) >> 1;
  const Bits* bits = static_cast<const Bits*>(row);
  for (std::int64_t i = 0; i < count; ++i) {
    if (bits[i] & kWithoutSign) return false;
  }
  return true;
}

bool is_zero(const void* row, std::int64_t count, DType dtype) {
  switch (dtype_size(dtype)) {
    case 8: return is_zero<std::uint64_t>(row, count);
    case 4: return is_zero<std::uint32_t>(row, count);
    default: return is_zero<std::uint16_t>(row, count);
  }
}

/// What depends on the sketch only.
struct SketchTables {
  Sketch sketch;
  DType dtype;  // of the accumulators: all that is sketched here
  std::int64_t block = 0;
  std::vector<std::int32_t> kept;  // rows of the SRHT, as in its task
  SpreadTables spread;
  std::vector<SjltBlocks> sjlt;  // one or none

  SketchTables(const Sketch& sketch, DType dtype) : sketch(sketch), dtype(dtype) {
    if (sketch.kind == SketchKind::kSjlt) sjlt.emplace_back(sketch);
    if (sketch.kind != SketchKind::kSrht) return;
    block = srht_block(sketch);
    if (block > sketch.sketch_dim) kept = srht_rows(sketch, block);
    spread = spread_to(kept, kept.empty() ? 0 : block);
  }
};

/// Adds slices of one vector to a row of sketches, with workspaces for all of them. Of an SRHT they are whole blocks.
class SliceAdder {
 public:
  /// Slices have `longest` numbers at most. Only the outputs in `cols` of a dense sketch are added.
  SliceAdder(const SketchTables& tables, std::int64_t longest, Range cols)
      : tables_(tables), cols_(cols), slice_(longest * dtype_size(tables.dtype)) {
    const Sketch& sketch = tables.sketch;
    const std::int64_t element = dtype_size(tables.dtype);
    if (sketch.kind == SketchKind::kSrht) {
      first_ = Workspace(16 * (tables.block / 128 + 2));
      second_ = Workspace(16 * ceil_div(tables.block, 128));
      third_ = Workspace(tables.kept.empty() ? 0 : 16 * ceil_div(sketch.sketch_dim, 128) + 4);
      sums_ = Workspace(tables.kept.empty() ? 0 : tables.block * element);
    } else if (sketch.kind == SketchKind::kSjlt) {
      chunk_ = smaller(longest, round_up(larger(1, kSjltChunk / sketch.nonzeros), tables.sjlt[0].period));
      first_ = Workspace(4 * chunk_ * sketch.nonzeros);
      second_ = Workspace(element * chunk_ * sketch.nonzeros);
      third_ = Workspace(4 * tables.sjlt[0].words());
    } else if (sketch.kind != SketchKind::kMask) {
      first_ = Workspace(kDenseCoordinates * element);
      second_ = Workspace(kDenseCoordinates * kDenseColumns * element);
    }
  }

  /// Where the slice is put together.
  void* slice() const { return slice_.get(); }

  /// Adds the slice of `count` numbers whose first is coordinate `begin` to out [sketch_dim].
  void add(std::int64_t begin, std::int64_t count, void* out) const {
    const Sketch& sketch = tables_.sketch;
    const SketchInput in{slice(), 0, 1, count, static_cast<std::uint64_t>(begin), scale_of(sketch), sketch.seed};
    const Kernels& table = kernels();
    const int dtype = static_cast<int>(tables_.dtype);
    switch (sketch.kind) {
      case SketchKind::kRademacher:
      case SketchKind::kGaussian: {
        const auto kernel = (sketch.kind == SketchKind::kGaussian ? table.gaussian : table.rademacher)[dtype];
        return kernel({in, out, 0, cols_.begin, cols_.end - cols_.begin, first_.get(), second_.get()});
      }
      case SketchKind::kMask: {
        const std::int64_t first = mask_output(sketch.input_dim, sketch.sketch_dim, begin);
        const std::int64_t last = mask_output(sketch.input_dim, sketch.sketch_dim, begin + count - 1);
        return table.mask[dtype]({in, out, 0, sketch.input_dim, sketch.sketch_dim, first, last + 1});
      }
      case SketchKind::kSjlt: return add_sjlt(in, out);
      case SketchKind::kSrht:
        // The transform may happen in place.
        return table.srht[dtype]({in,
                                  out,
                                  0,
                                  tables_.block,
                                  sketch.sketch_dim,
                                  tables_.kept.empty() ? nullptr : tables_.kept.data(),
                                  {tables_.spread.first.data(), tables_.spread.moved.data()},
                                  1,
                                  slice(),
                                  sums_.get(),
                                  first_.as<std::uint32_t>(),
                                  second_.as<std::uint32_t>(),
                                  third_.as<std::uint32_t>()});
    }
  }

 private:
  static constexpr std::int64_t kSjltChunk = 4096;  // nonzeros generated ahead of their use

  void add_sjlt(SketchInput in, void* out) const {
    const Sketch& sketch = tables_.sketch;
    const SjltBlocks& blocks = tables_.sjlt[0];
    const Kernels& table = kernels();
    const int dtype = static_cast<int>(tables_.dtype);
    const std::int64_t s = sketch.nonzeros, count = in.dim;
    for (std::int64_t at = 0; at < count; at += chunk_) {
      in.dim = smaller(chunk_, count - at);
      table.sjlt_entries[dtype]({in.first_coordinate, in.dim, s, in.scale, in.seed, blocks.period, blocks.lengths.data(),
                                 blocks.starts.data(), third_.as<std::uint32_t>(), 1, first_.as<std::uint32_t>(),
                                 second_.get()});
      table.sjlt[dtype](
          {in, out, 0, s, 0, s, 0, sketch.sketch_dim, 1, first_.as<std::uint32_t>(), second_.get(), nullptr, true, true});
      in.grads = advance(in.grads, in.dim, tables_.dtype);
      in.first_coordinate += static_cast<std::uint64_t>(in.dim);
    }
  }

  const SketchTables& tables_;
  Range cols_;
  std::int64_t chunk_ = 0;
  Workspace slice_, first_, second_, third_, sums_;
};

/// The rows of one example that are not zero, in increasing order of their place in the sketch's input, then of token.
struct Row {
  std::int64_t begin;
  std::int64_t token;

  bool operator<(const Row& other) const { return begin != other.begin ? begin < other.begin : token < other.token; }
};

void sorted_rows(const ConstIndexView& index, const ConstTensor3View& delta, std::int64_t offset, std::int64_t b,
                 std::vector<Row>& rows) {
  rows.clear();
  for (std::int64_t t = 0; t < delta.tokens; ++t) {
    const void* row = advance(delta.data, b * delta.batch_stride + t * delta.token_stride, delta.dtype);
    if (!is_zero(row, delta.dim, delta.dtype)) rows.push_back({offset + index.data[b * index.batch_stride + t] * delta.dim, t});
  }
  std::sort(rows.begin(), rows.end());
}

/// Slices of one example's gradient, each sketched once: rows of G, or blocks of an SRHT, into which several rows may fall, as
/// one row may fall into several blocks.
void add_example(const ConstTensor3View& delta, const std::vector<Row>& rows, std::int64_t b, std::int64_t block,
                 const SliceAdder& adder, const Workspace& converted, void* out) {
  const Kernels& table = kernels();
  const DType acc = accumulator_dtype(delta.dtype);
  std::int64_t past = 0;  // the end of the last slice
  for (std::size_t low = 0; low < rows.size();) {
    const std::int64_t begin = block ? larger(past, rows[low].begin / block * block) : rows[low].begin;
    const std::int64_t end = begin + (block ? block : delta.dim);
    std::memset(adder.slice(), 0, static_cast<std::size_t>((end - begin) * dtype_size(acc)));
    for (std::size_t i = low; i < rows.size() && rows[i].begin < end; ++i) {
      const std::int64_t from = larger(begin, rows[i].begin), to = smaller(end, rows[i].begin + delta.dim);
      const void* source =
          advance(delta.data, b * delta.batch_stride + rows[i].token * delta.token_stride + from - rows[i].begin, delta.dtype);
      if (delta.dtype != acc) {
        // Packed as one vector, numbers are converted and keep their order.
        table.pack[static_cast<int>(delta.dtype)]({source, 1, to - from, to - from, 1, converted.get()});
        source = converted.get();
      }
      table.add[static_cast<int>(acc)](advance(adder.slice(), from - begin, acc), source, to - from);
    }
    adder.add(begin, end - begin, out);
    past = end;
    while (low < rows.size() && rows[low].begin + delta.dim <= end) ++low;
  }
}

/// Operations for each number of delta, at about one a nanosecond.
double operations_each(const Sketch& sketch, std::int64_t block, std::int64_t dim) {
  switch (sketch.kind) {
    case SketchKind::kRademacher:
    case SketchKind::kGaussian: return static_cast<double>(sketch.sketch_dim) / 16;
    case SketchKind::kSjlt: return static_cast<double>(sketch.nonzeros);
    case SketchKind::kSrht: return 1 + static_cast<double>(block) / static_cast<double>(dim);
    case SketchKind::kMask: break;
  }
  return 0.1;
}

}  // namespace

void rows_project(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out, int num_threads) {
  check(index, delta, sketch, offset, out);
  if (delta.batch == 0 || delta.tokens == 0 || delta.dim == 0) return;
  const SketchTables tables(sketch, out.dtype);
  const std::int64_t longest = tables.block ? tables.block : delta.dim, k = sketch.sketch_dim;
  const double numbers = static_cast<double>(delta.batch) * static_cast<double>(delta.tokens * delta.dim);
  const int threads = useful_threads(operations_each(sketch, tables.block, delta.dim) * numbers, num_threads);
  // Few examples are shared by threads where the outputs of a sketch do not depend on each other.
  const bool dense = sketch.kind == SketchKind::kRademacher || sketch.kind == SketchKind::kGaussian;
  const std::int64_t example_parts = smaller(delta.batch, 4 * std::int64_t{threads});
  const std::int64_t col_parts = dense ? smaller(ceil_div(threads, example_parts), ceil_div(k, kDenseColumns)) : 1;
  parallel_for(example_parts * col_parts, threads, [&](std::int64_t task) {
    const Range examples = part_of(delta.batch, example_parts, task / col_parts, 1);
    const SliceAdder adder(tables, longest, part_of(k, col_parts, task % col_parts, kDenseColumns));
    const std::int64_t panel = kernels().panel[static_cast<int>(delta.dtype)];
    const Workspace converted(delta.dtype == out.dtype ? 0
                                                       : round_up(smaller(delta.dim, longest), panel) * dtype_size(out.dtype));
    std::vector<Row> rows;
    for (std::int64_t b = examples.begin; b < examples.end; ++b) {
      sorted_rows(index, delta, offset, b, rows);
      add_example(delta, rows, b, tables.block, adder, converted, advance(out.data, b * out.row_stride, out.dtype));
    }
  });
}

}  // namespace fimo
