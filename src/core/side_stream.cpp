// SPDX-License-Identifier: MIT
#include "core/side_stream.hpp"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>
#include <map>
#include <mutex>
#include <utility>

namespace df {

namespace {

// How much work may be under way: its tensors are kept until the current stream waits for it.
constexpr size_t most_running = 16;

c10::Stream current(at::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

// One of each device, since an allocator keeps memory by stream.
c10::Stream side_of(at::Device device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, c10::Stream> streams;
  const std::lock_guard lock(mutex);
  const auto found = streams.find(device.index());
  if (found != streams.end()) return found->second;
  return streams.emplace(device.index(), c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device)).first->second;
}

}  // namespace

SideStream::SideStream(at::Device device) : device_(device) {
  if (!device.is_cpu()) side_ = side_of(device);
}

SideStream::~SideStream() {
  try {
    join();
  } catch (const std::exception&) {  // the device is gone; whoever uses it next learns why
  }
}

at::Tensor SideStream::run(const std::function<at::Tensor()>& work, std::vector<at::Tensor> reads) {
  if (!side_) return work();
  const c10::Stream here = current(device_);
  c10::Event given(device_.type());
  given.record(here);
  given.block(*side_);
  at::Tensor result;
  {
    const c10::StreamGuard guard(*side_);
    result = work();
  }
  running_.push_back({std::move(reads), c10::Event(device_.type())});
  running_.back().done.record(*side_);
  if (running_.size() > most_running) {
    running_.front().done.block(here);
    running_.pop_front();
  }
  return result;
}

void SideStream::join() {
  if (running_.empty()) return;
  running_.back().done.block(current(device_));
  running_.clear();
}

}  // namespace df
