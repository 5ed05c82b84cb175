// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/metric_log.hpp"

#include <ATen/ATen.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "training/tensorboard.hpp"

namespace df {

namespace {

// Calls visit(step, object, line) for each whole line; one that was cut short by a crash is left out.
template <class Visit>
void each_line(const fs::path& path, const Visit& visit) {
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains("step") && json["step"].is_number_integer()) visit(json["step"].get<int64_t>(), json, line);
  }
}

// Keeps the lines of steps up to `last_step`.
void drop_later_lines(const fs::path& path, int64_t last_step) {
  std::string kept;
  each_line(path, [&](int64_t step, const nlohmann::json&, const std::string& line) {
    if (step <= last_step) kept += line + '\n';
  });
  write_atomically(path, kept);
}

}  // namespace

struct MetricLog::State {
  fs::path path;
  std::ofstream lines;
  EventFile events;

  State(const fs::path& run, int64_t first_step) : path(run / "metrics.jsonl"), events(run, first_step) {
    if (fs::exists(path)) drop_later_lines(path, first_step);
    lines.open(path, std::ios::app);
    check();
  }
  void check() const {
    if (!lines) throw Error(path.string() + ": cannot be written: " + std::strerror(errno));
  }
};

MetricLog::MetricLog(const fs::path& run, int64_t first_step) : state_(std::make_unique<State>(run, first_step)) {}

MetricLog::~MetricLog() = default;

bool MetricLog::has(int64_t step, const std::string& name) const {
  bool found = false;
  each_line(state_->path,
            [&](int64_t of, const nlohmann::json& json, const std::string&) { found = found || (of == step && json.contains(name)); });
  return found;
}

void MetricLog::scalars(int64_t step, const std::map<std::string, double>& values) {
  nlohmann::ordered_json json;
  json["step"] = step;
  json["time"] = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (const auto& [name, value] : values) json[name] = value;  // NaN and infinities become null
  state_->lines << json.dump() << '\n';
  state_->events.scalars(step, values);
  flush();  // so that a run can be watched, and a killed one loses nothing
}

void MetricLog::image(int64_t step, const std::string& tag, const Tensor& rgb) {
  check_shape(rgb, tag, {3, -1, -1});
  state_->events.image(step, tag, rgb.size(1), rgb.size(2), encode_png(rgb));
  flush();
}

void MetricLog::video(int64_t step, const std::string& tag, const Tensor& frames, double fps) {
  check_shape(frames, tag, {-1, 3, -1, -1});
  state_->events.image(step, tag, frames.size(2), frames.size(3), encode_gif(frames, fps));
  flush();
}

void MetricLog::text(int64_t step, const std::string& tag, const std::string& markdown) {
  state_->events.text(step, tag, markdown);
  flush();
}

void MetricLog::flush() {
  state_->lines.flush();
  state_->check();
  state_->events.flush();
}

}  // namespace df
