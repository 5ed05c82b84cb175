// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/team.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <exception>

#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

class Alone final : public Team {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  std::unique_ptr<PendingSum> begin_sum(const std::vector<Tensor>&) const override {
    struct Done final : PendingSum {
      void finish() override {}
    };
    return std::make_unique<Done>();
  }
  void broadcast(const std::vector<Tensor>&, int64_t) const override {}
  void barrier() const override {}
  bool can_record() const override { return true; }
};

}  // namespace

bool Team::any(bool flag) const {
  if (alone()) return flag;
  const Tensor flags = at::full({1}, static_cast<int64_t>(flag), at::kLong);
  sum({flags});
  return flags.item<int64_t>() > 0;
}

void Team::together(const std::function<void()>& work) const {
  if (alone()) return work();
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  const bool failed = any(failure != nullptr);
  if (failure) std::rethrow_exception(failure);
  if (failed) throw Error(fmt::format("rank {} of {} ends because another rank has failed, whose message says why", rank(), size()));
}

void Team::check_same(const std::string& what, int64_t number) const {
  if (alone()) return;
  const Tensor first = at::full({1}, number, at::kLong);
  broadcast({first}, 0);
  const auto expected = first.item<int64_t>();
  together([&] {
    if (number != expected) throw Error(fmt::format("{}: expected {} as on rank 0, got {} on rank {}", what, expected, number, rank()));
  });
}

std::shared_ptr<const Team> alone() { return std::make_shared<Alone>(); }

}  // namespace df
