// SPDX-License-Identifier: Apache-2.0
// outer_project: small integers make gradients, outer products and transforms exact, so results have the bits of the
// definitions applied to gradients formed in plain loops; for other numbers, those of one thread and of every batch.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "check.h"
#include "fimo_fast/outer_project.h"
#include "sketches.h"
#include "tests.h"

namespace check {
namespace {

struct Shape {
  std::int64_t batch, tokens, n, m;
};

template <class T>
using Vector = std::vector<T>;

template <class T>
Vector<T> zeros(std::int64_t count) {
  return Vector<T>(static_cast<std::size_t>(count), T(0));
}

template <class T>
Vector<T> token(const Input& x, std::int64_t b, std::int64_t t) {
  Vector<T> values;
  for (std::int64_t i = 0; i < x.dim(); ++i) values.push_back(static_cast<T>(x.at(b, t, i)));
  return values;
}

/// sums += left right^T, flattened row by row.
template <class T>
void add_outer(const Vector<T>& left, const Vector<T>& right, Vector<T>& sums) {
  auto sum = sums.begin();
  for (const T x : left) {
    for (const T y : right) *sum++ += x * y;
  }
}

template <class T>
Vector<T> apply(const SketchDefinition& definition, const fimo::Sketch& sketch, const Vector<T>& x, std::int64_t first = 0) {
  Vector<T> out = zeros<T>(sketch.sketch_dim);
  definition.add(sketch, first, x, out.data());
  return out;
}

const SketchDefinition& definition_of(const char* name) {
  for (const SketchDefinition& definition : sketch_definitions()) {
    if (std::string(definition.name) == name) return definition;
  }
  expect(false, "a sketch of this name is defined");
  return sketch_definitions().front();
}

/// A way to sketch outer products, with its definition for one example.
struct Case {
  std::string name;
  fimo::OuterSketch sketch;
  std::vector<fimo::Sketch> then;
  std::int64_t sketch_dim;
  bool exact;  // for small integers
  std::optional<std::int64_t> offset{};
};

std::vector<Case> cases(Random& random, const Shape& s) {
  std::vector<Case> all;
  const std::int64_t k = random.pick<std::int64_t>({1, 5, 16, 33});
  const std::uint64_t seed = random.long_word();
  for (const SketchDefinition& definition : sketch_definitions()) {
    const fimo::Sketch sketch = definition.make(s.n * s.m, std::min(k, s.n * s.m), seed);
    all.push_back({definition.name, sketch, {}, sketch.sketch_dim, true});
    const std::int64_t offset = random.pick<std::int64_t>({0, 1, 70, 1000, std::int64_t{1} << 40});
    const fimo::Sketch longer = definition.make(offset + s.n * s.m + random.integer(0, 50), std::min(k, s.n * s.m), seed);
    all.push_back({std::string("slice for ") + definition.name, longer, {}, longer.sketch_dim, true, offset});
    const fimo::Sketch a = definition.make(s.n, std::min(k, s.n), seed);
    const fimo::Sketch delta = definition.make(s.m, std::min<std::int64_t>(7, s.m), seed + 1);
    all.push_back({std::string("factored ") + definition.name,
                   fimo::FactoredSketch{a, delta},
                   {},
                   a.sketch_dim * delta.sketch_dim,
                   false});
  }
  const std::int64_t power = random.pick<std::int64_t>({1, 2, 8, 64, 256});
  all.push_back({"tensorsketch", fimo::TensorSketch{s.n, s.m, power, seed}, {}, power, true});
  const fimo::Sketch second = definition_of("sjlt with 1 nonzero").make(power, 9, seed + 2);
  all.push_back({"tensorsketch, sjlt", fimo::TensorSketch{s.n, s.m, power, seed}, {second}, 9, true});
  const fimo::Sketch third = definition_of("srht").make(9, 4, seed + 3);
  all.push_back({"tensorsketch, sjlt, srht", fimo::TensorSketch{s.n, s.m, power, seed}, {second, third}, 4, true});
  return all;
}

const SketchDefinition& definition_of(const fimo::Sketch& sketch) {
  for (const SketchDefinition& definition : sketch_definitions()) {
    const fimo::Sketch same = definition.make(sketch.input_dim, sketch.sketch_dim, sketch.seed);
    if (same.kind == sketch.kind && same.nonzeros == sketch.nonzeros) return definition;
  }
  expect(false, "this sketch is defined");
  return sketch_definitions().front();
}

template <class T>
Vector<T> defined(const Case& c, const Input& a, const Input& delta, std::int64_t b) {
  Vector<T> result;
  if (const auto* vector = std::get_if<fimo::Sketch>(&c.sketch)) {
    Vector<T> gradient = zeros<T>(a.dim() * delta.dim());
    for (std::int64_t t = 0; t < a.tokens(); ++t) add_outer(token<T>(delta, b, t), token<T>(a, b, t), gradient);
    result = apply(definition_of(*vector), *vector, gradient, c.offset.value_or(0));
  } else if (const auto* factored = std::get_if<fimo::FactoredSketch>(&c.sketch)) {
    result = zeros<T>(c.sketch_dim);
    for (std::int64_t t = 0; t < a.tokens(); ++t) {
      add_outer(apply(definition_of(factored->delta), factored->delta, token<T>(delta, b, t)),
                apply(definition_of(factored->a), factored->a, token<T>(a, b, t)), result);
    }
  } else {
    const auto& tensor = std::get<fimo::TensorSketch>(c.sketch);
    const SketchDefinition& count_sketch = definition_of("sjlt with 1 nonzero");
    const fimo::Sketch of_a = count_sketch.make(tensor.a_dim, tensor.sketch_dim, tensor.seed);
    const fimo::Sketch of_delta =
        count_sketch.make(tensor.delta_dim, tensor.sketch_dim, tensor.seed ^ (std::uint64_t{1} << 63));
    result = zeros<T>(tensor.sketch_dim);
    for (std::int64_t t = 0; t < a.tokens(); ++t) {
      const Vector<T> x = apply(count_sketch, of_a, token<T>(a, b, t));
      const Vector<T> y = apply(count_sketch, of_delta, token<T>(delta, b, t));
      for (std::size_t i = 0; i < x.size(); ++i) {
        for (std::size_t j = 0; j < y.size(); ++j) result[i ^ j] += x[i] * y[j];
      }
    }
  }
  for (const fimo::Sketch& next : c.then) result = apply(definition_of(next), next, result);
  return result;
}

template <class T>
bool close(const Vector<T>& actual, const Vector<T>& expected, std::int64_t terms, bool exact) {
  double largest = 0;
  for (const T value : expected) largest = std::max(largest, std::fabs(static_cast<double>(value)));
  const double epsilon = sizeof(T) == 8 ? std::ldexp(1.0, -52) : std::ldexp(1.0, -23);
  const double tolerance = exact ? 0 : epsilon * (64 + 64 * std::sqrt(static_cast<double>(terms))) * std::max(largest, 1.0);
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!(std::fabs(static_cast<double>(actual[i]) - static_cast<double>(expected[i])) <= tolerance)) return false;
  }
  return true;
}

