// SPDX-License-Identifier: MIT
// What a device needs beyond tensor operators: a stream, graph capture, memory figures. The CUDA one lives in
// libdiffusion_forcing_cuda, loaded on first use; nothing else in the library mentions CUDA.
#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace df {

namespace ops {
struct Kernels;
}

// A piece of device work recorded once and replayed with the same tensors, on the stream that is current at replay.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void replay() = 0;
};

// While it lives, the work of the thread that made it goes to the accelerator's own stream, and backward passes run on that thread.
class StreamScope {
 public:
  virtual ~StreamScope() = default;
};

// How work is recorded.
struct CaptureOptions {
  int warm_up = 3;                             // runs before the recording; 0 where `work` has just been run, under use_stream()
  std::vector<at::Generator> generators = {};  // those that `work` draws from; a draw from any other one makes the capture fail
  // A graph whose memory this one may use too: neither leaves anything there that is read after the other was replayed.
  const Graph* shares_memory_with = nullptr;
};

// One device: its generators, streams, recordings and kernels. There is one object for each device; it lives as long as the process.
class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual at::Device device() const = 0;
  virtual std::string description() const = 0;  // "NVIDIA H200, 139 GiB"
  virtual at::Generator make_generator(uint64_t seed) const = 0;
  virtual void synchronize() const = 0;
  virtual int64_t peak_memory_bytes() const = 0;  // since the process started; 0 where unknown
  // Autograd remembers the stream that a parameter was first used on, and a recording that meets another stream fails. A procedure
  // that captures a backward pass therefore holds one scope from the first use of the model to the last replay.
  virtual std::unique_ptr<StreamScope> use_stream() const = 0;
  // Runs `work` `warm_up` times on the accelerator's stream, then records it without running it. Tensors that `work` makes and the
  // caller keeps are the graph's outputs: a replay overwrites them. Each replay continues the random numbers of the generators
  // where they stand, so setting a generator's seed before a replay sets its draws.
  // Null where the device cannot record; the caller then calls `work` itself. What `work` throws passes through.
  virtual std::unique_ptr<Graph> capture(const std::function<void()>& work, const CaptureOptions& options = {}) const = 0;
  // What the device brings for operators (ops/kernels.hpp), owned by this object; null: nothing. The core only hands it on.
  virtual const ops::Kernels* kernels() const { return nullptr; }
};

// "cpu", "cuda", "cuda:1", or "auto" (CUDA if its library loads and a device answers, else CPU). The object lives as long as
// the process. Throws df::Error with the loader's message where `cuda` is asked for and cannot be had; where `auto` falls back on the CPU
// for the same reason, the message goes to `why_cpu`, which is left alone otherwise.
const Accelerator& accelerator(const std::string& device, std::string* why_cpu = nullptr);
// The same, of a device instead of its name.
inline const Accelerator& accelerator(at::Device device) { return accelerator(device.str()); }

}  // namespace df
