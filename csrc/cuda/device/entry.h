// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the entry points of operations share.
#pragma once

#include "common/checks.h"
#include "cuda/device/context.h"

namespace fimo::cuda {

/// Refuses float64, and int8 where it is not among the types.
inline void check_dtype(const char* name, DType dtype, bool int8 = false) {
  require(dtype != DType::kFloat64 && (int8 || dtype != DType::kInt8), name, ": expected float32, bfloat16 or float16",
          int8 ? " or int8" : "", " on CUDA, got ", dtype_name(dtype));
}

}  // namespace fimo::cuda
