// SPDX-License-Identifier: Apache-2.0
/// \file
/// The sketches of docs/numerics.md, written down as plainly as they are defined there: their bits are the expected ones.
#pragma once

#include <cstdint>
#include <vector>

#include "fimo_fast/sketch.h"

namespace check {

/// out += S[:, first : first + x.size()] x, in the definition's order of additions.
template <class T>
using AddSketch = void (*)(const fimo::Sketch&, std::int64_t first, const std::vector<T>& x, T* out);

struct SketchDefinition {
  const char* name;
  fimo::Sketch (*make)(std::int64_t input_dim, std::int64_t sketch_dim, std::uint64_t seed);
  std::int64_t (*unit)(const fimo::Sketch&);  // slices cut at its multiples add up to the bits of the whole
  std::int64_t (*cost)(const fimo::Sketch&);  // of the definition: additions an input coordinate
  AddSketch<float> add_float;
  AddSketch<double> add_double;

  void add(const fimo::Sketch& sketch, std::int64_t first, const std::vector<float>& x, float* out) const {
    add_float(sketch, first, x, out);
  }
  void add(const fimo::Sketch& sketch, std::int64_t first, const std::vector<double>& x, double* out) const {
    add_double(sketch, first, x, out);
  }
};

/// One row for each kind, and for options that change the work: a new kind is a definition and a row here.
const std::vector<SketchDefinition>& sketch_definitions();

}  // namespace check
