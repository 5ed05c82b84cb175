// SPDX-License-Identifier: MIT
// A YAML document as a plain tree in which each node knows where it came from. The only file pair that knows yaml-cpp.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace df {

inline constexpr const char* command_line = "command line";  // where an override comes from

struct YamlTree {
  enum class Kind { empty, scalar, list, map };
  Kind kind = Kind::empty;
  std::string scalar;
  std::vector<YamlTree> items;                            // of a list
  std::vector<std::pair<std::string, YamlTree>> entries;  // of a map, in the order of the file, keys distinct
  std::string where;                                      // "configs/video.yaml:12", or command_line

  const YamlTree* find(const std::string& key) const;
  YamlTree* find(const std::string& key);
  std::string describe() const;  // "'fast'", "a list", "a section", "nothing": for messages
};

// Throws df::Error "<name>:<line>: ..." for text that is not YAML, for duplicate keys and for keys that are not plain texts.
YamlTree parse_yaml(const std::string& text, const std::string& name);

// Sets "a.b=value", where the value is YAML itself. Sections that are not there are made, so that the reader can report unknown ones.
// Another `type` of a section drops the section's other keys: they belong to the type that was there.
void apply_override(YamlTree& root, const std::string& assignment);

// Every scalar and list of the tree: {"model.width", "32"}, {"model.multipliers", "[1, 2]"}.
std::vector<std::pair<std::string, std::string>> flatten(const YamlTree& root);

// Of `known`, the one that a typing error may have turned into `key`; empty if none is near.
std::string nearest(const std::string& key, const std::vector<std::string>& known);

// `text` such that YAML reads it back as the same text.
std::string quote_yaml(const std::string& text);

}  // namespace df
