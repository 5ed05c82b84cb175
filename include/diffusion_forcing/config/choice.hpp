// SPDX-License-Identifier: MIT
// One of many config structs, as a value: which data set, which model, which planner. The set is open: a program that links the library
// adds types of its own to a TypeList, and files, overrides, dumps and messages know them as they know ours.
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "diffusion_forcing/config/yaml_config.hpp"
#include "diffusion_forcing/core/error.hpp"

namespace df {

// A struct that can be chosen by name: `static constexpr const char* type`, its fields in visit(), and the free functions that its role
// calls (config/roles.hpp), found by argument-dependent lookup.
template <class C>
concept TypedConfig = std::default_initializable<C> && requires {
  { C::type } -> std::convertible_to<const char*>;
};

// A role is an abstract class: what can be asked of whatever was chosen. Role::For<C> implements it for a config struct C, which it holds
// as `config`. Copies are independent. A Choice that was never assigned holds nothing; asking it for anything throws df::Error.
template <class Role>
class Choice {
 public:
  Choice() = default;
  template <TypedConfig C>
  Choice(C config) : held_(std::make_unique<Of<C>>(std::move(config))) {}  // NOLINT: implicit on purpose, as from any config struct
  Choice(const Choice& other) : held_(other.held_ ? other.held_->clone() : nullptr) {}
  Choice(Choice&&) noexcept = default;
  Choice& operator=(Choice other) noexcept {
    held_ = std::move(other.held_);
    return *this;
  }

  explicit operator bool() const { return held_ != nullptr; }
  std::string type() const { return held().type(); }
  // The config struct where it is a C, else null.
  template <TypedConfig C>
  C* get_if() {
    return held_ && held_->id() == typeid(C) ? static_cast<C*>(held_->config()) : nullptr;
  }
  template <TypedConfig C>
  const C* get_if() const {
    return const_cast<Choice*>(this)->get_if<C>();
  }
  // The config struct. Throws df::Error where it is another one.
  template <TypedConfig C>
  C& get() {
    if (C* config = get_if<C>()) return *config;
    throw Error(std::string(Role::section) + ".type: expected " + C::type + ", got " + (held_ ? type() : "nothing"));
  }
  template <TypedConfig C>
  const C& get() const {
    return const_cast<Choice*>(this)->get<C>();
  }
  const Role* operator->() const { return &held().role(); }

  // Fields from a section, `type` excepted; those that are absent keep their values. Unknown keys are errors.
  void read(const YamlTree& section, const std::string& path, const Types* types = nullptr) { held().read(section, path, types); }
  // `type` and the fields.
  void dump(YamlDumper& dumper) const { held().dump(dumper); }

 private:
  struct Held {
    virtual ~Held() = default;
    virtual std::unique_ptr<Held> clone() const = 0;
    virtual const char* type() const = 0;
    virtual const std::type_info& id() const = 0;
    virtual void* config() = 0;
    virtual const Role& role() const = 0;
    virtual void read(const YamlTree& section, const std::string& path, const Types* types) = 0;
    virtual void dump(YamlDumper& dumper) = 0;
  };
  template <class C>
  struct Of final : Held {
    explicit Of(C config) { value.config = std::move(config); }
    std::unique_ptr<Held> clone() const override { return std::make_unique<Of>(value.config); }
    const char* type() const override { return C::type; }
    const std::type_info& id() const override { return typeid(C); }
    void* config() override { return &value.config; }
    const Role& role() const override { return value; }
    void read(const YamlTree& section, const std::string& path, const Types* types) override {
      YamlReader::read_section(section, path, value.config, types, /*typed=*/true);
    }
    void dump(YamlDumper& dumper) override { dumper.typed(value.config); }
    typename Role::template For<C> value;
  };
  Held& held() const {
    if (!held_) throw Error(std::string(Role::section) + ".type: nothing was chosen");
    return *held_;
  }
  std::unique_ptr<Held> held_;
};

// Equal types and fields, as a file would show them.
template <class Role>
bool operator==(const Choice<Role>& a, const Choice<Role>& b) {
  const auto text = [](const Choice<Role>& choice) {
    YamlDumper dumper;
    if (choice) choice.dump(dumper);
    return dumper.str();
  };
  return text(a) == text(b);
}

// The types that a role may have, in the order in which messages list them.
template <class Role>
class TypeList {
 public:
  // Throws df::Error where a type of that name is in the list.
  template <TypedConfig C>
  void add() {
    if (find(C::type)) throw Error(std::string(Role::section) + ": two types are named '" + C::type + "'");
    defaults_.emplace_back(C{});
  }
  // With its default fields; null where there is none of that name.
  const Choice<Role>* find(const std::string& type) const {
    for (const auto& one : defaults_)
      if (one.type() == type) return &one;
    return nullptr;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& one : defaults_) all.push_back(one.type());
    return all;
  }
  // Throws df::Error naming place and key, listing the types known.
  Choice<Role> read(const YamlTree& section, const std::string& path, const Types* types = nullptr) const {
    if (section.kind != YamlTree::Kind::map) fail_value(section, path, "a section");
    const YamlTree* type = section.find("type");
    if (!type) fail_choice(section, path + ".type", "", names());
    const Choice<Role>* known = find(type->scalar);
    if (!known) fail_choice(*type, path + ".type", "type", names());
    Choice<Role> choice = *known;
    choice.read(section, path, types);
    return choice;
  }

 private:
  std::vector<Choice<Role>> defaults_;
};

}  // namespace df
