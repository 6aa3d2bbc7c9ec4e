// SPDX-License-Identifier: Apache-2.0
// project: the bits of the definition on every instruction set, with any number of threads, strides, cut of the batch and of
// the coordinates. All kernels agree with one sequential sum, so they agree with each other.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <map>

#include "arrays.h"
#include "check.h"
#include "sketches.h"
#include "tests.h"

namespace check {
namespace {

/// FNV-1a of all sketches of each instruction set: machines of another kind print the same.
std::map<std::string, std::uint64_t> checksums;

template <class T>
void add_to_checksum(const std::vector<T>& sketch) {
  std::uint64_t& hash = checksums.try_emplace(fimo::current_isa(), 0xCBF29CE484222325u).first->second;
  for (const T value : sketch) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    for (std::size_t b = 0; b < sizeof(T); ++b) hash = (hash ^ ((bits >> (8 * b)) & 0xFF)) * 0x100000001B3u;
  }
}

/// [rows, sketch_dim], starting from `out`.
template <class T>
std::vector<T> defined(const SketchDefinition& definition, const fimo::Sketch& sketch, std::int64_t offset, const Input& grads,
                       std::vector<T> out) {
  for (std::int64_t b = 0; b < grads.batch(); ++b) {
    std::vector<T> x;
    for (std::int64_t j = 0; j < grads.dim(); ++j) x.push_back(static_cast<T>(grads.at(b, j)));
    definition.add(sketch, offset, x, out.data() + b * sketch.sketch_dim);
  }
  return out;
}

template <class T>
void check_case(Random& random, const SketchDefinition& definition, fimo::DType dtype, std::int64_t batch, std::int64_t dim,
                std::int64_t sketch_dim, std::int64_t wanted_offset) {
  const std::int64_t offset = std::min(wanted_offset, fimo::kMaxInputDim - dim);
  const std::uint64_t seed = random.long_word();
  const fimo::Sketch sketch = definition.make(std::max<std::int64_t>(1, offset + dim), sketch_dim, seed);
  const Input grads(random, dtype, Values::kReal, batch, 1, dim, random.integer(0, 3));
  std::vector<T> start;
  for (std::int64_t i = 0; i < batch * sketch_dim; ++i) start.push_back(static_cast<T>(random.integer(-99, 99)) / T(64));
  const std::vector<T> expected = defined(definition, sketch, offset, grads, start);

  const std::int64_t lead = random.integer(0, 5), gap = random.integer(0, 5);
  const std::int64_t row = random.integer(0, batch);
  // The cut of the coordinates, in columns of the slice.
  const std::int64_t unit = definition.unit(sketch), cut = (offset + random.integer(0, dim)) / unit * unit;
  const std::int64_t col = std::max<std::int64_t>(0, cut - offset);
  const std::int64_t threads_of_pieces = random.integer(1, 3);
  on_every_isa([&](int threads) {
    begin_case("project on ", fimo::current_isa(), ", ", threads, " threads, ", definition.name, ", ", fimo::dtype_name(dtype),
               " [", batch, ", ", dim, "] to ", sketch_dim, ", offset ", offset, ", cut at row ", row, " and column ", col);
    Output<T> whole(batch, sketch_dim, lead, gap);
    whole.set(start);
    fimo::project(grads.matrix(), sketch, offset, whole.view(), threads);
    expect(whole.equals(expected), "bits of the definition");
    if (threads == 1) add_to_checksum(whole.contents());

    if (threads != threads_of_pieces) return;
    Output<T> pieces(batch, sketch_dim, lead, gap);
    pieces.set(start);
    for (const auto& [begin, end] : {std::pair{row, batch}, std::pair{std::int64_t{0}, row}}) {
      const fimo::MatrixView out = pieces.view_of_rows(begin, end);
      fimo::project(grads.rows_and_cols(begin, end, 0, col), sketch, offset, out, threads);
      fimo::project(grads.rows_and_cols(begin, end, col, dim), sketch, offset + col, out, threads);
    }
    expect(pieces.equals(expected), "bits of the definition, in four pieces");
  });
}

void check_case_of(Random& random, const SketchDefinition& definition, fimo::DType dtype, std::int64_t batch, std::int64_t dim,
                   std::int64_t sketch_dim, std::int64_t offset) {
  if (dtype == fimo::DType::kFloat64) {
    check_case<double>(random, definition, dtype, batch, dim, sketch_dim, offset);
  } else {
    check_case<float>(random, definition, dtype, batch, dim, sketch_dim, offset);
  }
}

}  // namespace

void test_project() {
  Random random(1);
  const std::vector<std::int64_t> batches{0, 1, 1, 2, 3, 5, 7, 8, 9, 15, 17, 33};
  // Around the borders of 32-bit coordinates and of 32-bit Philox counters (one for 128 coordinates, or for a quarter of one).
  const std::int64_t carry = std::int64_t{1} << 32;
  const std::vector<std::int64_t> offsets{
      0, 0, 1, 130, carry - 20, carry, 4 * carry - 60, 128 * carry - 5, fimo::kMaxInputDim - 100};
  for (const SketchDefinition& definition : sketch_definitions()) {
    std::size_t turn = 0;
    for (const std::int64_t dim : kSizes) {
      for (const std::int64_t sketch_dim : kSizes) {
        if (sketch_dim == 0) continue;
        const fimo::DType dtype = kDTypes[turn++ % kDTypes.size()];
        const std::int64_t batch = random.pick(batches);
        check_case_of(random, definition, dtype, batch, dim, sketch_dim, random.pick(offsets));
      }
    }
    // Beyond the tiles of the kernels, and enough work for several threads: batch, dim, sketch_dim.
    const std::int64_t larger[][3] = {{21, 300, 129},   {40, 700, 97},   {9, 1000, 300},    {17, 3000, 97}, {3, 5000, 33},
                                      {4, 4100, 1000},  {3, 2100, 2048}, {40, 1500, 300},   {1, 9000, 300}, {2, 20000, 8000},
                                      {3, 20000, 2000}, {19, 90, 40000}, {50, 10000, 9000}, {2, 70, 70000}};
    for (const auto& [batch, dim, sketch_dim] : larger) {
      const std::int64_t cost = definition.cost(definition.make(dim, sketch_dim, 0)) * dim + sketch_dim;
      if (batch * cost > 6'000'000) continue;  // seconds for the scalar kernels with sanitizers
      check_case_of(random, definition, kDTypes[turn++ % kDTypes.size()], batch, dim, sketch_dim, random.pick(offsets));
    }
  }
  for (const auto& [isa, checksum] : checksums) std::printf("%s: sketch bits %016" PRIx64 "\n", isa.c_str(), checksum);
}

}  // namespace check
