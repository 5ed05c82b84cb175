// SPDX-License-Identifier: MIT
// Range checks of configurations, with messages of one form.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "diffusion_forcing/core/error.hpp"

namespace df {

// Checks the values of one section of a configuration. Each check throws df::Error "<section>.<key>: expected <expected>, got <got>" where
// the value is out of range. The section is what the user knows: "training" for the keys of a YAML file's section, or nothing where the
// keys are the fields of a struct that a program fills; a name that ends with ": " is written as it is.
class Require {
 public:
  explicit Require(std::string section) : section_(std::move(section)) {
    if (!section_.empty() && section_.back() != ' ') section_ += '.';
  }

  template <class T>
  void operator()(bool holds, std::string_view key, std::string_view expected, const T& got) const {
    if (!holds) throw Error(fmt::format("{}{}: expected {}, got {}", section_, key, expected, got));
  }
  void at_least(std::string_view key, int64_t value, int64_t least) const {
    if (value < least) (*this)(false, key, fmt::format("at least {}", least), value);
  }
  void number_at_least(std::string_view key, double value, double least) const {
    if (!std::isfinite(value) || value < least) (*this)(false, key, fmt::format("a number of at least {}", least), value);
  }
  void positive(std::string_view key, double value) const { (*this)(std::isfinite(value) && value > 0, key, "a positive number", value); }
  void finite(std::string_view key, double value) const { (*this)(std::isfinite(value), key, "a finite number", value); }
  // Including both ends.
  void between(std::string_view key, int64_t value, int64_t least, int64_t most) const {
    if (value < least || value > most) (*this)(false, key, fmt::format("{} to {}", least, most), value);
  }

 private:
  std::string section_;
};

}  // namespace df
