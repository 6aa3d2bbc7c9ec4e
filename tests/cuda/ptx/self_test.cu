// SPDX-License-Identifier: Apache-2.0
// The faulty kernels of the emulator and their healthy twins, for nvcc: it compiles those that the host code launches.
#include "cuda/device/gpu.cuh"

namespace emulator {

template <class... Parameters>
void launch(void (*)(Parameters...), dim3, dim3, std::size_t, Parameters...);

}  // namespace emulator

#include "emulator/self_test.cpp"
