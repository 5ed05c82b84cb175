// SPDX-License-Identifier: MIT
#include "sampling/token_queue.hpp"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace df {

void TokenQueue::push(int64_t token, const Tensor& x) {
  if (x.is_cpu()) {
    sink_(token, x);
    return;
  }
  const Tensor host = at::empty(x.sizes(), x.options().device(at::kCPU).pinned_memory(true));
  host.copy_(x, /*non_blocking=*/true);
  Waiting& last = waiting_.emplace_back(Waiting{token, host, c10::Event(x.device().type())});
  last.arrived.record(c10::impl::VirtualGuardImpl(x.device().type()).getStream(x.device()));
  while (waiting_.size() > most || (!waiting_.empty() && waiting_.front().arrived.query())) deliver();
}

void TokenQueue::flush() {
  while (!waiting_.empty()) deliver();
}

void TokenQueue::deliver() {
  Waiting first = std::move(waiting_.front());
  waiting_.pop_front();
  first.arrived.synchronize();
  sink_(first.token, first.x);
}

}  // namespace df
