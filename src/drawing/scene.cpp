// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/scene.hpp"

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"

namespace df::drawing {

Area box(double x, double y, double width, double height, Paint paint, double opacity) {
  return {{{x, y}, {x + width, y}, {x + width, y + height}, {x, y + height}}, paint, opacity};
}

double words_width(const std::string& text, double size) {
  const auto letters = std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return 0.56 * size * static_cast<double>(letters);
}

void Scene::add(std::variant<Line, Area, Words> shape, std::string hover, int64_t together) {
  marks.push_back({std::move(shape), std::move(hover), together});
}

void Scene::place(const Scene& other, double x, double y) {
  int64_t taken = 0;
  for (const Mark& mark : marks) taken = std::max(taken, mark.together);
  const auto move = [&](Point& point) { point = {point.x + x, point.y + y}; };
  for (Mark mark : other.marks) {
    if (auto* line = std::get_if<Line>(&mark.shape)) std::for_each(line->points.begin(), line->points.end(), move);
    if (auto* area = std::get_if<Area>(&mark.shape)) std::for_each(area->corners.begin(), area->corners.end(), move);
    if (auto* words = std::get_if<Words>(&mark.shape)) move(words->at);
    if (mark.together != 0) mark.together += taken;
    marks.push_back(std::move(mark));
  }
}

Scene arrange(const std::vector<Scene>& scenes, int64_t columns) {
  Scene all;
  for (size_t first = 0; first < scenes.size(); first += static_cast<size_t>(columns)) {
    const size_t last = std::min(scenes.size(), first + static_cast<size_t>(columns));
    double x = 0.0, height = 0.0;
    for (size_t i = first; i < last; ++i) {
      all.place(scenes[i], x, all.height);
      x += scenes[i].width;
      height = std::max(height, scenes[i].height);
      all.description.title += (i > 0 ? ", " : "") + scenes[i].description.title;
    }
    all.width = std::max(all.width, x);
    all.height += height;
  }
  return all;
}

void write_picture(const std::filesystem::path& path, const Scene& scene) {
  if (path.extension() == ".svg")
    write_atomically(path, svg_file(scene));
  else if (path.extension() == ".png")
    write_png(path, paint(scene, 2.0));
  else
    throw Error(path.string() + ": unknown ending of a picture; expected .svg or .png");
}

}  // namespace df::drawing
