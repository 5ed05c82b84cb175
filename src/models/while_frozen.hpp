// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <mutex>
#include <utility>
#include <vector>

namespace df::layers {

// What follows from parameters alone, made once for as long as they stay as they are; with gradients anew each time. Any thread may ask.
// A change shows in a tensor's version, so whoever writes behind autograd's back, as recorded steps do, must bump it.
template <class T>
class WhileFrozen {
 public:
  // make() -> T, the same for the same parameters and `type`.
  template <class Make>
  T of(const std::vector<at::Tensor>& parameters, at::ScalarType type, Make&& make) {
    if (c10::GradMode::is_enabled()) return make();
    const std::lock_guard lock(mutex_);
    if (!made_for(parameters, type)) {
      value_ = make();
      type_ = type;
      seen_.clear();
      for (const at::Tensor& parameter : parameters) seen_.push_back({parameter.detach(), parameter._version()});
    }
    return value_;
  }

 private:
  struct Seen {
    at::Tensor storage;  // kept alive, so that no other parameter can come to lie there
    int64_t version;
  };
  bool made_for(const std::vector<at::Tensor>& parameters, at::ScalarType type) const {
    if (type != type_ || parameters.size() != seen_.size()) return false;
    for (size_t i = 0; i < seen_.size(); ++i)
      if (!parameters[i].is_alias_of(seen_[i].storage) || parameters[i]._version() != seen_[i].version) return false;
    return true;
  }

  std::mutex mutex_;
  std::vector<Seen> seen_;
  at::ScalarType type_ = at::ScalarType::Undefined;
  T value_;
};

}  // namespace df::layers
