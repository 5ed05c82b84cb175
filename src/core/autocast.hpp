// SPDX-License-Identifier: MIT
// Mixed precision of the calling thread for as long as the object lives.
#pragma once

#include <ATen/autocast_mode.h>
#include <c10/core/DeviceType.h>

namespace df {

class Autocast {
 public:
  // cache: weights are cast once instead of at every use. The cache is one of the process, so only one thread may use it.
  Autocast(at::DeviceType device, bool enabled, bool cache)
      : device_(device),
        was_enabled_(at::autocast::is_autocast_enabled(device)),
        was_cached_(at::autocast::is_autocast_cache_enabled()),
        was_dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::increment_nesting();
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_cache_enabled(cache);
    if (enabled) at::autocast::set_autocast_dtype(device, at::kBFloat16);
  }
  ~Autocast() {
    // Casts that outlive the guard would be those of stale weights.
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_dtype(device_, was_dtype_);
    at::autocast::set_autocast_cache_enabled(was_cached_);
    at::autocast::set_autocast_enabled(device_, was_enabled_);
  }
  // What operators of the device compute in now, where they would compute in `otherwise` without autocast.
  static at::ScalarType type(at::DeviceType device, at::ScalarType otherwise) {
    return at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device) : otherwise;
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::DeviceType device_;
  bool was_enabled_, was_cached_;
  at::ScalarType was_dtype_;
};

}  // namespace df
