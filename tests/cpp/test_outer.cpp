// SPDX-License-Identifier: Apache-2.0
// outer_dot and outer_norm2: against gradients formed in float64. Small integers must come out exactly; for other numbers the
// bits are the same with any number of threads, and on all instruction sets with fused multiply-adds.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "arrays.h"
#include "check.h"
#include "fimo_fast/outer.h"
#include "tests.h"

namespace check {
namespace {

struct Shape {
  std::int64_t batch, tokens, batch2, tokens2, n, m;
};

/// Factors of a batch of gradients, laid out in one of several ways.
struct Factors {
  Input a, delta;

  Factors(Random& random, fimo::DType dtype, Values values, std::int64_t batch, std::int64_t tokens, std::int64_t n,
          std::int64_t m)
      : a{random, dtype, values, batch, tokens, n, random.integer(0, 1) * 3, random.integer(0, 3), random.integer(0, 3) == 0},
        delta{random,
              dtype,
              values,
              batch,
              tokens,
              m,
              random.integer(0, 1) * 5,
              random.integer(0, 1),
              random.integer(0, 3) == 0} {}

  /// sum_t |delta| |a| (or without the absolute values) as one vector for each example: [batch][m * n].
  std::vector<std::vector<double>> gradients(bool absolute) const {
    std::vector<std::vector<double>> all;
    for (std::int64_t b = 0; b < a.batch(); ++b) {
      std::vector<double> g(static_cast<std::size_t>(a.dim() * delta.dim()), 0.0);
      for (std::int64_t t = 0; t < a.tokens(); ++t) {
        auto entry = g.begin();
        for (std::int64_t i = 0; i < delta.dim(); ++i) {
          for (std::int64_t j = 0; j < a.dim(); ++j) {
            const double product = delta.at(b, t, i) * a.at(b, t, j);
            *entry++ += absolute ? std::fabs(product) : product;
          }
        }
      }
      all.push_back(g);
    }
    return all;
  }
};

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// What a result may be: integers whose sums have room in the accumulator are exact.
struct Expected {
  double value, tolerance;

  Expected(double value, double magnitude, std::int64_t terms, bool integers, double epsilon)
      : value(value),
        tolerance(integers && magnitude * epsilon < 1 ? 0 : epsilon * (8 + std::sqrt(static_cast<double>(terms))) * magnitude) {
  }
  bool allows(double actual) const { return std::fabs(actual - value) <= tolerance; }
};

template <class T>
bool allowed(const std::vector<Expected>& expected, const std::vector<T>& actual) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!expected[i].allows(static_cast<double>(actual[i]))) return false;  // NaN too
  }
  return true;
}

template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0);
}

