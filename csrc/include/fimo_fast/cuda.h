// SPDX-License-Identifier: Apache-2.0
/// \file
/// The operations on CUDA devices. Present in builds with CUDA (BuildInfo::cuda).
///
/// Same names, same sketches, same meaning as on the CPU; all pointers of views are device memory. float32, bfloat16, float16,
/// and int8 where the CPU takes it; not float64. Every operation works on the caller's stream and returns at once: nothing is
/// allocated, nothing waits, so calls can be captured into CUDA graphs. What an operation needs beside its arguments is a
/// workspace, whose size `<name>_workspace` gives for the same arguments (pointers are not read); it may be reused by the next
/// operation on the same stream. Results have the same bits on every run, whatever the device's number of multiprocessors.
///
/// Throws std::invalid_argument when sizes or types disagree or the workspace is too small, std::runtime_error when CUDA fails.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fimo_fast/outer_project.h"
#include "fimo_fast/score.h"
#include "fimo_fast/sketch.h"
#include "fimo_fast/tensor_view.h"

namespace fimo::cuda {

struct Queue {
  int device = 0;
  void* stream = nullptr;  // a cudaStream_t
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
};

/// As fimo::project.
void project(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
             const Queue& queue);
std::int64_t project_workspace(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out);

/// As fimo::outer_project.
void outer_project(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                   const std::vector<Sketch>& then, std::optional<std::int64_t> offset, const MatrixView& out,
                   const Queue& queue);
std::int64_t outer_project_workspace(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                                     const std::vector<Sketch>& then, std::optional<std::int64_t> offset,
                                     const MatrixView& out);

/// As fimo::rows_project, but for an index out of range, which nobody can see without waiting for the device: it makes the
/// sketch of its example NaN.
void rows_project(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out, const Queue& queue);
std::int64_t rows_project_workspace(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch,
                                    std::int64_t offset, const MatrixView& out);

/// As fimo::outer_dot.
void outer_dot(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
               const ConstTensor3View& delta2, const MatrixView& out, const Queue& queue);
std::int64_t outer_dot_workspace(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
                                 const ConstTensor3View& delta2, const MatrixView& out);

/// As fimo::outer_norm2.
void outer_norm2(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out, const Queue& queue);
std::int64_t outer_norm2_workspace(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out);

/// As fimo::scores.
void scores(const ConstMatrixView& queries, const ConstMatrixView& features, const MatrixView& out, const Queue& queue,
            const RowScales& scales = {});
std::int64_t scores_workspace(const ConstMatrixView& queries, const ConstMatrixView& features, const MatrixView& out,
                              const RowScales& scales = {});

/// The k that topk takes.
constexpr std::int64_t kMaxTopk = 1024;

/// As fimo::topk, for k up to kMaxTopk.
void topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
          std::int64_t* indices, const Queue& queue, const RowScales& scales = {});
std::int64_t topk_workspace(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k,
                            const MatrixView& values, const RowScales& scales = {});

}  // namespace fimo::cuda
