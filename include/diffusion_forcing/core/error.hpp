// SPDX-License-Identifier: MIT
// One exception for everything a user can cause. Programs catch it once, in main.
#pragma once

#include <stdexcept>
#include <string>

namespace df {

// Message names the place (file, key, tensor, argument), what was expected and what was got.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace df
