// SPDX-License-Identifier: MIT
// Shows a scheduling matrix and what sampling by it costs; checks a user's file.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app.hpp"
#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/drawing/scene.hpp"
#include "diffusion_forcing/sampling/plan.hpp"
#include "diffusion_forcing/sampling/plan_picture.hpp"
#include "diffusion_forcing/sampling/scheduling_matrix.hpp"

namespace {

namespace fs = std::filesystem;

constexpr const char* examples = R"(
Examples:
  df-schedule --schedule pyramid --tokens 10 --steps 8 --levels 1000
  df-schedule --schedule trapezoid --tokens 16 --steps 20 --slope 2 --out trapezoid.svg       a picture for a browser
  df-schedule --file my_matrix.csv --levels 1000                     check a matrix of your own
  df-schedule --schedule pyramid --out pyramid.csv                   a file to edit

A matrix has one row per moment and one column per token; entries are noise levels, from all K in the first row to all 0 in the last. A file
is CSV (integers, '#' comments) or npy, and goes to df-sample as --schedule FILE. A video with more tokens than the matrix has columns takes
it again for every next tokens.)";

struct Arguments {
  std::string schedule = "pyramid", policy = "hold", finished = "last_call";
  int64_t tokens = 10, steps = 10, levels = 1000;
  double slope = 1.0;
  fs::path file, out;
};

df::SchedulingMatrix matrix_of(const Arguments& arguments) {
  if (!arguments.file.empty()) {
    auto matrix = df::read_matrix(arguments.file);
    df::validate(matrix, arguments.levels, arguments.file.string());
    return matrix;
  }
  const auto kind = df::enum_value<df::MatrixKind>(arguments.schedule, "--schedule");
  return df::make_matrix(kind, arguments.tokens, df::ladder(arguments.levels, arguments.steps), arguments.slope);
}

// Rows and columns, with the middle left out where there are many.
void print_matrix(const df::SchedulingMatrix& matrix) {
  constexpr int64_t most_rows = 40, most_tokens = 20;
  const auto shown = [](int64_t i, int64_t count, int64_t most) { return count <= most || i < most / 2 || i >= count - most / 2; };
  const int width = static_cast<int>(std::to_string(*std::max_element(matrix.level.begin(), matrix.level.end())).size());
  for (int64_t m = 0; m < matrix.rows; ++m) {
    if (!shown(m, matrix.rows, most_rows)) {
      if (m == most_rows / 2) fmt::print("{:>5}  ({} rows)\n", "...", matrix.rows - most_rows);
      continue;
    }
    std::string line = fmt::format("{:>5}  ", m);
    for (int64_t t = 0; t < matrix.tokens; ++t) {
      if (shown(t, matrix.tokens, most_tokens))
        line += fmt::format("{:>{}} ", matrix.at(m, t), width);
      else if (t == most_tokens / 2)
        line += "... ";
    }
    line.pop_back();
    fmt::print("{}\n", line);
  }
}

void print_cost(const df::Plan& plan) {
  const int64_t cells = plan.cells(), steps = static_cast<int64_t>(plan.steps.size()), naive = plan.naive_cells();
  fmt::print("\ntokens         {}\nrows           {} moves of a row to the next, which are {} lines of levels\n", plan.tokens, plan.rows,
             plan.rows + 1);
  fmt::print("cells          {} network evaluations a sequence\n", cells);
  fmt::print("batched steps  {} network calls, the widest of {} cells, {:.1f} on average\n", steps, plan.width(),
             steps > 0 ? static_cast<double>(cells) / static_cast<double>(steps) : 0.0);
  fmt::print("naive loop     {} cells in as many calls: {:.1f} times the cells, {:.1f} times the calls\n", naive,
             static_cast<double>(naive) / static_cast<double>(std::max<int64_t>(cells, 1)),
             static_cast<double>(naive) / static_cast<double>(std::max<int64_t>(steps, 1)));
}

void write(const df::SchedulingMatrix& matrix, const df::Plan& plan, int64_t levels, const fs::path& out) {
  if (out.extension() == ".png" || out.extension() == ".svg") {
    df::drawing::write_picture(out, df::draw_plan(matrix, plan, levels));
  } else if (out.extension() == ".npy") {
    df::write_npy(out, at::tensor(matrix.level, at::kInt).reshape({matrix.rows, matrix.tokens}));
  } else if (out.extension() == ".csv") {
    std::string text;
    for (int64_t m = 0; m < matrix.rows; ++m)
      for (int64_t t = 0; t < matrix.tokens; ++t) text += std::to_string(matrix.at(m, t)) + (t + 1 < matrix.tokens ? "," : "\n");
    df::write_atomically(out, text);
  } else {
    throw df::ConfigError(out.string() + ": unknown ending; expected one of: .svg, .png, .csv, .npy");
  }
  fmt::print("\nwritten to {}\n", out.string());
}

int show(const Arguments& arguments) {
  df::PlanPolicy policy;
  policy.unchanged = df::enum_value<df::Unchanged>(arguments.policy, "--policy");
  policy.finished = df::enum_value<df::Finished>(arguments.finished, "--finished");
  const auto matrix = matrix_of(arguments);
  print_matrix(matrix);
  const auto plan = df::compile(matrix, policy);
  print_cost(plan);
  if (!arguments.out.empty()) write(matrix, plan, arguments.levels, arguments.out);
  return df::app::success;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Print and draw a scheduling matrix, check a file, and count what sampling by it costs.", "df-schedule");
  app.footer(examples);
  Arguments arguments;
  app.add_option("--schedule", arguments.schedule, df::enum_choices<df::MatrixKind>())->type_name("KIND")->capture_default_str();
  app.add_option("--tokens", arguments.tokens, "tokens T")->capture_default_str();
  auto* steps = app.add_option("--steps", arguments.steps, "sampling steps S, without --file")->capture_default_str();
  app.add_option("--levels", arguments.levels, "noise levels K")->capture_default_str();
  auto* slope =
      app.add_option("--slope", arguments.slope, "rows between the starts of two tokens (pyramid, trapezoid)")->capture_default_str();
  app.add_option("--policy", arguments.policy,
                 "what a token does that keeps its level: hold (nothing), resample (denoised and noised again to its level), "
                 "reference (the authors' code: waiting tokens take the first step again, finished ones the last), reference_planner "
                 "(the same, but finished tokens keep their value)")
      ->type_name("POLICY")
      ->capture_default_str();
  app.add_option(
         "--finished", arguments.finished,
         "whose latent a finished token hands on: last_call (of the call that finished it), reencode (of one more, on the clean token)")
      ->type_name("KIND")
      ->capture_default_str();
  app.add_option("--file", arguments.file, "a matrix of your own, CSV or npy, in place of --schedule")->type_name("FILE");
  app.add_option("--out", arguments.out, "write the matrix: .svg and .png draw it and its plan, .csv and .npy keep its numbers")
      ->type_name("FILE");
  return df::app::run(app, argc, argv, [&] {
    if (!arguments.file.empty() && (!steps->empty() || !slope->empty()))
      spdlog::warn("--steps and --slope have no effect: {} has its own rows", arguments.file.string());
    return show(arguments);
  });
}
