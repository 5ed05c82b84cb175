// SPDX-License-Identifier: MIT
// The z of successive tokens for a model that attends to the last W of them, in constant memory.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

#include "diffusion_forcing/core/shape.hpp"

namespace df {

// A ring of `tokens` + W entries, each kept twice, half a buffer apart: so the window before any token that is held lies in one piece, and
// a model reads it there. `tokens`: how many successive ones are held at a time.
class EntryRing {
 public:
  EntryRing(int64_t batch, int64_t tokens, int64_t history, const Shape& entry, const at::TensorOptions& options)
      : history_(history), size_(tokens + history), entries_(at::zeros(shape({batch, 2 * size_}, entry), options)) {}

  // The window before token 0, [B, H, entry...].
  void start(const at::Tensor& window) {
    given_ = window.size(1);
    set(-given_, window);
  }

  // The window before `token`, [B, H, entry...]: a view.
  at::Tensor before(int64_t token) const {
    const int64_t count = std::min(history_, token + given_);
    return entries_.narrow(1, slot(token - count), count);
  }

  // The entries [B, n, entry...] of tokens first .. first + n - 1.
  void set(int64_t first, const at::Tensor& entries) {
    for (int64_t i = 0; i < entries.size(1); ++i)
      for (const int64_t half : {int64_t{0}, size_}) entries_.select(1, half + slot(first + i)).copy_(entries.select(1, i));
  }

  // A larger ring with the same window before `first` and the same entries of `count` tokens from there.
  EntryRing grown(int64_t tokens, int64_t first, int64_t count) const {
    EntryRing larger(entries_.size(0), tokens, history_, entries_.sizes().slice(2).vec(), entries_.options());
    larger.given_ = given_;
    const at::Tensor window = before(first);
    larger.set(first - window.size(1), window);
    for (int64_t t = first; t < first + count; ++t) larger.set(t, entries_.narrow(1, slot(t), 1));
    return larger;
  }

  EntryRing copy() const {
    EntryRing other = *this;
    other.entries_ = entries_.clone();
    return other;
  }

  int64_t bytes() const { return static_cast<int64_t>(entries_.nbytes()); }

 private:
  int64_t slot(int64_t token) const { return (token + history_) % size_; }  // tokens before 0 are at least -W

  int64_t history_, size_, given_ = 0;
  at::Tensor entries_;  // [B, 2 size, entry...]
};

}  // namespace df
