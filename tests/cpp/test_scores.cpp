// SPDX-License-Identifier: Apache-2.0
// scores, and topk: the list of a full sort by (NaN, value, smaller index). Scores are sums of small integers (int8: of all,
// with scales that are powers of two), so they are exact and tie often.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "arrays.h"
#include "check.h"
#include "fimo_fast/score.h"
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

/// Scales of int8 rows, in memory that ends with them; of other types none.
class Scales {
 public:
  Scales(Random& random, fimo::DType dtype, std::int64_t rows)
      : scaled_(dtype == fimo::DType::kInt8), memory_(static_cast<std::size_t>(scaled_ ? rows : 0) * sizeof(float)) {
    for (std::int64_t i = 0; scaled_ && i < rows; ++i) {
      const float scale = std::ldexp(random.word() & 1 ? 1.f : -1.f, static_cast<int>(random.integer(-3, 3)));
      std::memcpy(memory_.bytes() + static_cast<std::size_t>(i) * sizeof scale, &scale, sizeof scale);
      values_.push_back(scale);
    }
  }
  const float* data() const { return scaled_ ? reinterpret_cast<const float*>(memory_.bytes()) : nullptr; }
  double at(std::int64_t row) const { return scaled_ ? values_[static_cast<std::size_t>(row)] : 1; }

 private:
  bool scaled_;
  Guarded memory_;
  std::vector<double> values_;
};

template <class T>
void check_case(Random& random, fimo::DType dtype, std::int64_t queries, std::int64_t features, std::int64_t dim,
                std::int64_t k) {
  const Input q(random, dtype, Values::kIntegers, queries, 1, dim, random.integer(0, 3));
  Input f(random, dtype, Values::kIntegers, features, 1, dim, random.integer(0, 3));
  const Scales query_scales(random, dtype, queries), feature_scales(random, dtype, features);
  const fimo::RowScales scales{query_scales.data(), feature_scales.data()};
  if (dim > 0 && dtype != fimo::DType::kInt8 && random.integer(0, 3) == 0) {
    for (int i = 0; i < 3; ++i) {
      const std::int64_t row = random.integer(0, features - 1);
      f.set_nan(row, random.integer(0, dim - 1));
    }
  }
  std::vector<std::vector<Scored>> every, expected;  // in order of the features, and sorted
  for (std::int64_t m = 0; m < queries; ++m) {
    std::vector<Scored> all;
    for (std::int64_t n = 0; n < features; ++n) {
      double score = 0;
      for (std::int64_t i = 0; i < dim; ++i) score += q.at(m, i) * f.at(n, i);
      all.push_back({score * query_scales.at(m) * feature_scales.at(n), n});
    }
    every.push_back(all);
    std::sort(all.begin(), all.end(), ranks_above);
    expected.push_back(std::move(all));
  }
  const auto same = [](double value, double wanted) { return std::isnan(wanted) ? std::isnan(value) : value == wanted; };

  const std::int64_t lead = random.integer(0, 5), gap = random.integer(0, 5);
  on_every_isa([&](int threads) {
    begin_case("scores on ", fimo::current_isa(), ", ", threads, " threads, ", fimo::dtype_name(dtype), " queries ", queries,
               ", features ", features, ", dim ", dim, ", k ", k);
    Output<T> all(queries, features, lead, gap);
    fimo::scores(q.matrix(), f.matrix(), all.view(), threads, scales);
    expect(all.canaries_alive(), "nothing written outside the scores");
    const std::vector<T> scored = all.contents();
    bool same_scores = true;
    for (std::int64_t i = 0; i < queries * features; ++i) {
      const Scored& wanted = every[static_cast<std::size_t>(i / features)][static_cast<std::size_t>(i % features)];
      same_scores = same_scores && same(static_cast<double>(scored[static_cast<std::size_t>(i)]), wanted.value);
    }
    expect(same_scores, "scores of plain loops");
    Output<T> values(queries, k, lead, gap);
    const Guarded indices(static_cast<std::size_t>(queries * k) * sizeof(std::int64_t));
    fimo::topk(q.matrix(), f.matrix(), k, values.view(), reinterpret_cast<std::int64_t*>(indices.bytes()), threads, scales);
    expect(values.canaries_alive(), "nothing written outside the values");
    const std::vector<T> actual = values.contents();
    bool same_values = true, same_indices = true;
    for (std::int64_t i = 0; i < queries * k; ++i) {
      const Scored& wanted = expected[static_cast<std::size_t>(i / k)][static_cast<std::size_t>(i % k)];
      const double value = static_cast<double>(actual[static_cast<std::size_t>(i)]);
      std::int64_t index;
      std::memcpy(&index, indices.bytes() + static_cast<std::size_t>(i) * sizeof index, sizeof index);
      same_values = same_values && same(value, wanted.value);
      same_indices = same_indices && index == wanted.index;
    }
    expect(same_values, "values of a full sort");
    expect(same_indices, "indices of a full sort");
  });
}

}  // namespace

void test_scores() {
  Random random(3);
  struct Shape {
    std::int64_t queries, features, dim, k;
  };
  std::vector<Shape> shapes{
      {1, 2000, 33, 600}, {130, 500, 30, 3}, {300, 97, 7, 97}, {3, 241, 0, 241}, {33, 241, 8, 240},
      {7, 1500, 300, 9},  {2, 3000, 17, 1},  {300, 5, 40, 3},  {8, 60, 1200, 5}, {11, 30, 1200, 4},
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
    std::vector<fimo::DType> dtypes = kDTypes;
    dtypes.push_back(fimo::DType::kInt8);
    for (const fimo::DType dtype : dtypes) {
      if (dtype == fimo::DType::kFloat64) {
        check_case<double>(random, dtype, s.queries, s.features, s.dim, s.k);
      } else {
        check_case<float>(random, dtype, s.queries, s.features, s.dim, s.k);
      }
    }
  }
}

}  // namespace check
