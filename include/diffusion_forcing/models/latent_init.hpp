// SPDX-License-Identifier: MIT
// Where z comes from before the first token.
#pragma once

#include "diffusion_forcing/core/enum_names.hpp"

namespace df {

enum class LatentInit {
  learned,  // one parameter `init_z`, the same for every sequence
  zero,
  encoded,  // an MLP `init_encoder` of TokenSpec::init_shape
};
template <>
struct EnumNames<LatentInit> {
  static constexpr std::pair<std::string_view, LatentInit> table[] = {
      {"learned", LatentInit::learned}, {"zero", LatentInit::zero}, {"encoded", LatentInit::encoded}};
};

}  // namespace df
