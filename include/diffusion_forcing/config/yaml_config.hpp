// SPDX-License-Identifier: MIT
// Config structs from and to YAML. A struct declares its fields once, in visit(v) with v(key, field, meaning); the reader and the dumper
// are two such visitors. Fields may be bool, integers, double, text, enums with EnumNames, lists, structs with visit, and choices of a
// struct by its `type` (config/choice.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "diffusion_forcing/config/yaml_tree.hpp"
#include "diffusion_forcing/core/enum_names.hpp"

namespace df {

// Throw df::Error "<where>: <path>: expected an integer, got 'fast'".
[[noreturn]] void fail_value(const YamlTree& tree, const std::string& path, const std::string& expected);
[[noreturn]] void fail_choice(const YamlTree& tree, const std::string& path, const std::string& what,
                              const std::vector<std::string>& known);
void read_value(const YamlTree& tree, const std::string& path, bool& value);
void read_value(const YamlTree& tree, const std::string& path, int32_t& value);
void read_value(const YamlTree& tree, const std::string& path, int64_t& value);
void read_value(const YamlTree& tree, const std::string& path, uint64_t& value);
void read_value(const YamlTree& tree, const std::string& path, double& value);
void read_value(const YamlTree& tree, const std::string& path, std::string& value);

inline std::string value_text(bool value) { return value ? "true" : "false"; }
std::string value_text(int64_t value);
inline std::string value_text(int32_t value) { return value_text(static_cast<int64_t>(value)); }
std::string value_text(uint64_t value);
std::string value_text(double value);
inline std::string value_text(const std::string& value) { return quote_yaml(value); }

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class Role>
class Choice;
template <class T>
struct IsChoice : std::false_type {};
template <class Role>
struct IsChoice<Choice<Role>> : std::true_type {};

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

struct Types;  // config/types.hpp: the names that a Choice may have

class YamlReader {
 public:
  // types: needed where a field is a Choice.
  YamlReader(const YamlTree& map, std::string path, const Types* types) : map_(map), path_(std::move(path)), types_(types) {}
  template <class T>
  void operator()(const char* key, T& field, const char*) {
    known_.push_back(key);
    if (const YamlTree* value = map_.find(key)) read(*value, path_.empty() ? key : path_ + "." + key, field);
  }
  void check_unknown() const;  // throws df::Error for a key that was not asked for

  // The fields of a struct; typed: the key `type` is known beside them.
  template <class T>
  static void read_section(const YamlTree& tree, const std::string& path, T& field, const Types* types, bool typed = false) {
    if (tree.kind != YamlTree::Kind::map) fail_value(tree, path, "a section");
    YamlReader reader(tree, path, types);
    if (typed) reader.known_.push_back("type");
    field.visit(reader);
    reader.check_unknown();
  }

 private:
  template <class T>
  void read(const YamlTree& tree, const std::string& path, T& field) const {
    if constexpr (IsOptional<T>::value) {
      if (!field) field.emplace();
      read(tree, path, *field);
    } else if constexpr (IsChoice<T>::value) {
      if (!types_) fail_value(tree, path, "a reader that knows types");
      read_choice(tree, path, field, *types_);
    } else if constexpr (IsVector<T>::value) {
      if (tree.kind != YamlTree::Kind::list) fail_value(tree, path, "a list");
      field.assign(tree.items.size(), {});
      for (size_t i = 0; i < field.size(); ++i) read(tree.items[i], path + "[" + std::to_string(i) + "]", field[i]);
    } else if constexpr (std::is_enum_v<T>) {
      std::vector<std::string> names;
      for (const auto& [name, value] : EnumNames<T>::table) {
        if (tree.kind == YamlTree::Kind::scalar && tree.scalar == name) {
          field = value;
          return;
        }
        names.emplace_back(name);
      }
      fail_choice(tree, path, "value", names);
    } else if constexpr (std::is_class_v<T> && !std::is_same_v<T, std::string>) {
      read_section(tree, path, field, types_);
    } else {
      read_value(tree, path, field);
    }
  }

  const YamlTree& map_;
  std::string path_;
  const Types* types_;
  std::vector<std::string> known_;
};

class YamlDumper {
 public:
  template <class T>
  void operator()(const char* key, T& field, const char* meaning) {
    if constexpr (IsOptional<T>::value) {
      if (field) (*this)(key, *field, meaning);
    } else if constexpr (IsChoice<T>::value) {
      section(key, meaning);
      field.dump(*this);
      --depth_;
    } else if constexpr (std::is_class_v<T> && !IsVector<T>::value && !std::is_same_v<T, std::string>) {
      section(key, meaning);
      field.visit(*this);
      --depth_;
    } else {
      line(key, text(field), meaning);
    }
  }
  // The `type` of a struct and its fields.
  template <class T>
  void typed(T& value) {
    line("type", T::type, "");
    value.visit(*this);
  }
  const std::string& str() const { return out_; }

 private:
  template <class T>
  static std::string text(const T& value) {
    if constexpr (IsVector<T>::value) {
      std::string all;
      for (const auto& item : value) all += (all.empty() ? "" : ", ") + text(item);
      return "[" + all + "]";
    } else if constexpr (std::is_enum_v<T>) {
      return std::string(enum_name(value));
    } else {
      return value_text(value);
    }
  }
  void section(const std::string& key, const std::string& meaning);  // one deeper
  void line(const std::string& key, const std::string& value, const std::string& meaning);
  std::string out_;
  int depth_ = 0;
};

template <class T>
void read_config(const YamlTree& root, T& config, const Types* types = nullptr) {
  YamlReader reader(root, "", types);
  config.visit(reader);
  reader.check_unknown();
}

template <class T>
std::string dump_config(T config) {  // a copy: visit() is for readers too
  YamlDumper dumper;
  config.visit(dumper);
  return dumper.str();
}

}  // namespace df
