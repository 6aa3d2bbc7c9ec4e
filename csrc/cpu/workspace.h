// SPDX-License-Identifier: Apache-2.0
/// \file
/// Scratch memory of a task, aligned to a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include "common/common.h"

namespace fimo {

/// Uninitialised memory, freed with the object.
class Workspace {
 public:
  explicit Workspace(std::int64_t bytes = 0)
      : data_(bytes > 0 ? ::operator new(static_cast<std::size_t>(bytes), std::align_val_t{64}) : nullptr) {}
  ~Workspace() {
    if (data_) ::operator delete(data_, std::align_val_t{64});
  }
  Workspace(Workspace&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Workspace& operator=(Workspace&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  void* get() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
};

}  // namespace fimo
