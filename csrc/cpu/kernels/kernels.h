// SPDX-License-Identifier: Apache-2.0
/// \file
/// The list of kernels, and the table of them that every instruction set fills in (cpu/isa/isa_kernels.h).
///
/// Kernels are serial, allocate nothing and check nothing: the drivers (csrc/cpu/*.cpp) cut the work into tasks, own the
/// workspaces and have validated the sizes. A kernel's header has its task, which drivers fill in, and behind FIMO_ISA its
/// template, which is compiled once for each instruction set.
#pragma once

#include <cstdint>

#include "cpu/kernels/dense_kernel.h"
#include "cpu/kernels/dot_kernel.h"
#include "cpu/kernels/gram_kernel.h"
#include "cpu/kernels/mask_kernel.h"
#include "cpu/kernels/outer_mask_kernel.h"
#include "cpu/kernels/sjlt_kernel.h"
#include "cpu/kernels/srht_kernel.h"
#include "cpu/kernels/tensor_kernel.h"
#include "cpu/kernels/topk_kernel.h"
#include "fimo_fast/tensor_view.h"

/// X(name of the template, its type, the types of elements it is compiled for).
#define FIMO_FOR_EACH_KERNEL(X)                                                                                               \
  X(rademacher, void(const DenseTask&), FLOATS)                                                                               \
  X(gaussian, void(const DenseTask&), FLOATS)                                                                                 \
  X(mask, void(const MaskTask&), FLOATS)                                                                                      \
  X(sjlt_entries, void(const SjltEntriesTask&), FLOATS)                                                                       \
  X(sjlt, void(const SjltTask&), FLOATS)                                                                                      \
  X(srht, void(const SrhtTask&), FLOATS)                                                                                      \
  X(tensor, void(const TensorTask&), FLOATS)                                                                                  \
  X(outer_mask, void(const OuterMaskTask&), FLOATS)                                                                           \
  X(pack, void(const PackTask&), FLOATS_AND_INT8)                                                                             \
  X(gram, void(const GramTask&), FLOATS_AND_INT8)                                                                             \
  X(dot_prepare, void(const DotPrepareTask&), FLOATS_AND_INT8)                                                                \
  X(dot, void(const DotTask&), FLOATS_AND_INT8)                                                                               \
  X(sum_squares, double(const void* x, std::int64_t count), FLOATS)                                                           \
  X(sum_products, double(const void* x, const void* y, std::int64_t stride, std::int64_t rows, std::int64_t cols),            \
    ACCUMULATORS)                                                                                                             \
  X(multiply, void(const void* x, const void* y, void* out, std::int64_t count), ACCUMULATORS)                                \
  X(count_sketch_columns,                                                                                                     \
    void(std::uint64_t seed, std::int64_t sketch_dim, std::int64_t columns, std::uint32_t* bucket, void* sign), ACCUMULATORS) \
  X(add, void(void* out, const void* x, std::int64_t count), ACCUMULATORS)                                                    \
  X(topk, void(const TopkTask&), ACCUMULATORS)

namespace fimo {

template <class Function>
using FunctionPointer = Function*;

struct Kernels {
  const char* name;

  std::int64_t lanes[kDTypeCount];  // of the accumulator type
  std::int64_t panel[kDTypeCount];  // columns of a packed panel

  // Packed and prepared columns consist of words: of the accumulator type, or for int8 of 32 bits.
  std::int64_t word_elements[kDTypeCount];  // elements in a word
  std::int64_t dot_step[kDTypeCount];       // elements in a step of prepared vectors

  // int8 only. Its products are of (row + int8_row_bias) and column: int8_row_bias times the column's sum comes off.
  std::int32_t int8_row_bias;
  void (*scale)(const ScaleTask&);

  // The kernels of the list, indexed by DType; null for types that they are not compiled for.
#define FIMO_ENTRY(kernel, Function, types) FunctionPointer<Function> kernel[kDTypeCount];
  FIMO_FOR_EACH_KERNEL(FIMO_ENTRY)
#undef FIMO_ENTRY
};

}  // namespace fimo
