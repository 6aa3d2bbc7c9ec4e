// SPDX-License-Identifier: Apache-2.0
// Inner products of sums of outer products: checks, the cost model, and the cut into tiles. Tile borders never cut an example
// differently because of its neighbours, so each pair's bits depend on that pair (and the shapes) alone.
#include "fimo_fast/outer.h"

#include <algorithm>

#include "common/checks.h"
#include "cpu/isa/dispatch.h"
#include "cpu/outer_tile.h"
#include "cpu/workspace.h"
#include "fimo_fast/parallel.h"

namespace fimo {
namespace {

constexpr std::int64_t kMaxFormedBytes = std::int64_t{64} << 20;

/// Examples of `tokens` tokens that fit a side of a tile; one if none fits.
std::int64_t examples_in(std::int64_t tile, std::int64_t tokens) { return larger(1, tile / larger(1, tokens)); }

void outer_dot_factored(const Kernels& table, const Factor& a, const Factor& delta, const Factor& a2, const Factor& delta2,
                        const MatrixView& out, int num_threads) {
  const std::int64_t all_cols = a2.batch * a2.tokens;
  const bool few = all_cols <= kMaxDotVectors;
  const std::int64_t cols = few ? all_cols : tile_cols(table, a.dim, delta.dim, a.dtype);
  const std::int64_t group = examples_in(kTileRows, a.tokens), group2 = examples_in(cols, a2.tokens);
  const std::int64_t groups = ceil_div(a.batch, group), groups2 = ceil_div(a2.batch, group2);
  // Each split packs its columns again.
  const std::int64_t splits = smaller(groups, ceil_div(2 * num_threads, groups2));
  parallel_for(groups2 * splits, num_threads, [&](std::int64_t task) {
    const std::int64_t c0 = task / splits * group2, count2 = smaller(group2, a2.batch - c0);
    const Range part = part_of(groups, splits, task % splits, 1);
    FactoredTile tile(table, a, delta, a2, delta2, cols, few);
    if (count2 * a2.tokens <= cols) tile.load_columns(c0 * a2.tokens, count2 * a2.tokens);
    for (std::int64_t g = part.begin; g < part.end; ++g) {
      tile.run(g * group, smaller(group, a.batch - g * group), c0, count2, out, c0);
    }
  });
}

/// gradient[i, j] = sum_t delta[b, t, m0 + i] a[b, t, n0 + j].
void form_gradient(const Kernels& table, const Factor& a, const Factor& delta, std::int64_t b, Range m, Range n,
                   const Workspace& packed, void* gradient) {
  const std::int64_t cols = n.end - n.begin;
  const int dtype = static_cast<int>(a.dtype);
  table.pack[dtype]({advance(a.row(b * a.tokens), n.begin, a.dtype), 1, a.row_stride, cols, a.tokens, packed.get()});
  table.gram[dtype]({advance(delta.row(b * a.tokens), m.begin, a.dtype), 1, delta.row_stride, m.end - m.begin, a.tokens,
                     packed.get(), cols, gradient, cols, false});
}

/// out[b, c] (+)= <g[b], g2[c]> of formed gradients. Packing a gradient costs as much as the products of many, so up to
/// kMaxFormed on either side go through the kernel for few vectors.
void formed_products(const Kernels& table, const Factor& g, const Factor& g2, const MatrixView& out, bool accumulate,
                     int num_threads) {
  constexpr std::int64_t kMaxFormed = 2 * kMaxDotVectors;
  if (smaller(g.batch, g2.batch) > kMaxFormed) {
    const std::int64_t cols = tile_cols(table, g.dim, 0, g.dtype), tiles = ceil_div(g2.batch, cols);
    const std::int64_t splits = smaller(ceil_div(g.batch, 12), ceil_div(2 * num_threads, tiles));
    parallel_for(tiles * splits, num_threads, [&](std::int64_t task) {
      const std::int64_t c0 = task / splits * cols, count2 = smaller(cols, g2.batch - c0);
      const Range rows = part_of(g.batch, splits, task % splits, 12);
      const Workspace packed(packed_bytes(table, g.dim, count2, g.dtype));
      gram(table, g, rows.begin, rows.end - rows.begin, pack_rows(table, g2, c0, count2, packed),
           advance(out.data, rows.begin * out.row_stride + c0, out.dtype), out.row_stride, accumulate);
    });
    return;
  }
  const bool swapped = g.batch < g2.batch;
  const Factor &rows = swapped ? g2 : g, &vectors = swapped ? g : g2;
  const std::int64_t groups = ceil_div(vectors.batch, kMaxDotVectors);
  const std::int64_t splits = smaller(rows.batch, ceil_div(num_threads, groups));
  parallel_for(groups * splits, num_threads, [&](std::int64_t task) {
    const std::int64_t first = task / splits * kMaxDotVectors, count = smaller(kMaxDotVectors, vectors.batch - first);
    const Range range = part_of(rows.batch, splits, task % splits, 1);
    const Workspace prepared(prepared_bytes(table, g.dim, count, g.dtype));
    const Workspace tile((range.end - range.begin) * count * dtype_size(out.dtype));
    const MatrixView products{tile.get(), out.dtype, range.end - range.begin, count, count};
    gram(table, rows, range.begin, products.rows, pack_rows(table, vectors, first, count, prepared, true), products.data,
         count);
    for (std::int64_t i = 0; i < products.rows; ++i) {
      for (std::int64_t j = 0; j < count; ++j) {
        const std::int64_t row = swapped ? first + j : range.begin + i, col = swapped ? range.begin + i : first + j;
        write(out, row, col, accumulate ? read(out, row, col) + read(products, i, j) : read(products, i, j));
      }
    }
  });
}

void outer_dot_formed(const Kernels& table, const Factor& a, const Factor& delta, const Factor& a2, const Factor& delta2,
                      const MatrixView& out, int num_threads) {
  const DType acc = accumulator_dtype(a.dtype);
  const std::int64_t examples = a.batch + a2.batch;
  const std::int64_t budget = kMaxFormedBytes / (examples * dtype_size(acc));  // entries of each gradient at a time
  const std::int64_t n_part = smaller(a.dim, larger(64, budget));
  const std::int64_t m_part = smaller(delta.dim, larger(1, budget / n_part));
  const Workspace gradients(examples * n_part * m_part * dtype_size(acc));
  for (std::int64_t m0 = 0; m0 < delta.dim; m0 += m_part) {
    for (std::int64_t n0 = 0; n0 < a.dim; n0 += n_part) {
      const Range m{m0, smaller(m0 + m_part, delta.dim)}, n{n0, smaller(n0 + n_part, a.dim)};
      const std::int64_t entries = (m.end - m.begin) * (n.end - n.begin);
      const Factor g{gradients.get(), acc, a.batch, 1, entries, entries};
      const Factor g2{advance(gradients.get(), a.batch * entries, acc), acc, a2.batch, 1, entries, entries};
      parallel_for(examples, num_threads, [&](std::int64_t e) {
        const bool first = e < a.batch;
        const Workspace packed(packed_bytes(table, first ? a.tokens : a2.tokens, n.end - n.begin, a.dtype));
        void* target = advance(gradients.get(), e * entries, acc);
        if (first) {
          form_gradient(table, a, delta, e, m, n, packed, target);
        } else {
          form_gradient(table, a2, delta2, e - a.batch, m, n, packed, target);
        }
      });
      formed_products(table, g, g2, out, m0 > 0 || n0 > 0, num_threads);
    }
  }
}

/// Sums of squares of the formed gradients, a few of their rows at a time.
void norm2_formed(const Kernels& table, const Factor& a, const Factor& delta, Range examples, const MatrixView& out) {
  const DType acc = accumulator_dtype(a.dtype);
  const std::int64_t m_part = smaller(delta.dim, larger(1, (std::int64_t{1} << 17) / a.dim));
  const Workspace packed(packed_bytes(table, a.tokens, a.dim, a.dtype)), gradient(m_part * a.dim * dtype_size(acc));
  for (std::int64_t b = examples.begin; b < examples.end; ++b) {
    double sum = 0.0;
    for (std::int64_t m0 = 0; m0 < delta.dim; m0 += m_part) {
      const Range m{m0, smaller(m0 + m_part, delta.dim)};
      form_gradient(table, a, delta, b, m, {0, a.dim}, packed, gradient.get());
      sum += table.sum_squares[static_cast<int>(acc)](gradient.get(), (m.end - m.begin) * a.dim);
    }
    write(out, b, 0, sum);
  }
}

/// Multiply-adds of the two ways, in double because they overflow 64-bit integers.
struct OuterDotCost {
  double factored, formed;

