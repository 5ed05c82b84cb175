// SPDX-License-Identifier: MIT
// Finished tokens on their way from the device to a sink on the host. The device goes on with later tokens meanwhile.
#pragma once

#include <c10/core/Event.h>

#include <cstdint>
#include <deque>

#include "diffusion_forcing/sampling/rollout.hpp"

namespace df {

class TokenQueue {
 public:
  explicit TokenQueue(const TokenSink& sink) : sink_(sink) {}
  // Takes x, which the device may still be computing, copies it to the host and hands on what has arrived there.
  void push(int64_t token, const Tensor& x);
  void flush();  // waits for the rest

 private:
  static constexpr size_t most = 4;  // tokens on their way
  struct Waiting {
    int64_t token;
    Tensor x;
    c10::Event arrived;
  };
  void deliver();  // the first one, when it is there

  const TokenSink& sink_;
  std::deque<Waiting> waiting_;
};

}  // namespace df
