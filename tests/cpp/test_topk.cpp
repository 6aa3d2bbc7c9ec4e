// SPDX-License-Identifier: Apache-2.0
// topk: the list of a full sort by (NaN, value, smaller index). Scores are sums of small integers, so they are exact and tie
// often.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "arrays.h"
#include "check.h"
#include "fimo_fast/topk.h"
#include "tests.h"

namespace check {
namespace {

struct Scored {
  double value;
  std::int64_t index;
};

bool ranks_above(const Scored& x, const Scored& y) {
  const bool nan_x = std::isnan(x.value), nan_y = std::isnan(y.value);
  if (nan_x != nan_y) return nan_x;
  if (!nan_x && x.value != y.value) return x.value > y.value;
  return x.index < y.index;
}

/// All scores of a query, best first.
std::vector<Scored> ranked(const Input& queries, std::int64_t query, const Input& features) {
  std::vector<Scored> all;
  for (std::int64_t n = 0; n < features.batch(); ++n) {
    double score = 0;
    for (std::int64_t i = 0; i < features.dim(); ++i) score += queries.at(query, i) * features.at(n, i);
    all.push_back({score, n});
  }
  std::sort(all.begin(), all.end(), ranks_above);
  return all;
}

template <class T>
void check_case(Random& random, fimo::DType dtype, std::int64_t queries, std::int64_t features, std::int64_t dim,
                std::int64_t k) {
  const Input q(random, dtype, Values::kIntegers, queries, 1, dim, random.integer(0, 3));
  Input f(random, dtype, Values::kIntegers, features, 1, dim, random.integer(0, 3));
  if (dim > 0 && random.integer(0, 3) == 0) {
    for (int i = 0; i < 3; ++i) {
      const std::int64_t row = random.integer(0, features - 1);
      f.set_nan(row, random.integer(0, dim - 1));
    }
  }
  std::vector<std::vector<Scored>> expected;
  for (std::int64_t m = 0; m < queries; ++m) expected.push_back(ranked(q, m, f));

  const std::int64_t lead = random.integer(0, 5), gap = random.integer(0, 5);
  on_every_isa([&](int threads) {
    begin_case("topk on ", fimo::current_isa(), ", ", threads, " threads, ", fimo::dtype_name(dtype), " queries ", queries,
               ", features ", features, ", dim ", dim, ", k ", k);
    Output<T> values(queries, k, lead, gap);
    const Guarded indices(static_cast<std::size_t>(queries * k) * sizeof(std::int64_t));
    fimo::topk(q.matrix(), f.matrix(), k, values.view(), reinterpret_cast<std::int64_t*>(indices.bytes()), threads);
    expect(values.canaries_alive(), "nothing written outside the values");
    const std::vector<T> actual = values.contents();
    bool same_values = true, same_indices = true;
    for (std::int64_t i = 0; i < queries * k; ++i) {
      const Scored& wanted = expected[static_cast<std::size_t>(i / k)][static_cast<std::size_t>(i % k)];
      const double value = static_cast<double>(actual[static_cast<std::size_t>(i)]);
      std::int64_t index;
      std::memcpy(&index, indices.bytes() + static_cast<std::size_t>(i) * sizeof index, sizeof index);
      same_values = same_values && (std::isnan(wanted.value) ? std::isnan(value) : value == wanted.value);
      same_indices = same_indices && index == wanted.index;
    }
    expect(same_values, "values of a full sort");
    expect(same_indices, "indices of a full sort");
  });
}

}  // namespace

void test_topk() {
  Random random(3);
  struct Shape {
    std::int64_t queries, features, dim, k;
  };
  std::vector<Shape> shapes{
      {1, 2000, 33, 600}, {130, 500, 30, 3}, {300, 97, 7, 97}, {3, 241, 0, 241},
      {33, 241, 8, 240},  {7, 1500, 300, 9}, {2, 3000, 17, 1},
  };
  for (const std::int64_t size : kSizes) {
    const std::int64_t features = std::max<std::int64_t>(1, random.pick(kSizes));
    const std::int64_t rows = std::max<std::int64_t>(1, size);
    shapes.push_back({size, features, random.pick(kSizes), random.integer(1, features)});
    shapes.push_back({random.integer(1, 9), rows, random.pick(kSizes), random.integer(1, rows)});
    shapes.push_back({random.integer(1, 9), features, size, random.integer(1, features)});
    shapes.push_back({random.integer(1, 40), rows + 500, random.pick(kSizes), rows});
  }
  for (const Shape& s : shapes) {
    for (const fimo::DType dtype : kDTypes) {
      if (dtype == fimo::DType::kFloat64) {
        check_case<double>(random, dtype, s.queries, s.features, s.dim, s.k);
      } else {
        check_case<float>(random, dtype, s.queries, s.features, s.dim, s.k);
      }
    }
  }
}

}  // namespace check
