// SPDX-License-Identifier: Apache-2.0
// The kernels for avx512. Its compiler flags are in cmake/FimoIsa.cmake.
#define FIMO_ISA avx512
#include "cpu/isa/simd_avx512.h"

// After the wrapper, on which its templates build.
#include "cpu/isa/isa_kernels.h"
