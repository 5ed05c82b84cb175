// SPDX-License-Identifier: MIT
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "diffusion_forcing/core/accelerator.hpp"

namespace df {

// The accelerator of this name. Where `auto` has to be the CPU, the log says why.
inline const Accelerator& chosen_device(const std::string& device) {
  std::string why_cpu;
  const Accelerator& place = accelerator(device, &why_cpu);
  if (!why_cpu.empty()) spdlog::info("on the CPU, as CUDA cannot be had: {}", why_cpu);
  return place;
}

}  // namespace df