template <class T>
void check_case(Random& random, fimo::DType dtype, Values values, const Shape& s, const Case& c) {
  const std::int64_t batch_gap = random.integer(0, 1) * 3, token_gap = random.integer(0, 3);
  const Input a(random, dtype, values, s.batch, s.tokens, s.n, batch_gap, token_gap, random.integer(0, 3) == 0);
  const Input delta(random, dtype, values, s.batch, s.tokens, s.m, 5 * random.integer(0, 1), random.integer(0, 1));
  Vector<T> expected;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const Vector<T> row = defined<T>(c, a, delta, b);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  const std::int64_t lead = random.integer(0, 5), gap = random.integer(0, 5);
  const bool integers = values == Values::kIntegers;
  Vector<T> serial;
  on_every_isa([&](int threads) {
    begin_case("outer_project on ", fimo::current_isa(), ", ", threads, " threads, ", c.name, " to ", c.sketch_dim, ", ",
               fimo::dtype_name(dtype), " [", s.batch, ", ", s.tokens, "], n ", s.n, ", m ", s.m);
    Output<T> out(s.batch, c.sketch_dim, lead, gap);
    out.set(zeros<T>(s.batch * c.sketch_dim));
    fimo::outer_project(a.tensor(), delta.tensor(), c.sketch, c.then, c.offset, out.view(), threads);
    expect(out.canaries_alive(), "nothing written outside the output");
    const Vector<T> result = out.contents();
    expect(close(result, expected, s.tokens + s.n * s.m, integers && c.exact), "the definition on formed gradients");
    if (threads == 1) serial = result;
    expect(out.equals(serial), "threads do not change the bits");
    fimo::outer_project(a.tensor(), delta.tensor(), c.sketch, c.then, c.offset, out.view(), threads);
    Vector<T> twice = serial;
    for (T& value : twice) value *= 2;
    expect(close(out.contents(), twice, s.tokens + s.n * s.m, false), "the output is added into");
  });
}

void check_case_of(Random& random, fimo::DType dtype, Values values, const Shape& s, const Case& c) {
  if (dtype == fimo::DType::kFloat64) {
    check_case<double>(random, dtype, values, s, c);
  } else {
    check_case<float>(random, dtype, values, s, c);
  }
}

}  // namespace

void test_outer_project() {
  Random random(4);
  std::vector<Shape> shapes{
      {40, 1, 20, 9},   // one token
      {3, 300, 9, 7},   // sums in several parts
      {1, 600, 5, 4},   // an example shared by threads
      {70, 2, 6, 33},   // several groups
      {2, 1, 300, 150}  // several tiles of a gradient
  };
  for (const std::int64_t size : kSizes) {
    const auto small = [&] { return random.pick<std::int64_t>({1, 2, 3, 5}); };
    shapes.push_back({size, small(), small(), small()});
    shapes.push_back({small(), size, small(), small()});
    if (size == 0) continue;  // no sketch has an empty input
    shapes.push_back({small(), small(), size, small()});
    shapes.push_back({small(), small(), small(), size});
  }
  std::size_t turn = 0;
  for (const Shape& s : shapes) {
    for (const Case& c : cases(random, s)) {
      check_case_of(random, kDTypes[turn++ % kDTypes.size()], Values::kIntegers, s, c);
      check_case_of(random, kDTypes[turn++ % kDTypes.size()], Values::kReal, s, c);
      ++turn;  // so that each kind meets each type
    }
  }
}

}  // namespace check
