// SPDX-License-Identifier: MIT
// What training and evaluation ask of a data set: sequences of tokens by index, from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/models/token_spec.hpp"

namespace df {

enum class Split { train, validation };
template <>
struct EnumNames<Split> {
  static constexpr std::pair<std::string_view, Split> table[] = {{"train", Split::train}, {"validation", Split::validation}};
};

// One sequence, or a batch of them with a leading [B]. Undefined tensors are absent.
struct Batch {
  Tensor x;      // [T, token...] normalised tokens, float32
  Tensor c;      // [T, C] external condition of each token
  Tensor mask;   // [T * F] 1 where a frame is real, 0 where it is padding
  Tensor init;   // [init...] what an encoded initial latent sees
  Tensor facts;  // [T * F, D] what else is known of each frame, such as where a camera was: for evaluation only
  Batch to(at::Device device) const;
  Batch slice(int64_t begin, int64_t end) const;  // of the leading dimension
};
// The fields of a batch by name. What goes through all of them goes through this list.
struct BatchField {
  const char* name;
  Tensor Batch::*tensor;
};
inline constexpr BatchField batch_fields[] = {
    {"x", &Batch::x}, {"c", &Batch::c}, {"mask", &Batch::mask}, {"init", &Batch::init}, {"facts", &Batch::facts}};

// Equal shapes; adds the leading [B]. pin_memory: into page-locked memory, which needs a CUDA device.
Batch stack(const std::vector<Batch>& samples, bool pin_memory = false);

// What the sequences of a data set are like: shapes, lengths, units.
struct DataSpec {
  TokenSpec token;
  int64_t tokens = 0;  // T of a training sequence
  double mean = 0.5;   // x = (raw - mean) / std
  double std = 0.5;
  // Where the D entries of a frame have statistics of their own (vectors of different quantities), [D] each: entry d is
  // (raw - frame_mean[d]) / frame_std[d], and mean and std are 0 and 1. Empty else.
  std::vector<double> frame_mean = {}, frame_std = {};
  template <class V>
  void visit(V&& v) {
    token.visit(v);
    v("tokens", tokens, "");
    v("mean", mean, "");
    v("std", std, "");
    v("frame_mean", frame_mean, "");
    v("frame_std", frame_std, "");
  }
};

// Sequences of tokens by index. The same object is used by several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual DataSpec spec() const = 0;
  virtual int64_t size() const = 0;  // distinct sequences; indices are 0 .. size() - 1
  // Thread-safe and a pure function of the index. `tokens` asks for another length than spec().tokens (0: that).
  // Throws df::Error naming the source where it cannot be had.
  virtual Batch get(int64_t index, int64_t tokens = 0) const = 0;
  virtual std::string describe() const = 0;  // one line for logs
};

}  // namespace df
