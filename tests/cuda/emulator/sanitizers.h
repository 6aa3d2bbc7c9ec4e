// SPDX-License-Identifier: Apache-2.0
// What the emulator tells sanitizers. Only for the emulator's own sources: they are compiled without instrumentation, so that
// its bookkeeping, which one OS thread does for all fibers, is not taken for the kernel's memory accesses.
#pragma once

#if defined(FIMO_EMULATE_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#endif
#if defined(FIMO_EMULATE_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

#if defined(FIMO_EMULATE_TSAN)
constexpr bool kSeesRaces = true;

/// What this fiber did before `release` has happened before what others do after `acquire` of the same tag.
inline void release(void* tag) { __tsan_release(tag); }
inline void acquire(void* tag) { __tsan_acquire(tag); }

/// While it lives, accesses of this fiber (also those inside memcpy and malloc) are not the kernel's.
class IgnoreAccesses {
 public:
  IgnoreAccesses() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~IgnoreAccesses() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};
#else
constexpr bool kSeesRaces = false;

inline void release(void*) {}
inline void acquire(void*) {}

class IgnoreAccesses {
 public:
  IgnoreAccesses() {}  // not trivial: an object that only lives is not unused
  ~IgnoreAccesses() {}
};
#endif

}  // namespace emulator
