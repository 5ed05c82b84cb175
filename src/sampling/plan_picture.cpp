// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/plan_picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>
#include <utility>

namespace df {

namespace {

using drawing::Anchor;
using drawing::Line;
using drawing::Paint;
using drawing::Scene;
using drawing::Words;

constexpr double words_size = 12.5, tick_size = 11.5, legend_width = 14.0;
constexpr size_t most_hovers = 6000;  // cells with words of their own: more would make the file heavy

const Paint text = drawing::role_paint(Paint::Role::text), quiet = drawing::role_paint(Paint::Role::quiet);

// Clean is dark blue, pure noise is yellow: the order can be told by brightness alone.
Paint level_paint(double share) {
  static constexpr double stops[5][3] = {{28, 31, 84}, {36, 96, 140}, {47, 158, 138}, {140, 200, 92}, {250, 226, 80}};
  const double at = std::clamp(share, 0.0, 1.0) * 4.0;
  const auto i = std::min(static_cast<int>(at), 3);
  std::array<uint8_t, 3> rgb{};
  for (size_t c = 0; c < 3; ++c) rgb[c] = static_cast<uint8_t>(std::lround(stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c])));
  return drawing::fixed_paint(rgb);
}

Paint pale(Paint paint) {
  for (auto& channel : paint.rgb) channel = static_cast<uint8_t>(channel * 2 / 5 + 200 * 3 / 5);
  return paint;
}

// What is read on a cell of this level.
Paint contrast(double share) { return share < 0.55 ? drawing::fixed_paint({255, 255, 255}) : drawing::fixed_paint({20, 24, 40}); }

const char* kind_words(CellKind kind) {
  switch (kind) {
    case CellKind::update:
      return "denoised";
    case CellKind::restep:
      return "first step taken again";
    case CellKind::resample:
      return "denoised and noised again";
    case CellKind::encode:
      return "latent only";
  }
  return "";
}

class PlanDrawer {
 public:
  PlanDrawer(const SchedulingMatrix& matrix, const Plan& plan, int64_t levels) : matrix_(matrix), plan_(plan), levels_(levels) {
    const auto rows = static_cast<double>(matrix.rows), tokens = static_cast<double>(matrix.tokens);
    cell_width_ = std::clamp(620.0 / tokens, 1.0, 34.0);
    cell_height_ = std::clamp(700.0 / rows, 1.0, 22.0);
    left_ = 14.0 + std::max(drawing::words_width(std::to_string(matrix.rows - 1), tick_size), drawing::words_width("row m", words_size));
    right_ = left_ + tokens * cell_width_;
    bottom_ = top_ + rows * cell_height_;
    scene_.width = std::max(right_ + 50.0 + drawing::words_width(std::to_string(levels) + " noise", 1.1 * tick_size), 380.0);
    scene_.height = bottom_ + 62.0;
  }

  Scene draw() {
    scene_.add(Words{"Noise level of each token, row by row", {4.0, 19.0}, 15.0, Anchor::start, true, text, ""});
    scene_.add(Words{
        fmt::format("{} rows, {} tokens, {} cells in {} batched steps", matrix_.rows, matrix_.tokens, plan_.cells(), plan_.steps.size()),
        {4.0, 37.0},
        words_size,
        Anchor::start,
        false,
        quiet,
        ""});
    levels();
    running();
    axes();
    legend();
    scene_.description = {
        "Scheduling matrix",
        fmt::format("Rows m from 0 to {} downwards, tokens t from 0 to {} to the right, noise levels from {} (noise) to 0 "
                    "(clean). {} cells run, in {} batched steps.",
                    matrix_.rows - 1, matrix_.tokens - 1, levels_, plan_.cells(), plan_.steps.size())};
    return std::move(scene_);
  }

 private:
  double x(int64_t t) const { return left_ + static_cast<double>(t) * cell_width_; }
  double y(int64_t m) const { return top_ + static_cast<double>(m) * cell_height_; }
  double share(int64_t level) const { return static_cast<double>(level) / static_cast<double>(levels_); }

