// SPDX-License-Identifier: Apache-2.0
/// \file
/// The flat form of a sketch, see fimo_fast/_sketch_args.py: kinds divided by spaces, and four numbers for each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "fimo_fast/outer_project.h"
#include "fimo_fast/sketch.h"

namespace fimo::bindings {

inline SketchKind sketch_kind(const std::string& kind) {
  if (kind == "rademacher") return SketchKind::kRademacher;
  if (kind == "gaussian") return SketchKind::kGaussian;
  if (kind == "sjlt") return SketchKind::kSjlt;
  if (kind == "srht") return SketchKind::kSrht;
  if (kind == "mask") return SketchKind::kMask;
  throw std::invalid_argument("kind: expected rademacher, gaussian, sjlt, srht or mask, got '" + kind + "'");
}

/// Reads one sketch after the other.
class SketchArgs {
 public:
  SketchArgs(const std::string& kinds, const std::vector<std::int64_t>& numbers) : kinds_(kinds), numbers_(numbers) { next(); }

  bool done() const { return kind_.empty(); }

  OuterSketch outer() {
    if (kind_ == "factored") {
      next();
      const Sketch of_a = vector();
      return FactoredSketch{of_a, vector()};
    }
    if (kind_ == "tensorsketch") {
      next();
      const std::int64_t* number = four();
      return TensorSketch{number[0], number[1], number[2], static_cast<std::uint64_t>(number[3])};
    }
    return vector();
  }

  Sketch vector() {
    if (done()) throw std::invalid_argument("kinds: expected another sketch at the end of '" + kinds_ + "'");
    const SketchKind kind = sketch_kind(kind_);
    next();
    const std::int64_t* number = four();
    return {kind, number[0], number[1], static_cast<std::uint64_t>(number[2]), number[3]};
  }

  /// All sketches that are left.
  std::vector<Sketch> rest() {
    std::vector<Sketch> sketches;
    while (!done()) sketches.push_back(vector());
    return sketches;
  }

 private:
  void next() {
    const std::size_t end = std::min(kinds_.find(' ', at_), kinds_.size());
    kind_ = kinds_.substr(at_, end - at_);
    at_ = std::min(end + 1, kinds_.size());
  }
  const std::int64_t* four() {
    if (numbers_.size() - used_ < 4) throw std::invalid_argument("numbers: expected four for each sketch of '" + kinds_ + "'");
    used_ += 4;
    return numbers_.data() + used_ - 4;
  }

  const std::string& kinds_;
  std::string kind_;    // the next one; empty at the end
  std::size_t at_ = 0;  // of the one after it
  const std::vector<std::int64_t>& numbers_;
  std::size_t used_ = 0;
};

}  // namespace fimo::bindings
