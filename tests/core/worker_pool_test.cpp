// SPDX-License-Identifier: MIT
#include "core/worker_pool.hpp"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "support/support.hpp"

namespace df {

using test::error_of;

TEST(WorkerPool, RunsAllWaitsAndRethrows) {
  const int before = at::get_num_threads();
  auto owned = std::make_unique<WorkerPool>(3);
  WorkerPool& pool = *owned;
  EXPECT_EQ(at::get_num_threads(), 1) << "the calling thread would spin on the workers' cores";
  for (int round = 0; round < 200; ++round) {
    std::vector<int> seen(3, 0);
    pool.run([&](int64_t worker) { ++seen[static_cast<size_t>(worker)]; });
    ASSERT_EQ(seen, (std::vector<int>{1, 1, 1}));
  }
  std::atomic<int> finished{0};
  const auto message = error_of([&] {
    pool.run([&](int64_t worker) {
      if (worker > 0) throw Error("worker " + std::to_string(worker));
      ++finished;
    });
  });
  EXPECT_EQ(message, "worker 1");
  EXPECT_EQ(finished, 1);
  pool.run([&](int64_t) { ++finished; });
  EXPECT_EQ(finished, 4) << "usable after a failure";
  owned.reset();
  EXPECT_EQ(at::get_num_threads(), before);
}

TEST(WorkerPool, SetsThreadsOfNoOtherThread) {
  const auto threads_elsewhere = [] {
    int threads = 0;
    std::thread([&] { threads = at::get_num_threads(); }).join();
    return threads;
  };
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  {
    WorkerPool pool(2);
    std::vector<int> inside(2);
    pool.run([&](int64_t worker) {
      inside[static_cast<size_t>(worker)] = at::get_num_threads();
      WorkerPool nested(1);
    });
    EXPECT_EQ(inside, (std::vector<int>{1, 1}));
    EXPECT_EQ(threads_elsewhere(), 3) << "a thread of the host process that starts meanwhile";
    EXPECT_EQ(at::get_num_threads(), 1);
  }
  EXPECT_EQ(threads_elsewhere(), 3);
  EXPECT_EQ(at::get_num_threads(), 3);
  at::set_num_threads(before);
}

}  // namespace df
