// SPDX-License-Identifier: MIT
#include "ops/kernels.hpp"

#include <array>
#include <atomic>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"

namespace df::ops {

namespace {

constexpr size_t most_devices = 64;  // of one type; further ones run plain operators
constexpr Kernels none;

// What the accelerators answered, by type and index, so that an operator asks with one read. Null: not asked yet.
using Answers = std::array<std::atomic<const Kernels*>, most_devices>;
std::array<Answers, at::COMPILE_TIME_MAX_DEVICE_TYPES> answers{};

// Null beyond the table.
std::atomic<const Kernels*>* answer_of(at::Device device) {
  const size_t index = device.has_index() ? static_cast<size_t>(device.index()) : 0;
  return index < most_devices ? &answers[static_cast<size_t>(device.type())][index] : nullptr;
}

const Kernels* ask(at::Device device) {
  if (device.is_cpu()) return &none;
  try {
    const Kernels* own = accelerator(device).kernels();
    return own ? own : &none;
  } catch (const Error&) {  // tensors of a device that this library knows nothing of
    return &none;
  }
}

}  // namespace

const Kernels& kernels(at::Device device) {
  auto* const answer = answer_of(device);
  if (!answer) return none;
  if (const Kernels* known = answer->load(std::memory_order_acquire)) return *known;
  const Kernels* own = ask(device);
  answer->store(own, std::memory_order_release);
  return *own;
}

UseKernels::UseKernels(at::Device device, const Kernels& kernels) : device_(device), before_(&ops::kernels(device)), kernels_(kernels) {
  if (auto* const answer = answer_of(device_)) answer->store(&kernels_, std::memory_order_release);
}

UseKernels::~UseKernels() {
  if (auto* const answer = answer_of(device_)) answer->store(before_, std::memory_order_release);
}

}  // namespace df::ops
