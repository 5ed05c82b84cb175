// SPDX-License-Identifier: MIT
// Names of enum values: one table an enum, used by configuration files, programs and messages alike.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "diffusion_forcing/core/error.hpp"

namespace df {

// Specialise with:  static constexpr std::pair<std::string_view, E> table[] = {{"name", E::value}, ...};
template <class E>
struct EnumNames;

// The name of a value in files and messages.
template <class E>
std::string_view enum_name(E value) {
  for (const auto& [name, v] : EnumNames<E>::table)
    if (v == value) return name;
  throw Error("enum value without a name");
}

// "eps, x0, v"
template <class E>
std::string enum_choices() {
  std::string all;
  for (const auto& [name, v] : EnumNames<E>::table) all += (all.empty() ? "" : ", ") + std::string(name);
  return all;
}

// Throws df::Error "<what>: unknown value 'foo'; expected one of: a, b, c".
template <class E>
E enum_value(std::string_view name, std::string_view what) {
  for (const auto& [n, v] : EnumNames<E>::table)
    if (n == name) return v;
  throw Error(std::string(what) + ": unknown value '" + std::string(name) + "'; expected one of: " + enum_choices<E>());
}

}  // namespace df
