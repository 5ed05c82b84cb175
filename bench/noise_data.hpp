// SPDX-License-Identifier: MIT
// Sequences of noise as a data set: a network's work does not depend on what it sees, and making them must not be what is measured.
#pragma once

#include <cstdint>
#include <string>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df::bench {

class NoiseData final : public Dataset {
 public:
  NoiseData(const TokenSpec& token, int64_t tokens)
      : spec_{token, tokens, 0.5, 0.5}, x_(seeded_normal(shape({size(), tokens}, token.token_shape), 9)) {}
  DataSpec spec() const override { return spec_; }
  int64_t size() const override { return 8; }
  Batch get(int64_t index, int64_t) const override {
    Batch batch;
    batch.x = x_[index];
    if (spec_.token.condition_dim > 0) batch.c = seeded_normal({spec_.tokens, spec_.token.condition_dim}, 10);
    return batch;
  }
  std::string describe() const override { return "noise"; }

 private:
  DataSpec spec_;
  Tensor x_;  // [sequences, T, token...]
};

}  // namespace df::bench
