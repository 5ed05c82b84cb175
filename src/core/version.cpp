// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/version.hpp"

namespace df {

std::string version() { return DF_VERSION; }
std::string commit() { return DF_COMMIT; }

}  // namespace df
