// SPDX-License-Identifier: MIT
// The safetensors file format (u64 header length, JSON header, raw little-endian data), read strictly and written atomically.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// What is in a safetensors file: tensors by name, and free text.
struct SafeTensors {
  std::map<std::string, Tensor> tensors;        // on the CPU, contiguous, in the dtype of the file
  std::map<std::string, std::string> metadata;  // the header's __metadata__
};

// Throws df::Error naming the file and the tensor for: short file, header not JSON, repeated name, unknown dtype, offsets that
// overlap, leave holes or lie outside the data, sizes that do not match shape and dtype.
SafeTensors read_safetensors(const std::filesystem::path& path);

// Tensors on any device, in any layout; stored contiguous, widest elements first and then by name, so that all are aligned.
void write_safetensors(const std::filesystem::path& path, const SafeTensors& content);

}  // namespace df
