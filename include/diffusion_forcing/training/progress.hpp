// SPDX-License-Identifier: MIT
// One progress line: redrawn in place in a terminal, printed now and then into a file.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <iosfwd>
#include <string>
#include <utility>

namespace df {

// Shows how far some work is, and how long it will still take.
class Progress {
 public:
  // unit: "steps", "frames". On a terminal the line is redrawn at most 10 times a second, elsewhere a line is printed every
  // `file_seconds`, and always at the end. Writes to stderr.
  Progress(std::string title, int64_t total, std::string unit, double file_seconds = 15.0);
  // Onto any stream; columns > 0: as on a terminal of that width, 0: as into a file.
  Progress(std::string title, int64_t total, std::string unit, double file_seconds, std::ostream& out, int64_t columns);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // done of total, and free text ("loss 0.012  48 frames/s"). Rate and time left come from a moving window.
  void update(int64_t done, const std::string& text = "");
  // The last line, and its end. With an empty text that of the last update stays.
  void finish(const std::string& text = "");
  // Wipes the line off the terminal, so that something else can be printed; the next update draws it again.
  void clear();

  // "train  [======>             ]  33%  330/1000 steps  8.1 steps/s  left 1:23  loss 0.012"; rate <= 0: not yet known.
  static std::string format_line(const std::string& title, int64_t done, int64_t total, const std::string& unit, double rate,
                                 const std::string& text);
  static std::string format_seconds(double seconds);  // "1:02:03", "4:05"

 private:
  using Clock = std::chrono::steady_clock;
  void draw(bool last);
  double rate() const;  // per second, over the window
  std::string title_, unit_, text_;
  int64_t total_, done_ = 0;
  double file_seconds_;
  std::ostream& out_;
  int64_t columns_;
  bool own_columns_, on_line_ = false, finished_ = false;
  Clock::time_point drawn_;
  std::deque<std::pair<Clock::time_point, int64_t>> window_;
};

}  // namespace df
