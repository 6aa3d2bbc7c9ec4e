// SPDX-License-Identifier: Apache-2.0
// Also replaces the aligned operator new of the program, by which the library allocates its workspaces.
#include "guarded.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>

#if defined(__SANITIZE_ADDRESS__)
#define FIMO_CHECK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIMO_CHECK_ASAN 1
#endif
#endif
#if defined(FIMO_CHECK_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace check {
namespace {

struct Mapping {
  unsigned char* begin;
  std::size_t accessible;  // bytes; the guard page follows
};

std::size_t page_size() {
  static const std::size_t size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::mutex mutex;

std::unordered_map<void*, Mapping>& mappings() {
  static auto* const map = new std::unordered_map<void*, Mapping>;  // outlives every static object
  return *map;
}

}  // namespace

void* guarded_allocate(std::size_t bytes, std::size_t alignment) {
  const std::size_t page = page_size();
  const std::size_t used = (bytes + alignment - 1) / alignment * alignment;
  // At least one byte: two empty arrays have different addresses.
  const std::size_t accessible = (used + page) / page * page;
  void* const map = mmap(nullptr, accessible + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED || mprotect(static_cast<unsigned char*>(map) + accessible, page, PROT_NONE) != 0) {
    std::perror("guarded_allocate");
    std::abort();
  }
  unsigned char* const begin = static_cast<unsigned char*>(map);
  unsigned char* const data = begin + accessible - used;
  std::memset(begin, 0xFF, accessible);
  ASAN_POISON_MEMORY_REGION(begin, static_cast<std::size_t>(data - begin));
  ASAN_POISON_MEMORY_REGION(data + bytes, used - bytes);
  const std::lock_guard<std::mutex> lock(mutex);
  mappings()[data] = {begin, accessible};
  return data;
}

void guarded_free(void* data) {
  if (!data) return;
  Mapping mapping;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = mappings().find(data);
    if (found == mappings().end()) {
      std::fprintf(stderr, "guarded_free: %p was not allocated or is freed twice\n", data);
      std::abort();
    }
    mapping = found->second;
    mappings().erase(found);
  }
  ASAN_UNPOISON_MEMORY_REGION(mapping.begin, mapping.accessible);
  munmap(mapping.begin, mapping.accessible + page_size());
}

}  // namespace check

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return check::guarded_allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* data, std::align_val_t) noexcept { check::guarded_free(data); }
void operator delete(void* data, std::size_t, std::align_val_t) noexcept { check::guarded_free(data); }
