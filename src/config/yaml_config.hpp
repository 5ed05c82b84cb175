// SPDX-License-Identifier: MIT
// Config structs from and to YAML. A struct declares its fields once, in visit(v) with v(key, field, meaning); the reader and the dumper
// are two such visitors. Fields may be bool, integers, double, text, enums with EnumNames, lists, structs with visit, and variants of
// structs that have a `type` name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "config/yaml_tree.hpp"
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
template <class T>
struct IsVariant : std::false_type {};
template <class... T>
struct IsVariant<std::variant<T...>> : std::true_type {};

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

class YamlReader {
 public:
  YamlReader(const YamlTree& map, std::string path) : map_(map), path_(std::move(path)) {}
  template <class T>
  void operator()(const char* key, T& field, const char*) {
    known_.push_back(key);
    if (const YamlTree* value = map_.find(key)) read(*value, path_.empty() ? key : path_ + "." + key, field);
  }
  void check_unknown() const;  // throws df::Error for a key that was not asked for

  template <class T>
  static void read(const YamlTree& tree, const std::string& path, T& field) {
    if constexpr (IsOptional<T>::value) {
      if (!field) field.emplace();
      read(tree, path, *field);
    } else if constexpr (IsVariant<T>::value) {
      read_variant(tree, path, field);
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
      read_struct(tree, path, field, false);
    } else {
      read_value(tree, path, field);
    }
  }

 private:
  template <class T>
  static void read_struct(const YamlTree& tree, const std::string& path, T& field, bool typed) {
    if (tree.kind != YamlTree::Kind::map) fail_value(tree, path, "a section");
    YamlReader reader(tree, path);
    if (typed) reader.known_.push_back("type");
    field.visit(reader);
    reader.check_unknown();
  }
  template <class... T>
  static void read_variant(const YamlTree& tree, const std::string& path, std::variant<T...>& field) {
    if (tree.kind != YamlTree::Kind::map) fail_value(tree, path, "a section");
    const YamlTree* type = tree.find("type");
    const std::vector<std::string> names = {T::type...};
    if (!type) fail_choice(tree, path + ".type", "", names);
    const auto try_type = [&]<class U>(U value) {
      if (type->scalar != U::type) return false;
      read_struct(tree, path, value, true);
      field = std::move(value);
      return true;
    };
    if (!(try_type(T{}) || ...)) fail_choice(*type, path + ".type", "type", names);
  }
  const YamlTree& map_;
  std::string path_;
  std::vector<std::string> known_;
};

class YamlDumper {
 public:
  template <class T>
  void operator()(const char* key, T& field, const char* meaning) {
    if constexpr (IsOptional<T>::value) {
      if (field) (*this)(key, *field, meaning);
    } else if constexpr (IsVariant<T>::value) {
      section(key, meaning);
      std::visit([&](auto& value) { dump_typed(value); }, field);
      --depth_;
    } else if constexpr (std::is_class_v<T> && !IsVector<T>::value && !std::is_same_v<T, std::string>) {
      section(key, meaning);
      field.visit(*this);
      --depth_;
    } else {
      line(key, text(field), meaning);
    }
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
  template <class T>
  void dump_typed(T& value) {
    line("type", T::type, "");
    value.visit(*this);
  }
  void section(const std::string& key, const std::string& meaning);  // one deeper
  void line(const std::string& key, const std::string& value, const std::string& meaning);
  std::string out_;
  int depth_ = 0;
};

template <class T>
void read_config(const YamlTree& root, T& config) {
  YamlReader reader(root, "");
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
