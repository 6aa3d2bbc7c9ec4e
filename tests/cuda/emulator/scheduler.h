// SPDX-License-Identifier: Apache-2.0
// The CUDA execution model on one OS thread: a fiber for each CUDA thread, blocks one after another.
//
// A fiber runs until it waits (at a barrier, in a collective of its warp) or ends. Which one runs next is the schedule. So
// between two barriers one thread may have done everything and another nothing: what a barrier that is missing would have
// ordered goes wrong in some schedule, and ThreadSanitizer sees it in any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "emulator/cuda_headers.h"

namespace emulator {

/// What the CUDA built-in variables of a thread say.
struct Cursor {
  uint3 tid, bid;         // threadIdx, blockIdx
  dim3 bdim, gdim;        // blockDim, gridDim
  unsigned lin, lane;     // the thread's number in its block, and in its warp
  unsigned char* shared;  // the dynamic shared memory of its block
  std::size_t shared_bytes;
};

/// That of the fiber that runs.
extern Cursor* current;

enum class Schedule {
  fifo,    // the first thread as far as it can, then the next; blocks in order
  lifo,    // the last thread first, and the last block
  random,  // any thread that can run, after each wait; blocks in any order
};

/// Set from the environment at the first launch: FIMO_EMULATOR_SCHEDULE=fifo|lifo|random:SEED,
/// FIMO_EMULATOR_SHARED_LIMIT=BYTES.
struct Options {
  Schedule schedule = Schedule::fifo;
  std::uint64_t seed = 1;
  std::size_t shared_limit = 163 * 1024;  // a block's on sm_80, the least of the architectures that kernels are compiled for
};
extern Options options;

/// A kernel did what the CUDA execution model forbids.
struct Error : std::runtime_error {
  using runtime_error::runtime_error;
};

/// Throws Error, with the thread that runs.
[[noreturn]] void fail(const std::string& message);

/// Runs body(context) once for every thread of the grid.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, void (*body)(void*), void* context);

/// Waits until `count` threads of the block wait at barrier `id`; 0: all that have not ended.
void barrier(unsigned id, unsigned count, const char* file = nullptr, int line = 0);

enum class Reduction { count, all, any };

/// A barrier of all threads, and what their predicates make.
unsigned barrier_reduce(bool predicate, Reduction reduction, const char* file, int line);

/// Of all lanes: their arguments (null if not in `live`), and which lanes have not ended.
using Collective = void (*)(void* const arguments[32], unsigned live);

/// Waits for the lanes of `mask`; the last one to come runs collective(arguments of all, live lanes). It orders memory only if
/// `orders_memory`: of CUDA's collectives, __syncwarp alone does.
void warp_collective(unsigned mask, const char* name, void* arguments, Collective collective, bool orders_memory = false);

/// The lanes of this warp that have ended or never were.
unsigned exited_lanes();

/// __threadfence, and the atomics that publish what came before one and see what others published. In between lies the
/// happens-before edge of "the last block adds up".
void fence();
void before_atomic(const void* address);

}  // namespace emulator