template <class T>
void check_case(Random& random, fimo::DType dtype, Values values, const Shape& s) {
  const Factors f(random, dtype, values, s.batch, s.tokens, s.n, s.m), f2(random, dtype, values, s.batch2, s.tokens2, s.n, s.m);
  const double epsilon = sizeof(T) == 8 ? std::ldexp(1.0, -53) : std::ldexp(1.0, -24);
  const bool integers = values == Values::kIntegers;
  const auto g = f.gradients(false), g2 = f2.gradients(false), size = f.gradients(true), size2 = f2.gradients(true);
  const std::int64_t terms = s.tokens + s.tokens2 + s.n * s.m;  // the expected value is rounded too
  std::vector<Expected> dots, norms;
  for (std::size_t b = 0; b < g.size(); ++b) {
    norms.emplace_back(dot(g[b], g[b]), dot(size[b], size[b]), terms, integers, epsilon);
    for (std::size_t c = 0; c < g2.size(); ++c) {
      dots.emplace_back(dot(g[b], g2[c]), dot(size[b], size2[c]), terms, integers, epsilon);
    }
  }
  const std::int64_t lead = random.integer(0, 5), gap = random.integer(0, 5);
  std::vector<T> first_dots, first_norms;  // of the instruction sets with fused multiply-adds
  std::vector<T> serial_dots, serial_norms;
  on_every_isa([&](int threads) {
    begin_case("outer on ", fimo::current_isa(), ", ", threads, " threads, ", fimo::dtype_name(dtype), " [", s.batch, ", ",
               s.tokens, "] with [", s.batch2, ", ", s.tokens2, "], n ", s.n, ", m ", s.m);
    Output<T> out(s.batch, s.batch2, lead, gap), out_norm(s.batch, 1, lead, gap);
    fimo::outer_dot(f.a.tensor(), f.delta.tensor(), f2.a.tensor(), f2.delta.tensor(), out.view(), threads);
    fimo::outer_norm2(f.a.tensor(), f.delta.tensor(), out_norm.view(), threads);
    expect(out.canaries_alive() && out_norm.canaries_alive(), "nothing written outside the outputs");
    const std::vector<T> dot_values = out.contents(), norm_values = out_norm.contents();
    expect(allowed(dots, dot_values), "outer_dot is that of formed gradients");
    expect(allowed(norms, norm_values), "outer_norm2 is that of formed gradients");
    if (threads == 1) {
      serial_dots = dot_values;
      serial_norms = norm_values;
      if (fimo::current_isa() != "scalar" && first_norms.empty()) {
        first_dots = dot_values;
        first_norms = norm_values;
      }
    }
    expect(same_bits(dot_values, serial_dots) && same_bits(norm_values, serial_norms), "threads do not change the bits");
    if (fimo::current_isa() != "scalar") {
      expect(same_bits(dot_values, first_dots) && same_bits(norm_values, first_norms),
             "instruction sets with fused multiply-adds have the same bits");
    }
  });
}

void check_case_of(Random& random, fimo::DType dtype, Values values, const Shape& shape) {
  if (dtype == fimo::DType::kFloat64) {
    check_case<double>(random, dtype, values, shape);
  } else {
    check_case<float>(random, dtype, values, shape);
  }
}

}  // namespace

void test_outer() {
  Random random(2);
  std::vector<Shape> shapes{
      {150, 1, 140, 1, 33, 10},  // several tiles of examples
      {2, 200, 3, 150, 30, 20},  // tokens of one example over several tiles
      {4, 50, 2, 1, 600, 30},    // inner products in several parts
      {2, 3, 70, 5, 40, 30},     // many against few
      {9, 12, 40, 11, 8, 5},     // gradients are formed
      {3, 40, 3, 40, 20, 2},     // gradients are formed
      {17, 97, 33, 65, 15, 17},  // gradients are formed
  };
  for (const std::int64_t size : kSizes) {
    // Each dimension takes each size, the others are small.
    const auto small = [&] { return random.pick<std::int64_t>({1, 1, 2, 3, 5}); };
    shapes.push_back({size, small(), small(), small(), small(), small()});
    shapes.push_back({small(), size, small(), small(), small(), small()});
    shapes.push_back({small(), small(), size, small(), small(), small()});
    shapes.push_back({small(), small(), small(), size, small(), small()});
    shapes.push_back({small(), small(), small(), small(), size, small()});
    shapes.push_back({small(), small(), small(), small(), small(), size});
    shapes.push_back({small(), small(), small(), small(), size, random.pick(kSizes)});
    shapes.push_back({small(), 1, small(), 1, size, random.pick(kSizes)});
    shapes.push_back({random.pick(kSizes), 1, size, 1, small(), small()});
    shapes.push_back({small(), size, small(), random.pick(kSizes), random.pick(kSizes), random.pick(kSizes)});
  }
  std::int64_t formed = 0;
  std::size_t turn = 0;
  for (const Shape& s : shapes) {
    formed += fimo::outer_dot_forms_gradients(s.batch, s.tokens, s.batch2, s.tokens2, s.n, s.m) ? 1 : 0;
    for (const fimo::DType dtype : kDTypes) check_case_of(random, dtype, Values::kIntegers, s);
    check_case_of(random, kDTypes[turn++ % kDTypes.size()], Values::kReal, s);
  }
  expect(formed >= 10 && formed + 10 <= static_cast<std::int64_t>(shapes.size()), "shapes take both ways of computing");
}

}  // namespace check
