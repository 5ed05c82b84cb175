// SPDX-License-Identifier: MIT
#include "diffusion_forcing/config/yaml_config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

constexpr size_t comment_column = 34;

// The whole text as a number, or nothing. A leading '+' is allowed.
template <class T>
std::optional<T> number(const std::string& text) {
  const char *begin = text.data(), *end = begin + text.size();
  if (begin != end && *begin == '+') ++begin;
  T value{};
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stop != end || begin == end) return std::nullopt;
  return value;
}

// An integer, also written as 1e5. Doubles beyond 2^53 no longer name one integer.
template <class T>
void read_integer(const YamlTree& tree, const std::string& path, T& value, const std::string& expected) {
  if (tree.kind != YamlTree::Kind::scalar) fail_value(tree, path, expected);
  if (const auto exact = number<T>(tree.scalar)) {
    value = *exact;
    return;
  }
  const auto real = number<double>(tree.scalar);
  if (!real || std::trunc(*real) != *real || std::abs(*real) > 9007199254740992.0 || (std::is_unsigned_v<T> && *real < 0))
    fail_value(tree, path, expected);
  value = static_cast<T>(*real);
}

}  // namespace

void fail_value(const YamlTree& tree, const std::string& path, const std::string& expected) {
  throw Error(fmt::format("{}: {}: expected {}, got {}", tree.where, path, expected, tree.describe()));
}

void fail_choice(const YamlTree& tree, const std::string& path, const std::string& what, const std::vector<std::string>& known) {
  const std::string choices = fmt::format("expected one of: {}", fmt::join(known, ", "));
  if (what.empty()) throw Error(fmt::format("{}: {}: missing; {}", tree.where, path, choices));
  const std::string near = nearest(tree.scalar, known);
  throw Error(fmt::format("{}: {}: unknown {} {}; {}{}", tree.where, path, what, tree.describe(), choices,
                          near.empty() ? "" : "; did you mean '" + near + "'?"));
}

void read_value(const YamlTree& tree, const std::string& path, bool& value) {
  if (tree.kind != YamlTree::Kind::scalar || (tree.scalar != "true" && tree.scalar != "false")) fail_value(tree, path, "true or false");
  value = tree.scalar == "true";
}

void read_value(const YamlTree& tree, const std::string& path, int32_t& value) {
  int64_t wide = 0;
  read_integer(tree, path, wide, "a 32-bit integer");
  value = static_cast<int32_t>(wide);
  if (value != wide) fail_value(tree, path, "a 32-bit integer");
}

void read_value(const YamlTree& tree, const std::string& path, int64_t& value) { read_integer(tree, path, value, "a 64-bit integer"); }

void read_value(const YamlTree& tree, const std::string& path, uint64_t& value) {
  read_integer(tree, path, value, "a 64-bit integer of 0 or more");
}

void read_value(const YamlTree& tree, const std::string& path, double& value) {
  if (tree.kind != YamlTree::Kind::scalar) fail_value(tree, path, "a number");
  const auto real = number<double>(tree.scalar);
  if (!real || !std::isfinite(*real)) fail_value(tree, path, "a finite number");
  value = *real;
}

void read_value(const YamlTree& tree, const std::string& path, std::string& value) {
  if (tree.kind != YamlTree::Kind::scalar) fail_value(tree, path, "a text");
  value = tree.scalar;
}

std::string value_text(int64_t value) { return fmt::format("{}", value); }
std::string value_text(uint64_t value) { return fmt::format("{}", value); }
std::string value_text(double value) {
  std::string text = fmt::format("{}", value);  // the shortest text that reads back as the same number
  return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
}

void YamlReader::check_unknown() const {
  for (const auto& [key, value] : map_.entries) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string near = nearest(key, known_);
    throw Error(fmt::format("{}: {}: unknown key; {}known keys: {}", value.where, path_.empty() ? key : path_ + "." + key,
                            near.empty() ? "" : "did you mean '" + near + "'? ", fmt::join(known_, ", ")));
  }
}

void YamlDumper::section(const std::string& key, const std::string& meaning) {
  if (depth_ == 0) out_ += "\n";
  line(key, "", meaning);
  ++depth_;
}

void YamlDumper::line(const std::string& key, const std::string& value, const std::string& meaning) {
  std::string text = std::string(static_cast<size_t>(2 * depth_), ' ') + key + ":" + (value.empty() ? "" : " " + value);
  if (!meaning.empty()) {
    text.resize(std::max(text.size() + 2, comment_column), ' ');
    text += "# " + meaning;
  }
  out_ += text + "\n";
}

}  // namespace df
