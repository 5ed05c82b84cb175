// SPDX-License-Identifier: MIT
// The CUDA accelerator: one stream of its own, graphs recorded on it, generators and figures of one device.
#include "diffusion_forcing/core/accelerator.hpp"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/AutogradState.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>

#include "cuda/tables.hpp"

namespace df {

namespace {

// Backward passes on the calling thread. cuDNN keeps the plans it has measured by thread, so a recording must run its backward where
// the warm-up did, or it would measure again, which a recording cannot.
class SingleThreadedBackward {
 public:
  SingleThreadedBackward() : before_(c10::AutogradState::get_tls_state().get_multithreading_enabled()) { set(false); }
  ~SingleThreadedBackward() { set(before_); }
  SingleThreadedBackward(const SingleThreadedBackward&) = delete;
  SingleThreadedBackward& operator=(const SingleThreadedBackward&) = delete;

 private:
  static void set(bool enabled) { c10::AutogradState::get_tls_state().set_multithreading_enabled(enabled); }
  bool before_;
};

class CudaStreamScope final : public StreamScope {
 public:
  explicit CudaStreamScope(const c10::cuda::CUDAStream& stream)
      : outer_(c10::cuda::getCurrentCUDAStream(stream.device_index())), guard_(stream) {
    wait(stream, outer_);
  }
  ~CudaStreamScope() override {
    try {
      wait(outer_, guard_.current_stream());
    } catch (const std::exception&) {  // the device is gone; whoever uses it next learns why
    }
  }

 private:
  // What `later` does from now on comes after what `earlier` has been given so far.
  static void wait(const c10::cuda::CUDAStream& later, const c10::cuda::CUDAStream& earlier) {
    if (later == earlier) return;
    at::cuda::CUDAEvent event;
    event.record(earlier);
    event.block(later);
  }
  SingleThreadedBackward single_;
  c10::cuda::CUDAStream outer_;
  c10::cuda::CUDAStreamGuard guard_;
};

class CudaGraph final : public Graph {
 public:
  CudaGraph(const std::function<void()>& work, const CaptureOptions& options) {
    for (const auto& generator : options.generators) graph_.register_generator_state(generator);
    const auto* other = dynamic_cast<const CudaGraph*>(options.shares_memory_with);
    // Thread-local: loader threads may copy and allocate meanwhile.
    graph_.capture_begin(other ? other->graph_.pool() : at::cuda::MempoolId_t{0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      abandon();
      throw;
    }
    graph_.capture_end();
  }
  void replay() override { graph_.replay(); }

 private:
  // A stream left in capture would break everything after it.
  void abandon() {
    try {
      graph_.capture_end();
    } catch (const std::exception&) {  // a broken capture cannot be ended cleanly; the first error is the one to report
    }
  }
  mutable at::cuda::CUDAGraph graph_;
};

class Cuda final : public Accelerator {
 public:
  explicit Cuda(c10::DeviceIndex index) : index_(index), stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, index)) {
    if (at::cuda::getDeviceProperties(index_)->major != 9) return;  // the kernels are built for Hopper alone
    kernels_ = {&ops::cuda_images(),       &ops::cuda_attention(), &ops::cuda_convolutions(), &ops::cuda_pointwise(),
                &ops::cuda_token_layers(), &ops::cuda_cells(),     &ops::cuda_errors()};
  }
  at::Device device() const override { return {at::kCUDA, index_}; }
  std::string description() const override {
    const auto* properties = at::cuda::getDeviceProperties(index_);
    return std::string(properties->name) + ", " + std::to_string(properties->totalGlobalMem >> 30) + " GiB";
  }
  at::Generator make_generator(uint64_t seed) const override {
    auto generator = at::cuda::detail::createCUDAGenerator(index_);
    generator.set_current_seed(seed);
    return generator;
  }
  void synchronize() const override {
    const c10::cuda::CUDAGuard guard(index_);
    c10::cuda::device_synchronize();
  }
  int64_t peak_memory_bytes() const override {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(index_);
    return stats.reserved_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  }
  std::unique_ptr<StreamScope> use_stream() const override { return std::make_unique<CudaStreamScope>(stream_); }
  std::unique_ptr<Graph> capture(const std::function<void()>& work, const CaptureOptions& options) const override {
    const CudaStreamScope scope(stream_);
    for (int run = 0; run < options.warm_up; ++run) work();
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();  // the recording has memory of its own
    return std::make_unique<CudaGraph>(work, options);
  }
  const ops::Kernels* kernels() const override { return &kernels_; }

 private:
  c10::DeviceIndex index_;
  c10::cuda::CUDAStream stream_;
  ops::Kernels kernels_;
};

}  // namespace

}  // namespace df

// A new accelerator for device `index`, or null and the reason. The caller never destroys it: CUDA may be gone by then.
extern "C" __attribute__((visibility("default"))) df::Accelerator* df_create_cuda_accelerator(int index, std::string* message) {
  try {
    const int count = c10::cuda::device_count();
    if (index < count) return new df::Cuda(static_cast<c10::DeviceIndex>(index));
    *message = count == 0 ? "no CUDA device answers" : "only " + std::to_string(count) + " CUDA devices answer";
  } catch (const std::exception& error) {
    *message = error.what();
  }
  return nullptr;
}
