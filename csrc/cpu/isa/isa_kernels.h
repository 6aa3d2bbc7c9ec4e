// SPDX-License-Identifier: Apache-2.0
/// \file
/// Fills the kernel table of one instruction set. Included once by each isa_<name>.cpp, after its SIMD wrapper and with
/// FIMO_ISA defined to its name. Those files are compiled with flags of their own, so nothing here may include the standard
/// library: its inline functions would be merged with those of the rest of the program.
#pragma once

#include "cpu/kernels/kernels.h"

#define FIMO_STRINGIFY_(x) #x
#define FIMO_STRINGIFY(x) FIMO_STRINGIFY_(x)

// The types of elements a kernel is compiled for, in the order of DType.
#define FIMO_FLOATS(kernel) kernel<float>, kernel<double>, kernel<BFloat16>, kernel<Float16>
#define FIMO_FLOATS_AND_INT8(kernel) FIMO_FLOATS(kernel), kernel<std::int8_t>
#define FIMO_ACCUMULATORS(kernel) kernel<float>, kernel<double>

namespace fimo::FIMO_ISA {

extern const Kernels kKernels;
const Kernels kKernels = {
    FIMO_STRINGIFY(FIMO_ISA),
    {Simd<float>::kLanes, Simd<double>::kLanes, Simd<float>::kLanes, Simd<float>::kLanes, Simd<std::int32_t>::kLanes},
    {kPanel<float>, kPanel<double>, kPanel<float>, kPanel<float>, kPanel<std::int32_t>},
    {FIMO_FLOATS_AND_INT8(kDotGroup)},
    {FIMO_FLOATS_AND_INT8(kDotStep)},
    kInt8RowBias,
    scale,
#define FIMO_ENTRY(kernel, Function, types) {FIMO_##types(kernel)},
    FIMO_FOR_EACH_KERNEL(FIMO_ENTRY)
#undef FIMO_ENTRY
};

}  // namespace fimo::FIMO_ISA
