// SPDX-License-Identifier: Apache-2.0
/// \file
/// Fills the kernel table of one instruction set. Included once by each isa_<name>.cpp, after its SIMD wrapper and with
/// FIMO_ISA defined to its name. Those files are compiled with flags of their own, so nothing here may include the standard
/// library: its inline functions would be merged with those of the rest of the program.
#pragma once

#include "cpu/kernels/dense_kernel.h"
#include "cpu/kernels/dot_kernel.h"
#include "cpu/kernels/gram_kernel.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/mask_kernel.h"
#include "cpu/kernels/outer_mask_kernel.h"
#include "cpu/kernels/sjlt_kernel.h"
#include "cpu/kernels/srht_kernel.h"
#include "cpu/kernels/tensor_kernel.h"
#include "cpu/kernels/topk_kernel.h"

#define FIMO_STRINGIFY_(x) #x
#define FIMO_STRINGIFY(x) FIMO_STRINGIFY_(x)

namespace fimo::FIMO_ISA {

extern const Kernels kKernels;
const Kernels kKernels = {
    FIMO_STRINGIFY(FIMO_ISA),
    {rademacher<float>, rademacher<double>, rademacher<BFloat16>, rademacher<Float16>},
    {gaussian<float>, gaussian<double>, gaussian<BFloat16>, gaussian<Float16>},
    {mask<float>, mask<double>, mask<BFloat16>, mask<Float16>},
    {sjlt_entries<float>, sjlt_entries<double>, sjlt_entries<BFloat16>, sjlt_entries<Float16>},
    {sjlt<float>, sjlt<double>, sjlt<BFloat16>, sjlt<Float16>},
    {srht<float>, srht<double>, srht<BFloat16>, srht<Float16>},
    {tensor<float>, tensor<double>, tensor<BFloat16>, tensor<Float16>},
    {outer_mask<float>, outer_mask<double>, outer_mask<BFloat16>, outer_mask<Float16>},
    {pack<float>, pack<double>, pack<BFloat16>, pack<Float16>, pack<std::int8_t>},
    {gram<float>, gram<double>, gram<BFloat16>, gram<Float16>, gram<std::int8_t>},
    {dot_prepare<float>, dot_prepare<double>, dot_prepare<BFloat16>, dot_prepare<Float16>, dot_prepare<std::int8_t>},
    {dot<float>, dot<double>, dot<BFloat16>, dot<Float16>, dot<std::int8_t>},
    {sum_squares<float>, sum_squares<double>, sum_squares<BFloat16>, sum_squares<Float16>},
    scale,
    {sum_products<float>, sum_products<double>},
    {multiply<float>, multiply<double>},
    {count_sketch_columns<float>, count_sketch_columns<double>},
    {add<float>, add<double>},
    {topk<float>, topk<double>},
    {Simd<float>::kLanes, Simd<double>::kLanes, Simd<float>::kLanes, Simd<float>::kLanes, Simd<std::int32_t>::kLanes},
    {kPanel<float>, kPanel<double>, kPanel<float>, kPanel<float>, kPanel<std::int32_t>},
    {kDotGroup<float>, kDotGroup<double>, kDotGroup<BFloat16>, kDotGroup<Float16>, kDotGroup<std::int8_t>},
    {DotSimd<float>::kStep, DotSimd<double>::kStep, DotSimd<BFloat16>::kStep, DotSimd<Float16>::kStep,
     DotSimd<std::int8_t>::kStep},
    kInt8RowBias,
};

}  // namespace fimo::FIMO_ISA
