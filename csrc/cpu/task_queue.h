// SPDX-License-Identifier: Apache-2.0
/// \file
/// Tasks that wait for earlier ones, without a barrier between them.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "fimo_fast/parallel.h"

namespace fimo {

/// Calls body(task) for the tasks 0 ... count - 1, on at most num_threads threads. Threads take tasks in order, and call
/// ready(task) until it is true before they start one: it may wait for earlier tasks only, and one thread alone never waits.
/// Waiting is short where tasks are of similar length, so it yields instead of sleeping: waking a thread costs more than many a
/// task. body must not throw, or others would wait for ever.
template <class Ready, class Body>
void run_in_order(std::int64_t count, int num_threads, const Ready& ready, const Body& body) {
  std::atomic<std::int64_t> next{0};
  const int threads = count < num_threads ? static_cast<int>(count) : num_threads;
  parallel_for(threads, threads, [&](std::int64_t) {
    for (std::int64_t task = next.fetch_add(1); task < count; task = next.fetch_add(1)) {
      while (!ready(task)) std::this_thread::yield();
      body(task);
    }
  });
}

}  // namespace fimo