  // From column `first` to before `end` of row m; a little larger, so that no seam is seen between neighbours: later boxes cover it.
  drawing::Area span(int64_t m, int64_t first, int64_t end, Paint paint) const {
    constexpr double over = 1.5;
    return drawing::box(x(first), y(m), x(end) - x(first) + (end < matrix_.tokens ? over : 0.0),
                        cell_height_ + (m + 1 < matrix_.rows ? over : 0.0), paint);
  }
  // Calls use(m, first, end) for each run of neighbours in a row that are alike.
  template <class Alike, class Use>
  void runs(Alike alike, Use use) const {
    for (int64_t m = 0; m < matrix_.rows; ++m)
      for (int64_t t = 0, end = 1; t < matrix_.tokens; t = end) {
        for (end = t + 1; end < matrix_.tokens && alike(m, t) == alike(m, end);) ++end;
        use(m, t, end);
      }
  }

  void levels() {
    std::vector<bool> runs_here(matrix_.level.size(), mark() != Marks::pale);
    for (const PlanStep& step : plan_.steps)
      for (const Cell& cell : step) runs_here[static_cast<size_t>(cell.row * matrix_.tokens + cell.token)] = true;
    const auto look = [&](int64_t m, int64_t t) {
      return std::pair(matrix_.at(m, t), static_cast<bool>(runs_here[static_cast<size_t>(m * matrix_.tokens + t)]));
    };
    runs(look, [&](int64_t m, int64_t t, int64_t end) {
      const auto [level, strong] = look(m, t);
      const std::string tokens = end == t + 1 ? fmt::format("token {}", t) : fmt::format("tokens {} to {}", t, end - 1);
      const Paint paint = level_paint(share(level));
      scene_.add(span(m, t, end, strong ? paint : pale(paint)), few_cells() ? fmt::format("row {}, {}: level {}", m, tokens, level) : "");
    });
  }
  bool few_cells() const { return static_cast<size_t>(plan_.cells()) <= most_hovers; }

  // How a cell that runs is told from one that does not: as much as there is room for.
  enum class Marks { numbers, dots, pale };
  double room() const {
    return std::min(cell_height_ - 4.0, (cell_width_ - 4.0) / (0.6 * static_cast<double>(std::to_string(plan_.steps.size()).size())));
  }
  Marks mark() const { return room() >= 8.0 ? Marks::numbers : std::min(cell_width_, cell_height_) >= 4.0 ? Marks::dots : Marks::pale; }

  // The cells of each batched step: a number where there is room, else a dot.
  void running() {
    for (size_t s = 0; s < plan_.steps.size(); ++s)
      for (const Cell& cell : plan_.steps[s]) {
        const double left = x(cell.token), top = y(cell.row), middle = left + 0.5 * cell_width_, size = std::min(room(), 11.0);
        const Paint ink = contrast(share(matrix_.at(cell.row, cell.token)));
        const auto together = static_cast<int64_t>(s) + 1;
        if (mark() == Marks::numbers)
          scene_.add(Words{std::to_string(s + 1), {middle, top + 0.5 * cell_height_ + 0.36 * size}, size, Anchor::middle, false, ink, ""},
                     "", together);
        else if (mark() == Marks::dots)
          scene_.add(Line{{{middle, top + 0.5 * cell_height_}}, ink, std::clamp(0.35 * std::min(cell_width_, cell_height_), 1.0, 4.0)}, "",
                     together);
        if (!few_cells()) continue;
        std::string words = fmt::format("row {}, token {}: {}, level {}", cell.row, cell.token, kind_words(cell.kind), cell.from);
        if (moves(cell.kind)) words += fmt::format(" to {}", cell.to);
        if (cell.shown != cell.from) words += fmt::format(", shown at {}", cell.shown);
        words += fmt::format("\nbatched step {} of {}, {} {}", s + 1, plan_.steps.size(), plan_.steps[s].size(),
                             plan_.steps[s].size() == 1 ? "cell" : "cells together");
        scene_.add(drawing::box(left, top, cell_width_, cell_height_, {}), words, together);
      }
  }
  // Every first, second, fifth, tenth, ... number, with at least `room` pixels each.
  static int64_t every(double cell, double room) {
    for (int64_t power = 1;; power *= 10)
      for (const int64_t factor : {1, 2, 5})
        if (static_cast<double>(factor * power) * cell >= room) return factor * power;
  }

