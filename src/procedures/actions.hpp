// SPDX-License-Identifier: MIT
// Actions as people write them: one line a frame, the number of the action or its vector.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <istream>
#include <optional>
#include <string>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Text with one action a line: its number 0 .. kinds - 1, or `kinds` numbers with commas or blanks between them. What follows '#' is a
// comment; lines without numbers are skipped. Throws df::Error naming line and expectation.
class ActionLines {
 public:
  // name: of the text, for messages. `text` must outlive the object.
  ActionLines(std::istream& text, std::string name, int64_t kinds) : text_(text), name_(std::move(name)), kinds_(kinds) {}
  std::optional<Tensor> next();  // float32 [kinds], one-hot for a number; nothing at the end

 private:
  std::istream& text_;
  std::string name_;
  int64_t kinds_, line_ = 0;
};

// The first `frames` actions of a text file or of an .npy array ([F] numbers or [F, kinds]): float32 [frames, kinds].
Tensor read_action_file(const std::filesystem::path& path, int64_t kinds, int64_t frames);

// Conditions of tokens, one after the other, from the actions taken at frame after frame. As in a data set, each frame sees the action that
// led to it (actions_to_condition): a line is the action taken at the newest frame, and the first frame of all sees none.
class ActionConditions {
 public:
  // shown: whether frames were shown before, so that the first action leads to the first frame.
  ActionConditions(ActionLines lines, int64_t kinds, int64_t frame_stack, bool shown);
  std::optional<Tensor> next();              // float32 [frame_stack * kinds]; nothing where the text has ended
  int64_t actions() const { return read_; }  // so far

 private:
  ActionLines lines_;
  int64_t frame_stack_, read_ = 0;
  std::deque<Tensor> led_here_;  // actions before frames of tokens to come
};

}  // namespace df
