// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cuda/topk_lists.cuh"

namespace fimo::cuda {

FIMO_DEVICE float simple_to_float(const void* data, std::int64_t i, int dtype) {
  if (dtype == 0) return static_cast<const float*>(data)[i];
  if (dtype == 2) return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
  if (dtype == 3) return __half2float(static_cast<const __half*>(data)[i]);
  return static_cast<float>(static_cast<const std::int8_t*>(data)[i]);
}

__global__ void __launch_bounds__(256)
    topk_simple_kernel(const void* queries, std::int64_t qs, const void* features, std::int64_t fs, int dtype, std::int64_t d,
                       const float* query_scales, const float* feature_scales, TopkRound round, std::int64_t end) {
  const std::int64_t feature = round.first + static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x, query = blockIdx.y;
  if (feature >= end) return;
  float sum = 0;
  for (std::int64_t i = 0; i < d; ++i)
    sum += simple_to_float(queries, query * qs + i, dtype) * simple_to_float(features, feature * fs + i, dtype);
  if (query_scales) sum = static_cast<float>(sum * (static_cast<double>(query_scales[query]) * feature_scales[feature]));
  round.keep(query, feature, sum, round.threshold(query));
}

}  // namespace fimo::cuda
