// SPDX-License-Identifier: MIT
#include "support/thread_team.hpp"

#include <ATen/ATen.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "diffusion_forcing/core/error.hpp"

namespace df::test {

namespace {

using Tensors = std::vector<Tensor>;

// Where the ranks bring their tensors; the last one to come makes the result of all.
class Meeting {
 public:
  explicit Meeting(int64_t ranks) : brought_(static_cast<size_t>(ranks)) {}

  using Combine = std::function<Tensors(const std::vector<const Tensors*>& brought)>;
  std::shared_ptr<const Tensors> meet(int64_t rank, const Tensors& tensors, const Combine& combine) {
    std::unique_lock lock(mutex_);
    throw_if_left();
    brought_[static_cast<size_t>(rank)] = &tensors;
    const uint64_t round = round_;
    if (++arrived_ == brought_.size()) {
      result_ = std::make_shared<const Tensors>(combine(brought_));
      arrived_ = 0;
      ++round_;
      met_.notify_all();
    }
    met_.wait(lock, [&] { return round_ != round || left_ >= 0; });
    if (round_ == round) throw_if_left();
    return result_;
  }

  void leave(int64_t rank) {
    const std::lock_guard lock(mutex_);
    if (left_ < 0) left_ = rank;
    met_.notify_all();
  }
  int64_t ranks() const { return static_cast<int64_t>(brought_.size()); }

 private:
  void throw_if_left() const {
    if (left_ >= 0) throw Error("rank " + std::to_string(left_) + " has left the team");
  }

  std::mutex mutex_;
  std::condition_variable met_;
  std::vector<const Tensors*> brought_;
  size_t arrived_ = 0;
  uint64_t round_ = 0;
  int64_t left_ = -1;
  std::shared_ptr<const Tensors> result_;
};

class ThreadRank final : public Team {
 public:
  ThreadRank(std::shared_ptr<Meeting> meeting, int64_t rank) : meeting_(std::move(meeting)), rank_(rank) {}
  int64_t rank() const override { return rank_; }
  int64_t size() const override { return meeting_->ranks(); }
  std::unique_ptr<PendingSum> begin_sum(const Tensors& tensors) const override {
    take(tensors, [](const std::vector<const Tensors*>& brought) {
      Tensors sums;
      for (size_t i = 0; i < brought[0]->size(); ++i) {
        sums.push_back((*brought[0])[i].clone());
        for (size_t rank = 1; rank < brought.size(); ++rank) sums[i].add_(brought[rank]->at(i));
      }
      return sums;
    });
    struct Done final : PendingSum {
      void finish() override {}
    };
    return std::make_unique<Done>();
  }
  void broadcast(const Tensors& tensors, int64_t from) const override {
    take(tensors, [&](const std::vector<const Tensors*>& brought) {
      Tensors copies;
      for (const Tensor& tensor : *brought[static_cast<size_t>(from)]) copies.push_back(tensor.clone());
      return copies;
    });
  }
  void barrier() const override {
    take({}, [](const auto&) { return Tensors(); });
  }
  bool can_record() const override { return false; }

 private:
  void take(const Tensors& tensors, const Meeting::Combine& combine) const {
    const at::NoGradGuard no_grad;
    const auto result = meeting_->meet(rank_, tensors, combine);
    if (result->size() != tensors.size()) throw Error("team: the ranks made different calls");
    for (size_t i = 0; i < tensors.size(); ++i) tensors[i].copy_((*result)[i]);
  }

  std::shared_ptr<Meeting> meeting_;
  int64_t rank_;
};

}  // namespace

std::vector<std::string> run_team(int64_t ranks, const std::function<void(const std::shared_ptr<const Team>& team)>& work) {
  const auto meeting = std::make_shared<Meeting>(ranks);
  std::vector<std::string> messages(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        work(std::make_shared<ThreadRank>(meeting, rank));
      } catch (const std::exception& error) {
        messages[static_cast<size_t>(rank)] = error.what();
      }
      meeting->leave(rank);
    });
  for (auto& thread : threads) thread.join();
  return messages;
}

}  // namespace df::test