  bool forms() const { return formed < factored; }
  double least() const { return std::min(factored, formed); }
};

OuterDotCost outer_dot_cost(std::int64_t batch, std::int64_t tokens, std::int64_t batch2, std::int64_t tokens2, std::int64_t n,
                            std::int64_t m) {
  const double pairs = static_cast<double>(batch) * static_cast<double>(batch2);
  const double entries = static_cast<double>(n) * static_cast<double>(m);
  const double rows = static_cast<double>(batch) * static_cast<double>(tokens);
  const double rows2 = static_cast<double>(batch2) * static_cast<double>(tokens2);
  return {rows * rows2 * static_cast<double>(n + m), (rows + rows2 + pairs) * entries};
}

constexpr double kMultiplyAddsEach = 16;  // in the unit of useful_threads

}  // namespace

bool outer_dot_forms_gradients(std::int64_t batch, std::int64_t tokens, std::int64_t batch2, std::int64_t tokens2,
                               std::int64_t n, std::int64_t m) {
  return outer_dot_cost(batch, tokens, batch2, tokens2, n, m).forms();
}

void outer_dot(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
               const ConstTensor3View& delta2, const MatrixView& out, int num_threads) {
  check_outer_dot(a, delta, a2, delta2, out);
  if (a.batch == 0 || a2.batch == 0) return;
  if (a.tokens == 0 || a2.tokens == 0 || a.dim == 0 || delta.dim == 0) {  // empty sums
    for (std::int64_t i = 0; i < out.rows; ++i) {
      for (std::int64_t j = 0; j < out.cols; ++j) write(out, i, j, 0.0);
    }
    return;
  }
  const OuterDotCost cost = outer_dot_cost(a.batch, a.tokens, a2.batch, a2.tokens, a.dim, delta.dim);
  num_threads = useful_threads(cost.least() / kMultiplyAddsEach, num_threads);
  Workspace copies[4];
  const Factor fa = flatten(a, copies[0]), fd = flatten(delta, copies[1]);
  const Factor fa2 = flatten(a2, copies[2]), fd2 = flatten(delta2, copies[3]);
  if (cost.forms()) {
    outer_dot_formed(kernels(), fa, fd, fa2, fd2, out, num_threads);
  } else {
    outer_dot_factored(kernels(), fa, fd, fa2, fd2, out, num_threads);
  }
}

void outer_norm2(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out, int num_threads) {
  check_outer_norm2(a, delta, out);
  if (a.batch == 0) return;
  const Kernels& table = kernels();
  Workspace copies[2];
  const Factor fa = flatten(a, copies[0]), fd = flatten(delta, copies[1]);
  const bool empty = a.tokens == 0 || a.dim == 0 || delta.dim == 0;
  const double tokens = static_cast<double>(a.tokens);
  const double entries = static_cast<double>(a.dim) * static_cast<double>(delta.dim);
  // As in outer_dot_cost, but there is only one gradient to form.
  const OuterDotCost each{tokens * tokens * static_cast<double>(a.dim + delta.dim), (tokens + 1) * entries};
  num_threads = useful_threads(static_cast<double>(a.batch) * each.least() / kMultiplyAddsEach, num_threads);
  const std::int64_t cols = smaller(tile_cols(table, a.dim, delta.dim, a.dtype), larger(1, a.tokens));
  const std::int64_t parts = smaller(a.batch, std::int64_t{4} * num_threads);  // a part shares its workspaces
  parallel_for(parts, num_threads, [&](std::int64_t part) {
    const Range examples = part_of(a.batch, parts, part, 1);
    if (empty) {
      for (std::int64_t b = examples.begin; b < examples.end; ++b) write(out, b, 0, 0.0);
    } else if (a.tokens == 1) {  // |delta|^2 |a|^2
      const auto sum_squares = table.sum_squares[static_cast<int>(a.dtype)];
      for (std::int64_t b = examples.begin; b < examples.end; ++b) {
        write(out, b, 0, sum_squares(fa.row(b), a.dim) * sum_squares(fd.row(b), delta.dim));
      }
    } else if (each.forms()) {
      norm2_formed(table, fa, fd, examples, out);
    } else {
      FactoredTile tile(table, fa, fd, fa, fd, cols, cols <= kMaxDotVectors);
      for (std::int64_t b = examples.begin; b < examples.end; ++b) {
        if (a.tokens <= cols) tile.load_columns(b * a.tokens, a.tokens);
        tile.run(b, 1, b, 1, out, 0);
        // Rounding can leave a tiny negative sum where the true norm is zero; NaN fails the comparison and stays.
        if (read(out, b, 0) < 0.0) write(out, b, 0, 0.0);
      }
    }
  });
}

}  // namespace fimo
