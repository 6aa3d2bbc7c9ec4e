// SPDX-License-Identifier: Apache-2.0
// rows_project: the bits of the sketches' definitions applied to gradients formed in plain loops, on every instruction set,
// with any number of threads; and indices that would leave the sketch's input are refused.
#include "fimo_fast/rows_project.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "arrays.h"
#include "check.h"
#include "sketches.h"
#include "tests.h"

namespace check {
namespace {

struct Shape {
  std::int64_t batch, tokens, vocabulary, dim, sketch_dim;
};

/// Indices in guarded memory, gaps between the examples.
class Indices {
 public:
  Indices(Random& random, std::int64_t batch, std::int64_t tokens, std::int64_t vocabulary, std::int64_t gap)
      : batch_(batch),
        tokens_(tokens),
        stride_(tokens + gap),
        memory_(static_cast<std::size_t>(batch && tokens ? (batch - 1) * stride_ + tokens : 0) * sizeof(std::int64_t)) {
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t t = 0; t < tokens; ++t) set(b, t, random.integer(0, vocabulary - 1));
    }
  }
  void set(std::int64_t b, std::int64_t t, std::int64_t row) { data()[b * stride_ + t] = row; }
  std::int64_t at(std::int64_t b, std::int64_t t) const { return data()[b * stride_ + t]; }
  fimo::ConstIndexView view() const { return {data(), batch_, tokens_, stride_}; }

 private:
  std::int64_t* data() const { return reinterpret_cast<std::int64_t*>(memory_.bytes()); }

  std::int64_t batch_, tokens_, stride_;
  Guarded memory_;
};

template <class T>
void check_case(Random& random, const SketchDefinition& definition, fimo::DType dtype, const Shape& s, std::int64_t offset) {
  const std::uint64_t seed = random.long_word();
  const std::int64_t spare = random.integer(0, 40);
  const std::int64_t size = s.vocabulary * s.dim;
  const fimo::Sketch sketch = definition.make(std::max<std::int64_t>(1, offset + size + spare), s.sketch_dim, seed);
  const std::int64_t token_gap = random.integer(0, 3);
  const Input delta(random, dtype, Values::kReal, s.batch, s.tokens, s.dim, random.integer(0, 5), token_gap);
  const Indices index(random, s.batch, s.tokens, s.vocabulary, random.integer(0, 2));
  std::vector<T> start, expected;
  for (std::int64_t i = 0; i < s.batch * s.sketch_dim; ++i) start.push_back(static_cast<T>(random.integer(1, 99)) / T(64));
  expected = start;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    std::vector<T> gradient(static_cast<std::size_t>(size), T(0));
    for (std::int64_t t = 0; t < s.tokens; ++t) {
      for (std::int64_t i = 0; i < s.dim; ++i) {
        gradient[static_cast<std::size_t>(index.at(b, t) * s.dim + i)] += static_cast<T>(delta.at(b, t, i));
      }
    }
    definition.add(sketch, offset, gradient, expected.data() + b * s.sketch_dim);
  }
  const std::int64_t lead = random.integer(0, 5), gap = random.integer(0, 5);
  on_every_isa([&](int threads) {
    begin_case("rows_project on ", fimo::current_isa(), ", ", threads, " threads, ", definition.name, ", ",
               fimo::dtype_name(dtype), " [", s.batch, ", ", s.tokens, ", ", s.dim, "] of ", s.vocabulary, " rows to ",
               s.sketch_dim, ", offset ", offset);
    Output<T> out(s.batch, s.sketch_dim, lead, gap);
    out.set(start);
    fimo::rows_project(index.view(), delta.tensor(), sketch, offset, out.view(), threads);
    expect(out.equals(expected), "bits of the definition");
  });
}

void check_case_of(Random& random, const SketchDefinition& definition, fimo::DType dtype, const Shape& s, std::int64_t offset) {
  if (dtype == fimo::DType::kFloat64) {
    check_case<double>(random, definition, dtype, s, offset);
  } else {
    check_case<float>(random, definition, dtype, s, offset);
  }
}

void check_refusals(Random& random) {
  const fimo::Sketch sketch{fimo::SketchKind::kSrht, 50, 8, 0, 0};
  const Input delta(random, fimo::DType::kFloat32, Values::kReal, 3, 4, 9, 0, 0);
  for (const std::int64_t bad : {std::int64_t{-1}, std::int64_t{5}, INT64_MAX, INT64_MIN}) {
    begin_case("rows_project with index ", bad);
    Indices index(random, 3, 4, 5, 0);
    index.set(2, 1, bad);
    const std::vector<float> start(24, 1.0f);
    Output<float> out(3, 8, 0, 0);
    out.set(start);
    bool refused = false;
    try {
      fimo::rows_project(index.view(), delta.tensor(), sketch, 5, out.view(), 1);
    } catch (const std::invalid_argument& error) {
      refused = std::string(error.what()).find("at example 2, token 1") != std::string::npos;
    }
    expect(refused, "the index is refused, and named");
    expect(out.equals(start), "nothing was written");
  }
}

}  // namespace

void test_rows_project() {
  Random random(5);
  const std::vector<std::int64_t> offsets{0, 0, 1, 130, (std::int64_t{1} << 32) - 20, std::int64_t{1} << 40};
  std::vector<Shape> shapes{
      {9, 30, 12, 40, 100},  // rows that repeat, several in a block
      {1, 60, 50, 20, 300},  // one example shared by threads
      {2, 3, 4, 700, 33},    // rows over several blocks
      {2, 2, 2, 5000, 17}    // and over several parts of an SJLT's nonzeros
  };
  for (const std::int64_t size : kSizes) {
    const auto small = [&] { return random.pick<std::int64_t>({1, 2, 3, 5}); };
    shapes.push_back({size, small(), small(), small(), 20});
    shapes.push_back({small(), size, 7, small(), 20});
    shapes.push_back({small(), small(), small(), size, 20});
    if (size > 0) shapes.push_back({small(), small(), small(), 11, size});
  }
  std::size_t turn = 0;
  for (const Shape& s : shapes) {
    for (const SketchDefinition& definition : sketch_definitions()) {
      check_case_of(random, definition, kDTypes[turn++ % kDTypes.size()], s, random.pick(offsets));
    }
    ++turn;  // so that each kind meets each type
  }
  for (const std::string& isa : fimo::available_isas()) {
    fimo::set_isa(isa);
    check_refusals(random);
  }
}

}  // namespace check
