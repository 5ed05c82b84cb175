// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/hdf5_file.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <utility>

#include "core/load_library.hpp"
#include "data/hdf5_backend.hpp"
#include "diffusion_forcing/core/error.hpp"

namespace df {

namespace {

std::unique_ptr<data::Hdf5Storage> open_storage(const std::filesystem::path& path, bool create) {
  static const auto open = reinterpret_cast<data::OpenHdf5>(
      library_function("libdiffusion_forcing_hdf5.so", data::hdf5_symbol, "HDF5 files need HDF5 (Debian: libhdf5-dev) and"));
  return std::unique_ptr<data::Hdf5Storage>(open(path, create));
}

// Where `wrong` [N, ...] is true, the first row and its value are named.
void check_none(const Tensor& wrong, const Tensor& numbers, const std::string& place, const char* expected) {
  if (!wrong.any().item<bool>()) return;
  throw Error(fmt::format("{}: row {}: expected {}, got {}", place, wrong.nonzero()[0][0].item<int64_t>(), expected,
                          numbers.masked_select(wrong)[0].item<double>()));
}

}  // namespace

Hdf5File::Hdf5File(std::unique_ptr<data::Hdf5Storage> storage) : storage_(std::move(storage)) {}
Hdf5File::~Hdf5File() = default;
Hdf5File::Hdf5File(Hdf5File&&) noexcept = default;

Hdf5File Hdf5File::open(const std::filesystem::path& path) { return Hdf5File(open_storage(path, false)); }
Hdf5File Hdf5File::create(const std::filesystem::path& path) { return Hdf5File(open_storage(path, true)); }

bool Hdf5File::has(const std::string& name) const { return storage_->has(name); }
std::vector<std::string> Hdf5File::list(const std::string& group) const { return storage_->list(group); }

Tensor Hdf5File::read_numbers(const std::string& name, const Shape& shape) const {
  const Tensor numbers = storage_->read(name, shape, data::Hdf5Kind::numbers);
  check_none(at::isfinite(numbers).logical_not(), numbers, storage_->path().string() + ": " + name, "finite numbers");
  return numbers;
}

Tensor Hdf5File::read_flags(const std::string& name, const Shape& shape) const {
  const Tensor numbers = storage_->read(name, shape, data::Hdf5Kind::flags);
  check_none(numbers.ne(0).logical_and(numbers.ne(1)), numbers, storage_->path().string() + ": " + name, "0 or 1");
  return numbers.to(at::kBool);
}

Tensor Hdf5File::read_bytes(const std::string& name, const Shape& shape) const {
  return storage_->read(name, shape, data::Hdf5Kind::bytes);
}

void Hdf5File::write(const std::string& name, const Tensor& array) { storage_->write(name, array); }

bool Hdf5File::has_attribute(const std::string& name, const std::string& attribute) const {
  return storage_->has_attribute(name, attribute);
}
int64_t Hdf5File::attribute_count(const std::string& name, const std::string& attribute) const {
  return storage_->attribute_count(name, attribute);
}
std::string Hdf5File::attribute_text(const std::string& name, const std::string& attribute) const {
  return storage_->attribute_text(name, attribute);
}
void Hdf5File::write_attribute(const std::string& name, const std::string& attribute, int64_t count) {
  storage_->write_attribute(name, attribute, count);
}
void Hdf5File::write_attribute(const std::string& name, const std::string& attribute, const std::string& text) {
  storage_->write_attribute(name, attribute, text);
}

void Hdf5File::close() { storage_->close(); }

}  // namespace df
