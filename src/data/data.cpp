// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/data.hpp"

#include <type_traits>

namespace df {

std::shared_ptr<const Dataset> make_dataset(const DataConfig& config, Split split) {
  return std::visit([&](const auto& chosen) { return make(chosen, split); }, config);
}

const Maze2dSource* maze2d_source(const DataConfig& config) {
  return std::visit(
      [](const auto& data) -> const Maze2dSource* {
        if constexpr (std::is_base_of_v<Maze2dSource, std::decay_t<decltype(data)>>) return &data;
        return nullptr;
      },
      config);
}

}  // namespace df
