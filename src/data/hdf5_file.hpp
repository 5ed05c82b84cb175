// SPDX-License-Identifier: MIT
// Arrays in HDF5 files. The only file pair that knows HDF5.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df::data {

// Every method throws df::Error naming the file and the data set. Threads may work on files of
// their own at once where HDF5 is built for threads, as Debian's is.
class Hdf5File {
 public:
  static Hdf5File open(const std::filesystem::path& path);
  static Hdf5File create(const std::filesystem::path& path);  // replaces what is there
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  bool has(const std::string& name) const;  // "observations", "infos/goal"
  // A negative entry of `shape` matches any size. Real numbers become float32, each of them finite.
  Tensor read_numbers(const std::string& name, const Shape& shape) const;
  // Booleans as h5py writes them, or numbers that are all 0 or 1 -> bool.
  Tensor read_flags(const std::string& name, const Shape& shape) const;
  // float32 or bool [N, ...] on the CPU, in chunks of rows, deflated. Groups are made. bool is h5py's.
  void write(const std::string& name, const Tensor& array);
  void close();  // what create() wrote is complete after it

 private:
  Hdf5File(std::filesystem::path path, int64_t file);
  Tensor read(const std::string& name, const Shape& shape, bool flags) const;
  std::filesystem::path path_;
  int64_t file_;
};

}  // namespace df::data
