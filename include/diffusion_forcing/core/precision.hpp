// SPDX-License-Identifier: MIT
// What numbers networks compute in; weights are float32 either way.
#pragma once

#include <string_view>
#include <utility>

#include "diffusion_forcing/core/enum_names.hpp"

namespace df {

enum class Precision { fp32, bf16 };  // bf16: autocast
template <>
struct EnumNames<Precision> {
  static constexpr std::pair<std::string_view, Precision> table[] = {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}};
};

}  // namespace df
