// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/accelerator.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <sys/resource.h>

#include <map>
#include <mutex>

#include "core/load_library.hpp"
#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

class Cpu final : public Accelerator {
 public:
  at::Device device() const override { return at::kCPU; }
  std::string description() const override { return "CPU, " + std::to_string(at::get_num_threads()) + " threads"; }
  at::Generator make_generator(uint64_t seed) const override { return at::detail::createCPUGenerator(seed); }
  void synchronize() const override {}
  int64_t peak_memory_bytes() const override {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss * 1024;
  }
  std::unique_ptr<StreamScope> use_stream() const override { return nullptr; }
  std::unique_ptr<Graph> capture(const std::function<void()>&, const CaptureOptions&) const override { return nullptr; }
};

// Defined by libdiffusion_forcing_cuda: a new accelerator for device `index`, or null and a message.
using CreateCuda = Accelerator* (*)(int index, std::string* message);

// Loaded once and never unloaded. The library must come in before anything asks torch about CUDA.
CreateCuda load_cuda(std::string& message) {
  void* library = open_library("libdiffusion_forcing_cuda.so", Symbols::global, &message);
  if (!library) return nullptr;
  return reinterpret_cast<CreateCuda>(dlsym(library, "df_create_cuda_accelerator"));
}

}  // namespace

const Accelerator& accelerator(const std::string& device, std::string* why_cpu) {
  static const Cpu cpu;
  static std::mutex mutex;
  static auto& made = *new std::map<int, Accelerator*>;  // leaked: CUDA objects must not be destroyed at exit
  if (device == "cpu") return cpu;
  int index = 0;
  if (device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.find_first_not_of("0123456789", 5) == std::string::npos)
    index = std::stoi(device.substr(5));
  else if (device != "cuda" && device != "auto")
    throw Error("device: expected cpu, cuda, cuda:<index> or auto, got '" + device + "'");
  const std::lock_guard lock(mutex);
  if (const auto found = made.find(index); found != made.end()) return *found->second;
  std::string message;
  Accelerator* created = nullptr;
  if (const CreateCuda create = load_cuda(message)) created = create(index, &message);
  if (created) return *(made[index] = created);
  if (device == "auto") {
    if (why_cpu) *why_cpu = message;
    return cpu;
  }
  throw Error("device " + device + ": " + message + " (build with the CUDA toolkit after ./scripts/setup.sh --cuda)");
}

}  // namespace df
