// SPDX-License-Identifier: MIT
#include "diffusion_forcing/config/yaml_tree.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <numeric>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

std::string place(const std::string& name, const YAML::Mark& mark) {
  return mark.is_null() || mark.line < 0 ? name : fmt::format("{}:{}", name, mark.line + 1);
}

YamlTree convert(const YAML::Node& node, const std::string& name, const std::string& path, const std::string& fixed_place) {
  YamlTree tree;
  tree.where = fixed_place.empty() ? place(name, node.Mark()) : fixed_place;
  if (node.IsScalar()) {
    tree.kind = YamlTree::Kind::scalar;
    tree.scalar = node.Scalar();
  } else if (node.IsSequence()) {
    tree.kind = YamlTree::Kind::list;
    for (const auto& item : node) tree.items.push_back(convert(item, name, path, fixed_place));
  } else if (node.IsMap()) {
    tree.kind = YamlTree::Kind::map;
    for (const auto& entry : node) {
      const std::string where = fixed_place.empty() ? place(name, entry.first.Mark()) : fixed_place;
      if (!entry.first.IsScalar()) throw Error(where + ": expected a key, got a list or section");
      const std::string key = entry.first.Scalar(), full = path.empty() ? key : path + "." + key;
      if (tree.find(key)) throw Error(fmt::format("{}: {}: duplicate key, first at {}", where, full, tree.find(key)->where));
      tree.entries.emplace_back(key, convert(entry.second, name, full, fixed_place));
      if (tree.entries.back().second.kind == YamlTree::Kind::empty) tree.entries.back().second.where = where;
    }
  }
  return tree;
}

YamlTree load(const std::string& text, const std::string& name, const std::string& fixed_place) {
  try {
    return convert(YAML::Load(text), name, "", fixed_place);
  } catch (const YAML::Exception& error) {
    throw Error(fmt::format("{}: not valid YAML: {}", fixed_place.empty() ? place(name, error.mark) : fixed_place, error.msg));
  }
}

std::string one_line(const YamlTree& tree) {
  if (tree.kind != YamlTree::Kind::list) return tree.scalar;
  std::string all;
  for (const auto& item : tree.items) all += (all.empty() ? "" : ", ") + one_line(item);
  return "[" + all + "]";
}

void flatten_into(const YamlTree& tree, const std::string& path, std::vector<std::pair<std::string, std::string>>& flat) {
  if (tree.kind != YamlTree::Kind::map) {
    flat.emplace_back(path, one_line(tree));
    return;
  }
  for (const auto& [key, value] : tree.entries) flatten_into(value, path.empty() ? key : path + "." + key, flat);
}

// Levenshtein distance.
size_t edits(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row.back();
}

}  // namespace

const YamlTree* YamlTree::find(const std::string& key) const {
  for (const auto& [name, value] : entries)
    if (name == key) return &value;
  return nullptr;
}

YamlTree* YamlTree::find(const std::string& key) { return const_cast<YamlTree*>(std::as_const(*this).find(key)); }

std::string YamlTree::describe() const {
  switch (kind) {
    case Kind::empty:
      return "nothing";
    case Kind::scalar:
      return "'" + scalar + "'";
    case Kind::list:
      return "a list";
    case Kind::map:
      return "a section";
  }
  return "";
}

YamlTree parse_yaml(const std::string& text, const std::string& name) {
  YamlTree root = load(text, name, "");
  if (root.kind == YamlTree::Kind::empty) throw Error(name + ": expected sections of keys, got an empty file");
  if (root.kind != YamlTree::Kind::map) throw Error(fmt::format("{}: expected sections of keys, got {}", root.where, root.describe()));
  return root;
}

void apply_override(YamlTree& root, const std::string& assignment) {
  const std::string where = command_line;
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) throw Error(fmt::format("{}: expected key=value, got '{}'", where, assignment));
  const std::string path = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  YamlTree value = load(text, where + ": " + path, where);
  YamlTree* section = &root;
  for (size_t begin = 0;;) {
    const size_t end = path.find('.', begin);
    const std::string key = path.substr(begin, end == std::string::npos ? end : end - begin);
    if (key.empty()) throw Error(fmt::format("{}: expected key=value, got '{}'", where, assignment));
    if (section->kind != YamlTree::Kind::map)
      throw Error(fmt::format("{}: {}: {} is not a section", where, path, path.substr(0, begin - 1)));
    YamlTree* found = section->find(key);
    if (end == std::string::npos) {
      if (key == "type" && found && found->scalar != value.scalar) section->entries.clear(), found = nullptr;
      if (!found) found = &section->entries.emplace_back(key, YamlTree{}).second;
      *found = std::move(value);
      return;
    }
    if (!found) {
      found = &section->entries.emplace_back(key, YamlTree{}).second;
      found->kind = YamlTree::Kind::map;
      found->where = where;
    }
    section = found;
    begin = end + 1;
  }
}

std::vector<std::pair<std::string, std::string>> flatten(const YamlTree& root) {
  std::vector<std::pair<std::string, std::string>> flat;
  flatten_into(root, "", flat);
  return flat;
}

std::string nearest(const std::string& key, const std::vector<std::string>& known) {
  std::string best;
  size_t least = std::max<size_t>(1, key.size() / 3) + 1;
  for (const auto& candidate : known)
    if (const size_t distance = edits(key, candidate); distance < least) least = distance, best = candidate;
  return best;
}

std::string quote_yaml(const std::string& text) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '/' || c == '-'; };
  char* end = nullptr;
  std::strtod(text.c_str(), &end);
  const bool number = !text.empty() && *end == 0;
  const bool reserved = text == "null" || text == "Null" || text == "NULL" || text == "true" || text == "false";
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain) && text[0] != '-' && text[0] != '.' && !number && !reserved)
    return text;
  std::string quoted = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\')
      quoted += '\\', quoted += static_cast<char>(c);
    else if (c < 0x20)
      quoted += fmt::format("\\x{:02x}", c);
    else
      quoted += static_cast<char>(c);
  }
  return quoted + "\"";
}

}  // namespace df
