// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <deque>
#include <functional>
#include <optional>
#include <vector>

namespace df {

// A second queue beside the current stream, for work whose result is wanted later than that of what follows it: both run at once where the
// device has room. A recording of the current stream records it, too, as long as it is joined before the recording ends. The CPU has none:
// work runs at once.
class SideStream {
 public:
  explicit SideStream(at::Device device);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  // The work sees all that the current stream has been given so far. Its result is there after join(). `reads` are tensors of the current
  // stream that it reads; their memory is left alone meanwhile.
  at::Tensor run(const std::function<at::Tensor()>& work, std::vector<at::Tensor> reads);
  // What the current stream does from now on comes after the work.
  void join();

 private:
  struct Running {
    std::vector<at::Tensor> reads;
    c10::Event done;
  };
  at::Device device_;
  std::optional<c10::Stream> side_;
  std::deque<Running> running_;
};

}  // namespace df
