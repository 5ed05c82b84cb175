// SPDX-License-Identifier: MIT
// NumPy's .npy arrays and .npz archives (libzip), for matrices, clips and exports.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Little-endian bool, int8..int64, uint8, float16/32/64, C order. Throws df::Error naming file, what was expected and got.
Tensor read_npy(const std::filesystem::path& path);
// Writes an array as .npy, whole or not at all.
void write_npy(const std::filesystem::path& path, const Tensor& array);

// All arrays of an archive by name (without ".npy"); `only` reads a single one.
std::map<std::string, Tensor> read_npz(const std::filesystem::path& path);
// One array of an .npz file, by name.
Tensor read_npz(const std::filesystem::path& path, const std::string& only);
void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& arrays);  // deflated, atomic

}  // namespace df
