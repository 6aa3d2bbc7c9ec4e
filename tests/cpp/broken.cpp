// SPDX-License-Identifier: Apache-2.0
// Shows that the sanitizers watch every kernel: `broken ISA OPERATION DEFECT` lies to the library about the memory it gets,
// which is what a kernel with a wrong bound does, and must not come back. Printing "survived" is the failure.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "fimo_fast/build_info.h"
#include "fimo_fast/outer.h"
#include "fimo_fast/outer_project.h"
#include "fimo_fast/rows_project.h"
#include "fimo_fast/score.h"
#include "fimo_fast/sketch.h"
#include "guarded.h"

namespace {

using fimo::DType;

constexpr std::int64_t kRows = 5, kDim = 37, kSketchDim = 19;

/// Memory of an array, the defect included.
struct Memory {
  std::unique_ptr<float[]> heap;
  std::unique_ptr<check::Guarded> guarded;

  Memory(std::int64_t elements, bool on_heap) {
    const std::size_t count = static_cast<std::size_t>(elements);
    if (on_heap) {
      heap.reset(new float[count]);
      std::fill_n(heap.get(), count, 1.0f);  // zeros may be skipped
    } else {
      guarded.reset(new check::Guarded(count * sizeof(float)));
    }
  }
  void* data() const { return heap ? static_cast<void*>(heap.get()) : guarded->bytes(); }
};

struct Arrays {
  const void* in;  // [kRows, kDim]
  void* out;
  std::int64_t row_stride;  // of `in`
};

void project(fimo::SketchKind kind, std::int64_t nonzeros, const Arrays& arrays, std::int64_t sketch_dim = kSketchDim) {
  fimo::project({arrays.in, DType::kFloat32, kRows, kDim, arrays.row_stride}, {kind, kDim, sketch_dim, 0, nonzeros}, 0,
                {arrays.out, DType::kFloat32, kRows, sketch_dim, sketch_dim}, 1);
}

/// Both factors are `in`.
void outer_project(const fimo::OuterSketch& sketch, std::int64_t sketch_dim, const Arrays& arrays) {
  const fimo::ConstTensor3View view{arrays.in, DType::kFloat32, kRows, 1, kDim, arrays.row_stride, kDim};
  fimo::outer_project(view, view, sketch, {}, {}, {arrays.out, DType::kFloat32, kRows, sketch_dim, sketch_dim}, 1);
}

fimo::Sketch sketch(fimo::SketchKind kind, std::int64_t input_dim, std::int64_t sketch_dim, std::int64_t nonzeros = 0) {
  return {kind, input_dim, sketch_dim, 0, nonzeros};
}

struct Operation {
  std::int64_t out_elements;
  std::function<void(const Arrays&)> run;
};

const std::map<std::string, Operation> kOperations{
    {"rademacher", {kRows * kSketchDim, [](const Arrays& x) { project(fimo::SketchKind::kRademacher, 0, x); }}},
    {"gaussian", {kRows * kSketchDim, [](const Arrays& x) { project(fimo::SketchKind::kGaussian, 0, x); }}},
    {"mask", {kRows * kDim, [](const Arrays& x) { project(fimo::SketchKind::kMask, 0, x, kDim); }}},  // keeps all
    {"sjlt", {kRows * kSketchDim, [](const Arrays& x) { project(fimo::SketchKind::kSjlt, 2, x); }}},
    {"srht", {kRows * kSketchDim, [](const Arrays& x) { project(fimo::SketchKind::kSrht, 0, x); }}},
    {"outer_project_mask",
     {kRows * kDim * kDim,
      [](const Arrays& x) { outer_project(sketch(fimo::SketchKind::kMask, kDim * kDim, kDim * kDim), kDim * kDim, x); }}},
    {"outer_project_formed",
     {kRows * kSketchDim,
      [](const Arrays& x) { outer_project(sketch(fimo::SketchKind::kSjlt, kDim * kDim, kSketchDim, 1), kSketchDim, x); }}},
    {"outer_project_factored",
     {kRows * 12,
      [](const Arrays& x) {
        const fimo::FactoredSketch factors{sketch(fimo::SketchKind::kSrht, kDim, 4),
                                           sketch(fimo::SketchKind::kSjlt, kDim, 3, 1)};
        outer_project(factors, 12, x);
      }}},
    {"tensorsketch", {kRows * 2, [](const Arrays& x) { outer_project(fimo::TensorSketch{kDim, kDim, 2, 0}, 2, x); }}},
    {"rows_project",
     {kRows * kSketchDim,
      [](const Arrays& x) {
        const std::int64_t index[kRows] = {3, 0, 4, 0, 1};
        fimo::rows_project({index, kRows, 1, 1}, {x.in, DType::kFloat32, kRows, 1, kDim, x.row_stride, kDim},
                           sketch(fimo::SketchKind::kSrht, 5 * kDim, kSketchDim), 0,
                           {x.out, DType::kFloat32, kRows, kSketchDim, kSketchDim}, 1);
      }}},
    {"outer_dot",
     {kRows * kRows,
      [](const Arrays& x) {
        const fimo::ConstTensor3View view{x.in, DType::kFloat32, kRows, 1, kDim, x.row_stride, kDim};
        fimo::outer_dot(view, view, view, view, {x.out, DType::kFloat32, kRows, kRows, kRows}, 1);
      }}},
    {"outer_norm2",
     {kRows,
      [](const Arrays& x) {
        const fimo::ConstTensor3View view{x.in, DType::kFloat32, kRows, 1, kDim, x.row_stride, kDim};
        fimo::outer_norm2(view, view, {x.out, DType::kFloat32, kRows, 1, 1}, 1);
      }}},
    {"scores",
     {kRows * kRows,
      [](const Arrays& x) {
        const fimo::ConstMatrixView view{x.in, DType::kFloat32, kRows, kDim, x.row_stride};
        fimo::scores(view, view, {x.out, DType::kFloat32, kRows, kRows, kRows}, 1);
      }}},
    {"topk",
     {kRows * kRows,
      [](const Arrays& x) {
        const fimo::ConstMatrixView view{x.in, DType::kFloat32, kRows, kDim, x.row_stride};
        std::int64_t indices[kRows * kRows];
        fimo::topk(view, view, kRows, {x.out, DType::kFloat32, kRows, kRows, kRows}, indices, 1);
      }}},
};

}  // namespace

int main(int argc, char** argv) {
  const std::string isa = argc == 4 ? argv[1] : "", name = argc == 4 ? argv[2] : "", defect = argc == 4 ? argv[3] : "";
  const auto operation = kOperations.find(name);
  if (operation == kOperations.end()) {
    std::fprintf(stderr, "usage: broken ISA OPERATION none|read|read_guarded|write|overflow\n");
    return 2;
  }
  fimo::set_isa(isa);
  const Memory in(kRows * kDim - (defect == "read" || defect == "read_guarded" ? 1 : 0), defect != "read_guarded");
  const Memory out(operation->second.out_elements - (defect == "write" ? 1 : 0), true);
  // So large that the address of the third row passes 2^63.
  const std::int64_t row_stride = defect == "overflow" ? INT64_MAX / 2 : kDim;
  operation->second.run({in.data(), out.data(), row_stride});
  std::printf("survived\n");
  return 0;
}
