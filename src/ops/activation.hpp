// SPDX-License-Identifier: MIT
// The nonlinearities that a norm may have behind it.
#pragma once

namespace df {

enum class Activation { silu, mish };

}  // namespace df
