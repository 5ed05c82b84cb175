// SPDX-License-Identifier: MIT
#include "core/worker_pool.hpp"

#include <ATen/Parallel.h>

namespace df {

namespace {

// at::set_num_threads() sets two numbers: that of the calling thread, and that which other threads of the process take with their first
// operator. These two read and set the latter alone, on a thread that nobody else uses.
int threads_of_process() {
  int threads = 0;
  std::thread([&] { threads = at::get_num_threads(); }).join();
  return threads;
}
void set_threads_of_process(int threads) {
  std::thread([=] { at::set_num_threads(threads); }).join();
}

// The calling thread runs its operators on `threads` threads from now on.
void set_threads_of_caller(int threads, int process) {
  at::get_num_threads();  // a thread's first operator sets its number; after this one it stays as it is set
  at::set_num_threads(threads);
  set_threads_of_process(process);
}

}  // namespace

WorkerPool::WorkerPool(int64_t workers, Work kind) : failures_(static_cast<size_t>(workers)) {
  // The calling thread too: its OpenMP team would spin on the workers' cores between its operators.
  if (kind == Work::operators) {
    threads_before_ = {at::get_num_threads(), threads_of_process()};
    set_threads_of_caller(1, threads_before_->process);
  }
  for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this, i] { loop(i); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (auto& thread : threads_) thread.join();
  if (threads_before_) set_threads_of_caller(threads_before_->caller, threads_before_->process);
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
  if (threads_before_) set_threads_of_caller(1, threads_before_->process);
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
