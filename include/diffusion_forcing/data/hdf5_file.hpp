// SPDX-License-Identifier: MIT
// Arrays and attributes in HDF5 files, as D4RL, robomimic and h5py write them. Needs libdiffusion_forcing_hdf5, which is loaded when the
// first file is opened.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df {

namespace data {
class Hdf5Storage;
}

// Names are paths: "observations", "data/demo_0/actions"; "" is the file itself. Every method throws df::Error naming the file and what was
// asked for. Threads may work on files of their own at once where HDF5 is built for threads, as Debian's is.
class Hdf5File {
 public:
  // Throws df::Error also where the library, or HDF5 itself (Debian's package libhdf5-103-1), is not installed.
  static Hdf5File open(const std::filesystem::path& path);
  static Hdf5File create(const std::filesystem::path& path);  // replaces what is there
  ~Hdf5File();
  Hdf5File(Hdf5File&&) noexcept;
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  bool has(const std::string& name) const;
  std::vector<std::string> list(const std::string& group) const;  // what a group holds, in order of names

  // A negative entry of `shape` matches any size. Real numbers become float32, each of them finite.
  Tensor read_numbers(const std::string& name, const Shape& shape) const;
  // Booleans as h5py writes them, or numbers that are all 0 or 1 -> bool.
  Tensor read_flags(const std::string& name, const Shape& shape) const;
  Tensor read_bytes(const std::string& name, const Shape& shape) const;  // images: 8-bit numbers without a sign -> uint8
  // float32, bool or uint8 [N, ...] on the CPU, in chunks of rows, deflated. Groups are made. bool is h5py's.
  void write(const std::string& name, const Tensor& array);

  // Of a group or a data set.
  bool has_attribute(const std::string& name, const std::string& attribute) const;
  int64_t attribute_count(const std::string& name, const std::string& attribute) const;     // a whole number
  std::string attribute_text(const std::string& name, const std::string& attribute) const;  // UTF-8
  void write_attribute(const std::string& name, const std::string& attribute, int64_t count);
  void write_attribute(const std::string& name, const std::string& attribute, const std::string& text);

  void close();  // what create() wrote is complete after it

 private:
  explicit Hdf5File(std::unique_ptr<data::Hdf5Storage> storage);
  std::unique_ptr<data::Hdf5Storage> storage_;
};

}  // namespace df
