// SPDX-License-Identifier: Apache-2.0
// The kernels for avx512vnni. Its compiler flags are in cmake/FimoIsa.cmake.
#define FIMO_ISA avx512vnni
#include "cpu/isa/simd_avx512.h"

// After the wrapper, on which its templates build.
#include "cpu/isa/isa_kernels.h"
