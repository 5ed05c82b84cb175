// SPDX-License-Identifier: MIT
// What libdiffusion_forcing_hdf5 does for the core.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df::data {

enum class Hdf5Kind { numbers, flags, bytes };

// One open file. All throw df::Error; see Hdf5File.
class Hdf5Storage {
 public:
  virtual ~Hdf5Storage() = default;
  virtual const std::filesystem::path& path() const = 0;
  virtual bool has(const std::string& name) const = 0;
  virtual std::vector<std::string> list(const std::string& group) const = 0;
  // numbers and flags as float32, bytes as uint8; values as they are in the file.
  virtual Tensor read(const std::string& name, const Shape& expected, Hdf5Kind kind) const = 0;
  virtual void write(const std::string& name, const Tensor& array) = 0;
  virtual bool has_attribute(const std::string& name, const std::string& attribute) const = 0;
  virtual int64_t attribute_count(const std::string& name, const std::string& attribute) const = 0;
  virtual std::string attribute_text(const std::string& name, const std::string& attribute) const = 0;
  virtual void write_attribute(const std::string& name, const std::string& attribute, int64_t count) = 0;
  virtual void write_attribute(const std::string& name, const std::string& attribute, const std::string& text) = 0;
  virtual void close() = 0;
};

inline constexpr const char* hdf5_symbol = "df_open_hdf5";
// A new object; `create` replaces what is there.
using OpenHdf5 = Hdf5Storage* (*)(const std::filesystem::path& path, bool create);

}  // namespace df::data
