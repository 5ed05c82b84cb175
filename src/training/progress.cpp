// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <string_view>

namespace df {

namespace {

constexpr double redraw_seconds = 0.1;
constexpr double window_seconds = 30.0;  // the rate is that of this time
constexpr int64_t bar_width = 20;

int64_t terminal_columns() {
  const char* kind = std::getenv("TERM");
  if (!::isatty(STDERR_FILENO) || (kind && std::string_view(kind) == "dumb")) return 0;
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// At most `columns` bytes, not cut within a character.
std::string cut(const std::string& line, int64_t columns) {
  auto size = static_cast<size_t>(columns);
  if (line.size() <= size) return line;
  while (size > 0 && (static_cast<unsigned char>(line[size]) & 0xC0) == 0x80) --size;
  return line.substr(0, size);
}

std::string format_rate(double rate, const std::string& unit) {
  if (rate < 0.1)
    return fmt::format("{:.1f} s/{}", 1.0 / rate, unit.size() > 1 && unit.back() == 's' ? unit.substr(0, unit.size() - 1) : unit);
  return fmt::format("{:.{}f} {}/s", rate, rate < 1 ? 2 : rate < 100 ? 1 : 0, unit);
}

}  // namespace

Progress::Progress(std::string title, int64_t total, std::string unit, double file_seconds)
    : Progress(std::move(title), total, std::move(unit), file_seconds, std::cerr, terminal_columns()) {
  own_columns_ = true;
}

Progress::Progress(std::string title, int64_t total, std::string unit, double file_seconds, std::ostream& out, int64_t columns)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      file_seconds_(file_seconds),
      out_(out),
      columns_(columns),
      own_columns_(false),
      drawn_(Clock::now()) {}

Progress::~Progress() {
  try {
    // An update that was never shown is shown now; a line that stands in a terminal is ended.
    if (!finished_ && !window_.empty()) finish();
  } catch (...) {
  }
}

void Progress::update(int64_t done, const std::string& text) {
  const auto now = Clock::now();
  done_ = done;
  if (!text.empty()) text_ = text;
  window_.emplace_back(now, done);
  // One point older than the window stays, so that slow work has a rate too.
  while (window_.size() > 2 && std::chrono::duration<double>(now - window_[1].first).count() > window_seconds) window_.pop_front();
  const bool first = columns_ > 0 && window_.size() == 1;
  const double since = std::chrono::duration<double>(now - drawn_).count();
  if (first || since >= (columns_ > 0 ? redraw_seconds : file_seconds_)) draw(false);
}

void Progress::finish(const std::string& text) {
  if (finished_) return;
  if (!text.empty()) text_ = text;
  draw(true);
  finished_ = true;
}

void Progress::clear() {
  if (!on_line_) return;
  out_ << "\r\x1b[K" << std::flush;
  on_line_ = false;
}

double Progress::rate() const {
  if (window_.size() < 2) return 0.0;
  const double seconds = std::chrono::duration<double>(window_.back().first - window_.front().first).count();
  return seconds > 0.0 ? static_cast<double>(window_.back().second - window_.front().second) / seconds : 0.0;
}

void Progress::draw(bool last) {
  drawn_ = Clock::now();
  const std::string line = format_line(title_, done_, total_, unit_, rate(), text_);
  if (columns_ == 0) {
    out_ << line << '\n' << std::flush;
    return;
  }
  if (own_columns_) columns_ = std::max<int64_t>(terminal_columns(), 1);  // the window may have been resized
  // The last column stays free: some terminals wrap as soon as it is written.
  out_ << '\r' << cut(line, std::max<int64_t>(columns_ - 1, 0)) << "\x1b[K" << (last ? "\n" : "") << std::flush;
  on_line_ = !last;
}

std::string Progress::format_line(const std::string& title, int64_t done, int64_t total, const std::string& unit, double rate,
                                  const std::string& text) {
  const double fraction = total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0.0;
  const auto filled = static_cast<int64_t>(fraction * static_cast<double>(bar_width));
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < bar_width) bar += '>' + std::string(static_cast<size_t>(bar_width - filled - 1), ' ');
  const std::string whole = std::to_string(total);
  std::string line =
      fmt::format("{}  [{}] {:3d}%  {:>{}}/{} {}", title, bar, static_cast<int>(fraction * 100.0), done, whole.size(), whole, unit);
  if (rate > 0.0) {
    line += "  " + format_rate(rate, unit);
    if (done < total) line += "  left " + format_seconds(static_cast<double>(total - done) / rate);
  }
  if (!text.empty()) line += "  " + text;
  return line;
}

std::string Progress::format_seconds(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1e9) return "?";
  const auto all = static_cast<int64_t>(std::llround(std::max(seconds, 0.0)));
  const int64_t h = all / 3600, m = all / 60 % 60, s = all % 60;
  return h > 0 ? fmt::format("{}:{:02d}:{:02d}", h, m, s) : fmt::format("{}:{:02d}", m, s);
}

}  // namespace df
