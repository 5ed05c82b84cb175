// SPDX-License-Identifier: MIT
#include "data/hdf5_file.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"

namespace df::data {

namespace {

constexpr hsize_t chunk_rows = 16384;
constexpr unsigned deflate_level = 4;  // h5py's

// Without it the library prints its own errors.
class Quiet {
 public:
  Quiet() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Quiet() { H5Eset_auto2(H5E_DEFAULT, print_, data_); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* data_ = nullptr;
};

// An identifier that is given back at the end of its scope.
class Handle {
 public:
  Handle(hid_t id, herr_t (*release)(hid_t)) : id_(id), release_(release) {}
  ~Handle() {
    if (id_ >= 0) release_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*release_)(hid_t);
};

std::string type_text(hid_t type) {
  const char* kind = "another type";
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      kind = "float";
      break;
    case H5T_INTEGER:
      kind = "int";
      break;
    case H5T_ENUM:
      kind = "enum";
      break;
    case H5T_STRING:
      return "text";
    case H5T_COMPOUND:
      return "compound";
    default:
      return kind;
  }
  return fmt::format("{}{}", kind, 8 * H5Tget_size(type));
}

Shape shape_of(hid_t space) {
  const int dims = H5Sget_simple_extent_ndims(space);
  std::vector<hsize_t> sizes(static_cast<size_t>(std::max(dims, 0)));
  if (dims > 0) H5Sget_simple_extent_dims(space, sizes.data(), nullptr);
  return {sizes.begin(), sizes.end()};
}

bool matches(const Shape& shape, const Shape& expected) {
  if (shape.size() != expected.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (expected[i] >= 0 && shape[i] != expected[i]) return false;
  return true;
}

// numpy's bool as h5py stores it.
hid_t make_bool_type() {
  const hid_t type = H5Tenum_create(H5T_NATIVE_INT8);
  for (const int8_t value : {int8_t{0}, int8_t{1}}) H5Tenum_insert(type, value ? "TRUE" : "FALSE", &value);
  return type;
}

}  // namespace

Hdf5File::Hdf5File(std::filesystem::path path, int64_t file) : path_(std::move(path)), file_(file) {}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
  const Quiet quiet;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) throw Error(path.string() + ": no such file; expected an HDF5 file");
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0) throw Error(path.string() + ": expected an HDF5 file, got other or incomplete content");
  return {path, file};
}

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
  const Quiet quiet;
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  if (file < 0) throw Error(path.string() + ": cannot be created");
  return {path, file};
}

Hdf5File::~Hdf5File() {
  const Quiet quiet;
  if (file_ >= 0) H5Fclose(file_);
}

void Hdf5File::close() {
  const Quiet quiet;
  const bool complete = H5Fflush(file_, H5F_SCOPE_LOCAL) >= 0;
  const bool closed = H5Fclose(file_) >= 0;
  file_ = -1;
  if (!complete || !closed) throw Error(path_.string() + ": cannot be written to its end; is the disk full?");
}

bool Hdf5File::has(const std::string& name) const {
  const Quiet quiet;
  for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
    if (H5Lexists(file_, name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
}

Tensor Hdf5File::read(const std::string& name, const Shape& expected, bool flags) const {
  const Quiet quiet;
  const std::string place = path_.string() + ": " + name;
  const char* kind = flags ? "booleans, or numbers 0 and 1" : "real numbers";
  const auto fail = [&](const std::string& got) {
    return Error(fmt::format("{}: expected {} of shape {}, got {}", place, kind, to_string(expected), got));
  };
  if (!has(name)) throw fail("no such data set");
  const Handle set(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (set < 0) throw fail("something that is not a data set");
  const Handle type(H5Dget_type(set), H5Tclose), space(H5Dget_space(set), H5Sclose);
  const H5T_class_t type_class = H5Tget_class(type);
  const Shape shape = shape_of(space);
  const bool fits = type_class == H5T_FLOAT || (flags && (type_class == H5T_INTEGER || type_class == H5T_ENUM));
  if (!fits || !matches(shape, expected)) throw fail(fmt::format("{} of shape {}", type_text(type), to_string(shape)));
  Tensor numbers = at::empty(shape, at::kFloat);
  if (numbers.numel() > 0 && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.mutable_data_ptr<float>()) < 0)
    throw Error(place + ": cannot be read; expected whole data, is the file cut off?");
  return numbers;
}

Tensor Hdf5File::read_numbers(const std::string& name, const Shape& shape) const {
  const Tensor numbers = read(name, shape, false);
  const Tensor wrong = at::isfinite(numbers).logical_not();
  if (wrong.any().item<bool>()) {
    const Tensor first = wrong.nonzero()[0];
    throw Error(fmt::format("{}: {}: row {}: expected finite numbers, got {}", path_.string(), name, first[0].item<int64_t>(),
                            numbers.masked_select(wrong)[0].item<double>()));
  }
  return numbers;
}

Tensor Hdf5File::read_flags(const std::string& name, const Shape& shape) const {
  const Tensor numbers = read(name, shape, true);
  const Tensor wrong = numbers.ne(0).logical_and(numbers.ne(1));
  if (wrong.any().item<bool>())
    throw Error(fmt::format("{}: {}: row {}: expected 0 or 1, got {}", path_.string(), name, wrong.nonzero()[0][0].item<int64_t>(),
                            numbers.masked_select(wrong)[0].item<double>()));
  return numbers.to(at::kBool);
}

void Hdf5File::write(const std::string& name, const Tensor& array) {
  const Quiet quiet;
  const std::string place = path_.string() + ": " + name;
  const bool flags = array.scalar_type() == at::kBool;
  if (!flags && array.scalar_type() != at::kFloat)
    throw Error(fmt::format("{}: expected float32 or bool to write, got {}", place, c10::toString(array.scalar_type())));
  const Tensor rows = array.cpu().contiguous();
  std::vector<hsize_t> sizes(rows.sizes().begin(), rows.sizes().end()), chunk = sizes;
  if (sizes.empty() || rows.numel() == 0)
    throw Error(fmt::format("{}: expected rows to write, got shape {}", place, to_string(array.sizes().vec())));
  chunk[0] = std::min(chunk[0], chunk_rows);
  const Handle type(flags ? make_bool_type() : H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  const Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose), layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links, 1);
  H5Pset_chunk(layout, static_cast<int>(chunk.size()), chunk.data());
  H5Pset_deflate(layout, deflate_level);
  const Handle set(H5Dcreate2(file_, name.c_str(), type, space, links, layout, H5P_DEFAULT), H5Dclose);
  const hid_t memory = flags ? static_cast<hid_t>(type) : H5T_NATIVE_FLOAT;
  if (set < 0 || H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows.const_data_ptr()) < 0)
    throw Error(place + ": cannot be written; is the disk full?");
}

}  // namespace df::data
