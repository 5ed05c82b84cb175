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

// What `later` does from now on comes after what `earlier` has been given so far.
void wait(const c10::Stream& later, const c10::Stream& earlier) {
  c10::Event event(earlier.device_type());
  event.record(earlier);
  event.block(later);
}

// The stream beside `here`: the same one each time, since an allocator keeps memory by stream.
c10::Stream beside(const c10::Stream& here) {
  static std::mutex mutex;
  static std::map<std::pair<c10::DeviceIndex, c10::StreamId>, c10::Stream> streams;
  const std::lock_guard lock(mutex);
  const auto key = std::pair(here.device_index(), here.id());
  const auto found = streams.find(key);
  if (found != streams.end()) return found->second;
  const c10::impl::VirtualGuardImpl device(here.device_type());
  return streams.emplace(key, device.getStreamFromGlobalPool(here.device())).first->second;
}

}  // namespace

SideStream::SideStream(at::Device device) : device_(device) {
  if (!device.is_cpu()) side_ = beside(current(device));
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
  wait(*side_, here);
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
