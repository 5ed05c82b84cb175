// SPDX-License-Identifier: MIT
// Threads that live as long as a training, a rollout or a batch of worlds: each runs its operators on itself alone.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace df {

// Two threads with half a batch each beat one batch whose operators are spread over two threads: small operators have nothing to spread.
// While a pool of workers that run operators lives, the thread that made it runs its own operators on one thread too; it gets its number of
// threads back when the pool ends. Other threads of the process keep theirs.
class WorkerPool {
 public:
  enum class Work { operators, plain };
  explicit WorkerPool(int64_t workers, Work kind = Work::operators);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int64_t size() const { return static_cast<int64_t>(threads_.size()); }
  // Calls work(0) .. work(size() - 1), each on its own thread, and waits for all. Rethrows the exception of the lowest worker.
  void run(const std::function<void(int64_t worker)>& work);

 private:
  void loop(int64_t worker);

  int caller_threads_;  // to go back to; 0: as it was
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int64_t)>* work_ = nullptr;
  uint64_t round_ = 0;
  int64_t busy_ = 0;
  bool stop_ = false;
  std::vector<std::exception_ptr> failures_;
  std::vector<std::thread> threads_;
};

}  // namespace df
