// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "diffusion_forcing/core/error.hpp"

namespace df {

// The one of `all` whose `name` is `wanted`. Throws df::Error "unknown <what> 'x'; expected one of: a, b, c".
template <class T>
const T& find_named(const std::vector<T>& all, std::string T::*name, std::string_view wanted, std::string_view what) {
  std::string known;
  for (const T& one : all) {
    if (one.*name == wanted) return one;
    known += (known.empty() ? "" : ", ") + one.*name;
  }
  throw Error(fmt::format("unknown {} '{}'; expected one of: {}", what, wanted, known));
}

}  // namespace df
