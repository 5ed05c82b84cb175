// SPDX-License-Identifier: MIT
#include "core/side_stream.hpp"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

namespace df {

namespace {

// How much work may be under way: its tensors are kept until the current stream waits for it.
constexpr size_t most_running = 16;

c10::Stream current(at::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

// The n-th stream beside `here`: the same one each time, since an allocator keeps memory by stream.
c10::Stream beside(const c10::Stream& here, int64_t n) {
  static std::mutex mutex;
  static std::map<std::tuple<c10::DeviceIndex, c10::StreamId, int64_t>, c10::Stream> streams;
  const std::lock_guard lock(mutex);
  const auto key = std::tuple(here.device_index(), here.id(), n);
  const auto found = streams.find(key);
  if (found != streams.end()) return found->second;
  const c10::impl::VirtualGuardImpl device(here.device_type());
  return streams.emplace(key, device.getStreamFromGlobalPool(here.device())).first->second;
}

// The first streams beside `here`, which waits for them in the end, whatever happens.
class Branches {
 public:
  explicit Branches(const c10::Stream& here) : here_(here), given_(here.device_type()) { given_.record(here); }
  ~Branches() {
    try {
      for (const c10::Event& done : done_) done.block(here_);
    } catch (const std::exception&) {  // the device is gone; whoever uses it next learns why
    }
  }
  Branches(const Branches&) = delete;
  Branches& operator=(const Branches&) = delete;

  void run(int64_t n, const std::function<void(int64_t)>& work) {
    const c10::Stream there = beside(here_, n);
    given_.block(there);
    try {
      const c10::StreamGuard guard(there);
      work(n);
    } catch (...) {
      done_.emplace_back(there.device_type()).record(there);
      throw;
    }
    done_.emplace_back(there.device_type()).record(there);
  }

 private:
  c10::Stream here_;
  c10::Event given_;
  std::vector<c10::Event> done_;
};

}  // namespace

void run_at_once(at::Device device, int64_t count, const std::function<void(int64_t)>& work) {
  if (device.is_cpu() || count == 1) {
    for (int64_t n = 0; n < count; ++n) work(n);
    return;
  }
  Branches branches(current(device));
  for (int64_t n = 1; n < count; ++n) branches.run(n, work);
  work(0);
}

SideStream::SideStream(at::Device device) : device_(device) {
  if (!device.is_cpu()) side_ = beside(current(device), 0);
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
