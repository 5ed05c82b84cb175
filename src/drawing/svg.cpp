// SPDX-License-Identifier: MIT
// Scenes as SVG. Each mark has its light shade as an attribute, for readers without style sheets, and a class that chooses by the reader's
// scheme.
#include <fmt/format.h>

#include <cmath>

#include "diffusion_forcing/drawing/scene.hpp"
#include "drawing/markup.hpp"
#include "drawing/style.hpp"

namespace df::drawing {

namespace {

// In hundredths of a pixel.
std::string number(double value) { return fmt::format("{:.6g}", std::round(value * 100.0) / 100.0 + 0.0); }

std::string path_of(const std::vector<Point>& points) {
  std::string path;
  for (const Point& p : points) path += fmt::format("{}{} {}", path.empty() ? "M" : "L", number(p.x), number(p.y));
  if (points.size() == 1) path += "h0";
  return path;
}

// " class="f-text" fill="#1f2328"": `what` is fill or stroke, and the class begins with its letter. `more` are other classes.
std::string painted(const char* what, const Paint& paint, const std::string& more = "") {
  if (paint.role == Paint::Role::none) return fmt::format(" class=\"unseen {}\" {}=\"transparent\"", more, what);
  const std::string name = style_name(paint);
  std::string classes = name.empty() ? "" : fmt::format("{}-{}", *what == 'f' ? "f" : "l", name);
  if (!more.empty()) classes += (classes.empty() ? "" : " ") + more;
  return (classes.empty() ? "" : fmt::format(" class=\"{}\"", classes)) + fmt::format(" {}=\"{}\"", what, hexadecimal(light_shade(paint)));
}

struct Writer {
  const std::string& hover;

  std::string closed(const char* name, const std::string& start, const std::string& content = "") const {
    const std::string title = hover.empty() ? "" : fmt::format("<title>{}</title>", escaped(hover));
    if (title.empty() && content.empty()) return start + "/>\n";
    return fmt::format("{}>{}{}</{}>\n", start, title, content, name);
  }
  std::string classes() const { return hover.empty() ? "" : "hover"; }

  std::string operator()(const Line& line) const {
    const std::string dashes = line.dashed ? fmt::format(" stroke-dasharray=\"{0} {0}\"", number(2.2 * line.width)) : "";
    return closed("path",
                  fmt::format("<path{} fill=\"none\" stroke-width=\"{}\" stroke-linecap=\"{}\" stroke-linejoin=\"round\"{} d=\"{}\"",
                              painted("stroke", line.paint, classes()), number(line.width), line.dashed ? "butt" : "round", dashes,
                              path_of(line.points)));
  }
  std::string operator()(const Area& area) const {
    const std::string opacity = area.opacity < 1.0 ? fmt::format(" fill-opacity=\"{}\"", number(area.opacity)) : "";
    return closed("path", fmt::format("<path{}{} d=\"{}Z\"", painted("fill", area.paint, classes()), opacity, path_of(area.corners)));
  }
  std::string operator()(const Words& words) const {
    constexpr const char* anchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
    const std::string text = closed(
        "text",
        fmt::format("<text{} x=\"{}\" y=\"{}\" font-size=\"{}\"{}{}", painted("fill", words.paint), number(words.at.x), number(words.at.y),
                    number(words.size), anchors[static_cast<size_t>(words.anchor)], words.bold ? " font-weight=\"600\"" : ""),
        escaped(words.text));
    return words.link.empty() ? text : fmt::format("<a href=\"{}\">{}</a>\n", escaped(words.link), text.substr(0, text.size() - 1));
  }
};

std::string marks_of(const Scene& scene) {
  std::string text;
  int64_t open = 0;
  for (const Mark& mark : scene.marks) {
    if (mark.together != open) {
      if (open != 0) text += "</g>\n";
      if (mark.together != 0) text += "<g class=\"together\">\n";
      open = mark.together;
    }
    text += std::visit(Writer{mark.hover}, mark.shape);
  }
  return text + (open != 0 ? "</g>\n" : "");
}

std::string element(const Scene& scene, const std::string& attributes, const std::string& styles) {
  return fmt::format(
      "<svg {}role=\"img\" viewBox=\"0 0 {} {}\" font-family=\"system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif\">"
      "<title>{}</title><desc>{}</desc>\n{}{}</svg>\n",
      attributes, number(scene.width), number(scene.height), escaped(scene.description.title), escaped(scene.description.details), styles,
      marks_of(scene));
}

}  // namespace

std::string inline_svg(const Scene& scene) { return element(scene, "", ""); }

std::string svg_file(const Scene& scene) {
  const std::string paper = fmt::format("<path{} d=\"M0 0H{}V{}H0Z\"/>\n", painted("fill", role_paint(Paint::Role::paper)),
                                        number(scene.width), number(scene.height));
  return element(scene,
                 fmt::format("xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" ", number(scene.width), number(scene.height)),
                 fmt::format("<style>{}</style>\n{}", colour_styles(), paper));
}

}  // namespace df::drawing
