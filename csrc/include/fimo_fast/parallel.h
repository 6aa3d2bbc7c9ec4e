// SPDX-License-Identifier: Apache-2.0
/// \file
/// The only user of OpenMP.
///
/// The number of threads is an argument, never a global setting: the caller's framework decides it, and its own pool (the same
/// libgomp in one process) is left as it was. Without OpenMP the loop runs serially; results never depend on the difference.
#pragma once

#include <cstdint>
#include <exception>

namespace fimo {

/// At most num_threads, and no more than have a few microseconds of work each: waking a thread costs about as much.
/// `operations` counts anything that runs at about one a nanosecond.
inline int useful_threads(double operations, int num_threads) {
  constexpr double kOperationsEach = 16384;
  if (operations >= kOperationsEach * num_threads) return num_threads;
  return operations < 2 * kOperationsEach ? 1 : static_cast<int>(operations / kOperationsEach);
}

/// Calls body(task) for every task in [0, tasks), on at most num_threads threads. Tasks are handed out one at a time, so a body
/// must write only what belongs to its task. The first exception of a body is rethrown after all threads have joined.
template <class Body>
void parallel_for(std::int64_t tasks, int num_threads, const Body& body) {
  if (num_threads <= 1 || tasks <= 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task);
    return;
  }
  const int threads = static_cast<int>(tasks < num_threads ? tasks : num_threads);
  std::exception_ptr error;  // an exception must not leave an OpenMP region
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (std::int64_t task = 0; task < tasks; ++task) {
    try {
      body(task);
    } catch (...) {
#pragma omp critical(fimo_parallel_for_error)
      if (!error) error = std::current_exception();
    }
  }
  (void)threads;  // unused where the compiler has no OpenMP
  if (error) std::rethrow_exception(error);
}

}  // namespace fimo
