// SPDX-License-Identifier: MIT
// Structs with a visit() to JSON and back: the same declaration of fields that YAML files use.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"

namespace df {

template <class T>
inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<std::vector<T>> = true;

// Writes each field into an object; keys of the object that are no fields stay.
class JsonWriter {
 public:
  explicit JsonWriter(nlohmann::ordered_json& object) : object_(object) {}
  template <class T>
  void operator()(const char* key, const T& field, const char*) {
    object_[key] = field;
  }

 private:
  nlohmann::ordered_json& object_;
};

// Reads each field, strictly. Throws df::Error "<place>.<key>: expected an integer, got "nine"".
class JsonReader {
 public:
  // optional: keys that may be absent; their fields keep what they hold.
  JsonReader(const nlohmann::ordered_json& object, std::string place, std::set<std::string> optional = {})
      : object_(object), place_(std::move(place)), optional_(std::move(optional)) {
    if (!object.is_object()) throw Error(fmt::format("{}: expected an object, got {}", place_, object.dump()));
  }
  template <class T>
  void operator()(const char* key, T& field, const char*) {
    const auto found = object_.find(key);
    if (found == object_.end()) {
      if (optional_.count(key) == 0) throw Error(fmt::format("{}.{}: expected {}, got nothing", place_, key, expected<T>()));
      return;
    }
    if (!fits<T>(*found)) throw Error(fmt::format("{}.{}: expected {}, got {}", place_, key, expected<T>(), found->dump()));
    found->get_to(field);
  }

 private:
  template <class T>
  static std::string expected() {
    if constexpr (is_list<T>) return "a list, each entry " + expected<typename T::value_type>();
    if constexpr (std::is_same_v<T, bool>) return "true or false";
    if constexpr (std::is_integral_v<T>) return "an integer";
    if constexpr (std::is_floating_point_v<T>) return "a number";
    return "a text";
  }
  template <class T>
  static bool fits(const nlohmann::ordered_json& value) {
    if constexpr (is_list<T>) {
      if (!value.is_array()) return false;
      for (const auto& entry : value)
        if (!fits<typename T::value_type>(entry)) return false;
      return true;
    } else if constexpr (std::is_same_v<T, bool>) {
      return value.is_boolean();
    } else if constexpr (std::is_integral_v<T>) {
      return value.is_number_integer();
    } else if constexpr (std::is_floating_point_v<T>) {
      return value.is_number();
    } else {
      return value.is_string();
    }
  }
  const nlohmann::ordered_json& object_;
  std::string place_;
  std::set<std::string> optional_;
};

}  // namespace df
