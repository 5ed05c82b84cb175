// SPDX-License-Identifier: MIT
#include "core/worker_pool.hpp"

#include <ATen/Parallel.h>

namespace df {

namespace {

// at::set_num_threads() sets two numbers: that of the calling thread, and that which other threads of the process take with their first
// operator. This sets the former alone, but for the moment that it takes.
void set_threads_of_caller(int threads) {
  static std::mutex one_at_a_time;  // so that no other pool takes the number of that moment for the process's own
  const std::lock_guard lock(one_at_a_time);
  int process = 0;
  std::thread([&] { process = at::get_num_threads(); }).join();
  at::get_num_threads();  // a thread's first operator sets its number; after this one it stays as it is set
  at::set_num_threads(threads);
  std::thread([=] { at::set_num_threads(process); }).join();
}

}  // namespace

WorkerPool::WorkerPool(int64_t workers, Work kind)
    : caller_threads_(kind == Work::operators ? at::get_num_threads() : 0), failures_(static_cast<size_t>(workers)) {
  // The calling thread too: its OpenMP team would spin on the workers' cores between its operators.
  if (caller_threads_ > 0) set_threads_of_caller(1);
  for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this, i] { loop(i); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (auto& thread : threads_) thread.join();
  if (caller_threads_ > 0) set_threads_of_caller(caller_threads_);
}

void WorkerPool::run(const std::function<void(int64_t)>& work) {
  std::unique_lock lock(mutex_);
  work_ = &work;
  busy_ = size();
  ++round_;
  start_.notify_all();
  done_.wait(lock, [this] { return busy_ == 0; });
  std::exception_ptr first;
  for (auto& failure : failures_) {
    if (!first) first = failure;
    failure = nullptr;
  }
  if (first) std::rethrow_exception(first);
}

void WorkerPool::loop(int64_t worker) {
  if (caller_threads_ > 0) set_threads_of_caller(1);
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    start_.wait(lock, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    const auto* work = work_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      (*work)(worker);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failures_[static_cast<size_t>(worker)] = failure;
    if (--busy_ == 0) done_.notify_all();
  }
}

}  // namespace df
