// SPDX-License-Identifier: MIT
// Turns errors of the parts of an experiment into errors of the experiment itself.
#pragma once

#include "diffusion_forcing/config/experiment.hpp"

namespace df {

// Calls `f`; a df::Error that it throws becomes a ConfigError with the same message.
template <class F>
auto with_config_errors(F&& f) {
  try {
    return f();
  } catch (const ConfigError&) {
    throw;
  } catch (const Error& error) {
    throw ConfigError(error.what());
  }
}

}  // namespace df