  void axes() {
    const int64_t across = every(cell_width_, 26.0), down = every(cell_height_, 18.0);
    for (int64_t t = 0; t < matrix_.tokens; t += across)
      scene_.add(Words{std::to_string(t), {x(t) + 0.5 * cell_width_, bottom_ + 15.0}, tick_size, Anchor::middle, false, quiet, ""});
    for (int64_t m = 0; m < matrix_.rows; m += down)
      scene_.add(Words{std::to_string(m), {left_ - 6.0, y(m) + 0.5 * cell_height_ + 4.0}, tick_size, Anchor::end, false, quiet, ""});
    scene_.add(Words{"token t", {0.5 * (left_ + right_), bottom_ + 32.0}, words_size, Anchor::middle, false, quiet, ""});
    scene_.add(Words{"row m", {left_ - 6.0, top_ - 8.0}, words_size, Anchor::end, false, quiet, ""});
    constexpr const char* notes[] = {"cells with a number run, in the batched step of that number", "cells with a dot run",
                                     "pale cells do not run"};
    scene_.add(Words{plan_.steps.empty() ? "no cell runs" : notes[static_cast<size_t>(mark())],
                     {4.0, bottom_ + 52.0},
                     words_size,
                     Anchor::start,
                     false,
                     quiet,
                     ""});
  }

  // A bar of all levels, from noise above to clean below.
  void legend() {
    const double left = right_ + 22.0, height = std::clamp(bottom_ - top_, 60.0, 160.0);
    constexpr int64_t pieces = 32;
    for (int64_t i = 0; i < pieces; ++i)
      scene_.add(drawing::box(left, top_ + height * static_cast<double>(i) / pieces, legend_width, height / pieces + 0.3,
                              level_paint(1.0 - (static_cast<double>(i) + 0.5) / pieces)));
    scene_.add(Words{"level", {left, top_ - 8.0}, words_size, Anchor::start, false, quiet, ""});
    for (const auto& [where, level, words] : {std::tuple{0.0, levels_, "noise"}, std::tuple{1.0, int64_t{0}, "clean"}})
      scene_.add(Words{fmt::format("{} {}", level, words),
                       {left + legend_width + 5.0, top_ + where * height + (where > 0 ? 0.0 : 10.0)},
                       tick_size,
                       Anchor::start,
                       false,
                       quiet,
                       ""});
  }

  const SchedulingMatrix& matrix_;
  const Plan& plan_;
  const int64_t levels_;
  double cell_width_ = 0.0, cell_height_ = 0.0, left_ = 0.0, right_ = 0.0, top_ = 66.0, bottom_ = 0.0;
  Scene scene_;
};

}  // namespace

drawing::Scene draw_plan(const SchedulingMatrix& matrix, const Plan& plan, int64_t levels) {
  return PlanDrawer(matrix, plan, levels).draw();
}

drawing::Scene draw_plan(const RolloutConfig& config, int64_t levels, int64_t tokens) {
  const auto kind = parse_schedule(config.schedule);
  const bool chunks = kind == MatrixKind::full_sequence || kind == MatrixKind::trapezoid;
  const auto matrix =
      kind ? make_matrix(*kind, chunks ? std::min(config.horizon, tokens) : tokens, ladder(levels, config.steps), config.slope)
           : read_matrix(config.schedule);
  return draw_plan(matrix, compile(matrix, config.policy), levels);
}

}  // namespace df
