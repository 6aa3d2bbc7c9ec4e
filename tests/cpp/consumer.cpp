// SPDX-License-Identifier: Apache-2.0
// Calls each primitive of the installed library and compares with numbers worked out by hand. Exit status 0 means all hold.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <vector>

#include "fimo_fast/build_info.h"
#include "fimo_fast/outer.h"
#include "fimo_fast/parallel.h"
#include "fimo_fast/random.h"
#include "fimo_fast/score.h"
#include "fimo_fast/sketch.h"

namespace {

int failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("failed on %s: %s\n", fimo::current_isa().c_str(), what);
  ++failures;
}

void check_project() {
  // A unit vector picks a column of S; for Rademacher its signs are the Philox bits of the coordinate.
  const fimo::Sketch sketch{fimo::SketchKind::kRademacher, 1000, 64, 42, 0};
  std::vector<float> x(1000, 0.0f), out(64, 0.0f);
  x[700] = 1.0f;
  fimo::project({x.data(), fimo::DType::kFloat32, 1, 1000, 1000}, sketch, 0, {out.data(), fimo::DType::kFloat32, 1, 64, 64}, 2);
  const fimo::PhiloxBlock bits = fimo::philox(700, 0, fimo::kStreamRademacher, 42);
  for (int c = 0; c < 64; ++c) {
    const float sign = (bits.word[c / 32] >> (c % 32)) & 1 ? -1.0f : 1.0f;
    expect(out[c] == sign * 0.125f, "rademacher entry");
  }
  for (const fimo::SketchKind kind : {fimo::SketchKind::kSjlt, fimo::SketchKind::kSrht}) {
    std::vector<float> column(64, 0.0f);
    const fimo::Sketch other{kind, 1000, 64, 42, kind == fimo::SketchKind::kSjlt ? 4 : 0};
    fimo::project({x.data(), fimo::DType::kFloat32, 1, 1000, 1000}, other, 0, {column.data(), fimo::DType::kFloat32, 1, 64, 64},
                  1);
    double norm2 = 0;
    for (const float value : column) norm2 += static_cast<double>(value) * value;
    expect(norm2 == 1.0, "columns of sjlt and srht have norm one");
  }
  bool refused = false;
  try {
    fimo::project({x.data(), fimo::DType::kFloat32, 1, 1000, 1000}, sketch, 1, {out.data(), fimo::DType::kFloat32, 1, 64, 64},
                  1);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  expect(refused, "a slice beyond the input is refused");
}

void check_outer() {
  // One example of two tokens: G = [5; 6] [1 2] + [7; 8] [3 4] = [26 38; 30 44].
  const std::vector<float> a{1, 2, 3, 4}, delta{5, 6, 7, 8};
  const fimo::ConstTensor3View a_view{a.data(), fimo::DType::kFloat32, 1, 2, 2, 4, 2};
  const fimo::ConstTensor3View delta_view{delta.data(), fimo::DType::kFloat32, 1, 2, 2, 4, 2};
  float out = -1;
  const fimo::MatrixView view{&out, fimo::DType::kFloat32, 1, 1, 1};
  fimo::outer_norm2(a_view, delta_view, view, 2);
  expect(out == 26 * 26 + 38 * 38 + 30 * 30 + 44 * 44, "outer_norm2");
  // Against one token: G' = [1; 0] [1 1], so the product is 26 + 38.
  const std::vector<float> a2{1, 1}, delta2{1, 0};
  fimo::outer_dot(a_view, delta_view, {a2.data(), fimo::DType::kFloat32, 1, 1, 2, 2, 2},
                  {delta2.data(), fimo::DType::kFloat32, 1, 1, 2, 2, 2}, view, 2);
  expect(out == 64, "outer_dot");
}

void check_topk() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> query{1, 10}, features{3, 0, 0, 1, nan, 0, 2, 0.8};
  std::vector<double> values(3);
  std::vector<std::int64_t> indices(3);
  fimo::topk({query.data(), fimo::DType::kFloat64, 1, 2, 2}, {features.data(), fimo::DType::kFloat64, 4, 2, 2}, 3,
             {values.data(), fimo::DType::kFloat64, 1, 3, 3}, indices.data(), 2);
  expect(std::isnan(values[0]) && values[1] == 10 && values[2] == 10, "topk values");
  expect(indices[0] == 2 && indices[1] == 1 && indices[2] == 3, "topk indices, the tie by index");
}

void check_parallel() {
  std::vector<int> done(100, 0);
  bool caught = false;
  try {
    fimo::parallel_for(100, 3, [&](std::int64_t task) {
      done[static_cast<std::size_t>(task)] = 1;
      if (task == 57) throw std::runtime_error("task 57");
    });
  } catch (const std::runtime_error&) {
    caught = true;
  }
  expect(caught && done[57] == 1, "parallel_for passes on an exception");
}

}  // namespace

int main() {
  for (const std::string& isa : fimo::available_isas()) {
    fimo::set_isa(isa);
    check_project();
    check_outer();
    check_topk();
  }
  check_parallel();
  expect(!fimo::build_info().version.empty(), "version");
  std::printf("fimo_fast %s: %d failures\n", fimo::build_info().version.c_str(), failures);
  return failures;
}
