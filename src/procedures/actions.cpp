// SPDX-License-Identifier: MIT
#include "procedures/actions.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

std::optional<Tensor> ActionLines::next() {
  for (std::string line; std::getline(text_, line);) {
    ++line_;
    std::string numbers = line.substr(0, line.find('#'));
    std::replace(numbers.begin(), numbers.end(), ',', ' ');
    std::istringstream words(numbers);
    std::vector<float> values;
    for (double value = 0; words >> value;) values.push_back(static_cast<float>(value));
    const auto fail = [&](const std::string& expected, const std::string& got) {
      throw Error(fmt::format("{}:{}: expected {}, got {}", name_, line_, expected, got));
    };
    if (!words.eof()) fail("numbers", "'" + line + "'");
    if (values.empty()) continue;
    if (values.size() == 1) {
      const float action = values[0];
      if (action != std::floor(action) || action < 0 || action >= static_cast<float>(kinds_))
        fail(fmt::format("actions 0 to {}", kinds_ - 1), fmt::format("{}", action));
      return at::one_hot(at::scalar_tensor(static_cast<int64_t>(action), at::kLong), kinds_).to(at::kFloat);
    }
    if (static_cast<int64_t>(values.size()) != kinds_) fail(fmt::format("{} columns or one", kinds_), std::to_string(values.size()));
    return at::tensor(values);
  }
  return std::nullopt;
}

namespace {

Tensor read_action_array(const std::filesystem::path& path, int64_t kinds) {
  Tensor rows = read_npy(path);
  if (rows.dim() == 2 && rows.size(1) == 1) rows = rows.squeeze(1);
  if (rows.dim() == 1) {
    const auto numbers = rows.to(at::kLong);
    if (rows.numel() > 0 && (!at::equal(numbers.to(at::kDouble), rows.to(at::kDouble)) || numbers.min().item<int64_t>() < 0 ||
                             numbers.max().item<int64_t>() >= kinds))
      throw Error(fmt::format("{}: expected actions 0 to {}, got {} to {}", path.string(), kinds - 1, rows.min().item<double>(),
                              rows.max().item<double>()));
    rows = at::one_hot(numbers, kinds);
  }
  if (rows.dim() != 2 || rows.size(1) != kinds)
    throw Error(fmt::format("{}: expected {} columns or one, got {}", path.string(), kinds, to_string(rows.sizes().vec())));
  return rows.to(at::kFloat);
}

Tensor read_action_text(const std::filesystem::path& path, int64_t kinds, int64_t most) {
  std::istringstream text(read_file(path));
  ActionLines lines(text, path.string(), kinds);
  std::vector<Tensor> rows;
  while (static_cast<int64_t>(rows.size()) < most) {
    const auto action = lines.next();
    if (!action) break;
    rows.push_back(*action);
  }
  return rows.empty() ? at::zeros({0, kinds}) : at::stack(rows);
}

}  // namespace

Tensor read_action_file(const std::filesystem::path& path, int64_t kinds, int64_t frames) {
  const Tensor rows = path.extension() == ".npy" ? read_action_array(path, kinds) : read_action_text(path, kinds, frames);
  if (rows.size(0) < frames)
    throw Error(fmt::format("{}: expected at least {} rows, one a frame, got {}", path.string(), frames, rows.size(0)));
  return rows.narrow(0, 0, frames);
}

ActionConditions::ActionConditions(ActionLines lines, int64_t kinds, int64_t frame_stack, bool shown)
    : lines_(std::move(lines)), frame_stack_(frame_stack) {
  if (!shown) led_here_.push_back(at::zeros({kinds}));
}

std::optional<Tensor> ActionConditions::next() {
  while (static_cast<int64_t>(led_here_.size()) < frame_stack_) {
    const auto action = lines_.next();
    if (!action) return std::nullopt;
    led_here_.push_back(*action);
    ++read_;
  }
  std::vector<Tensor> frames;
  for (int64_t f = 0; f < frame_stack_; ++f) {
    frames.push_back(led_here_.front());
    led_here_.pop_front();
  }
  return at::cat(frames);
}

}  // namespace df
