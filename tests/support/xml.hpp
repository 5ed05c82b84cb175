// SPDX-License-Identifier: MIT
// Just enough of XML to check pages and pictures: elements, quoted attributes, text, the five entities.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace df::test {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;   // directly in it
  size_t parent = 0;  // its place in the list; of the first element its own
};

class XmlReader {
 public:
  explicit XmlReader(const std::string& text) : text_(text) {}

  // All elements in the order of their start. Throws std::runtime_error where the text is not well-formed.
  std::vector<Element> read() {
    if (text_.rfind("<!DOCTYPE", 0) == 0) at_ = text_.find('>') + 1;
    while (at_ < text_.size()) text_[at_] == '<' ? tag() : content();
    if (!open_.empty()) fail("<" + elements_[open_.back()].name + "> is not closed");
    return elements_;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("not XML at byte " + std::to_string(at_) + ": " + what + ": " + text_.substr(at_ > 40 ? at_ - 40 : 0, 80));
  }
  std::string name() {
    const size_t start = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-' || text_[at_] == ':')) ++at_;
    if (at_ == start) fail("a name is missing");
    return text_.substr(start, at_ - start);
  }
  void expect(char c) {
    if (at_ >= text_.size() || text_[at_] != c) fail(std::string("expected ") + c);
    ++at_;
  }
  // Up to `end`, entities replaced.
  std::string value(char end) {
    static const std::map<std::string, char> entities = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"#39", '\''}};
    std::string out;
    for (; at_ < text_.size() && text_[at_] != end; ++at_) {
      const char c = text_[at_];
      if (c == '<') fail("< in a value");
      if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') fail("a control character");
      if (c != '&') {
        out += c;
        continue;
      }
      const size_t semicolon = text_.find(';', at_);
      const auto found = entities.find(text_.substr(at_ + 1, semicolon - at_ - 1));
      if (found == entities.end()) fail("an unknown entity");
      out += found->second;
      at_ = semicolon;
    }
    return out;
  }
  void content() {
    const std::string text = value('<');
    if (!open_.empty())
      elements_[open_.back()].text += text;
    else if (text.find_first_not_of(" \n") != std::string::npos)
      fail("text outside of the document");
  }
  void tag() {
    expect('<');
    if (text_[at_] == '/') {
      ++at_;
      const std::string closed = name();
      if (open_.empty() || elements_[open_.back()].name != closed) fail("</" + closed + "> closes nothing");
      open_.pop_back();
      return expect('>');
    }
    if (open_.empty() && !elements_.empty()) fail("a second document");
    Element element{name(), {}, "", open_.empty() ? 0 : open_.back()};
    while (true) {
      const size_t before = at_;
      while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
      if (at_ >= text_.size()) fail("a tag has no end");
      if (text_[at_] == '>' || text_[at_] == '/') break;
      if (at_ == before) fail("no space before an attribute");
      const std::string key = name();
      expect('=');
      expect('"');
      if (!element.attributes.emplace(key, value('"')).second) fail("twice the attribute " + key);
      expect('"');
    }
    elements_.push_back(element);
    open_.push_back(elements_.size() - 1);
    if (text_[at_] == '/') {
      ++at_;
      open_.pop_back();
    }
    expect('>');
  }

  const std::string& text_;
  size_t at_ = 0;
  std::vector<Element> elements_;
  std::vector<size_t> open_;
};

inline std::vector<Element> parse_xml(const std::string& text) { return XmlReader(text).read(); }

// Whether a page is well-formed, asks nothing of the network, leads to files beside it that exist and to ids that it has.
inline void check_page(const std::string& html, const std::filesystem::path& folder) {
  const auto elements = parse_xml(html);
  std::set<std::string> ids;
  for (const auto& element : elements)
    if (element.attributes.count("id") > 0) {
      EXPECT_TRUE(ids.insert(element.attributes.at("id")).second) << "twice the id " << element.attributes.at("id");
    }
  for (const auto& element : elements)
    for (const char* key : {"href", "src", "poster", "srcset", "data", "action", "xlink:href"}) {
      const auto found = element.attributes.find(key);
      if (found == element.attributes.end() || found->second == "data:,") continue;
      const std::string& target = found->second;
      if (target.front() == '#') {
        EXPECT_EQ(ids.count(target.substr(1)), 1U) << "<" << element.name << "> leads to " << target;
        continue;
      }
      EXPECT_TRUE(target.find(':') == std::string::npos && target.front() != '/' && std::filesystem::exists(folder / target))
          << "<" << element.name << "> needs " << target;
    }
  for (const char* request : {"http:", "https:", "url(", "@import", "fetch(", "import("})
    EXPECT_EQ(html.find(request), std::string::npos) << request;
}

}  // namespace df::test
