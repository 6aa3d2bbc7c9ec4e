// SPDX-License-Identifier: Apache-2.0
// What kernels see instead of CUDA (csrc/cuda/device/gpu.cuh includes it with FIMO_EMULATE): they run on the CPU, thread by
// thread. docs/cuda_testing.md says what this finds and what it cannot.
#pragma once

#include "emulator/async_copy.h"
#include "emulator/atomics.h"
#include "emulator/cuda_headers.h"
#include "emulator/device.h"
#include "emulator/launches.h"
#include "emulator/scheduler.h"
#include "emulator/warp.h"
