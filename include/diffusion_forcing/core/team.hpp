// SPDX-License-Identifier: MIT
// The processes that train the same weights together. Each computes its share of every batch and sums gradients with the others.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// A sum that has begun. While it is under way the tensors must be left alone.
class PendingSum {
 public:
  virtual ~PendingSum() = default;
  // Afterwards the tensors hold the sum: at once for tensors on the CPU, and for whatever the current stream does next on a device.
  virtual void finish() = 0;
};

// All that training knows of other processes. A member of the team is called a rank.
//
// Every call but rank(), size() and can_record() is collective: all ranks make the same calls in the same order, with tensors of the same
// sizes and types, and each waits for the others. Tensors lie on the CPU or on the rank's own device. Where another rank is gone or does
// not answer in time, a call throws df::Error that names the rank.
class Team {
 public:
  virtual ~Team() = default;
  virtual int64_t rank() const = 0;  // 0 .. size() - 1
  virtual int64_t size() const = 0;
  // Begins to replace each tensor, in place, by its sum over all ranks. Every rank gets the same bits. Several sums may be under way at
  // once; they take place in the order in which they began.
  virtual std::unique_ptr<PendingSum> begin_sum(const std::vector<Tensor>& tensors) const = 0;
  // Replaces each tensor, in place, by that of rank `from`.
  virtual void broadcast(const std::vector<Tensor>& tensors, int64_t from) const = 0;
  // Returns when all ranks have come here.
  virtual void barrier() const = 0;
  // Whether begin_sum() and finish() may be part of work that the device records (Accelerator::capture).
  virtual bool can_record() const = 0;

  void sum(const std::vector<Tensor>& tensors) const { begin_sum(tensors)->finish(); }
  bool alone() const { return size() == 1; }
  bool first() const { return rank() == 0; }  // the one rank that writes files and logs
  // Whether `flag` is true on any rank.
  bool any(bool flag) const;
  // Calls `work` on this rank. Where it throws on one rank, all ranks throw, so that none waits for one that has given up.
  void together(const std::function<void()>& work) const;
  // Throws df::Error on all ranks unless `number` is the same on all: "<what>: expected 10 as on rank 0, got 5 on rank 1".
  void check_same(const std::string& what, int64_t number) const;
};

// A process by itself: rank 0 of 1. Nothing is summed, and nothing waits.
std::shared_ptr<const Team> alone();

// Rows of a whole that belong to one of several parts: neighbours, in order, and as equal in number as can be.
struct Share {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};
// Part `part` of `parts` nearly equal parts of `rows` rows.
inline Share share_of(int64_t rows, int64_t part, int64_t parts) { return {part * rows / parts, (part + 1) * rows / parts}; }

}  // namespace df
