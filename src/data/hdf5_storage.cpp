// SPDX-License-Identifier: MIT
// HDF5 behind the plain interface of hdf5_backend.hpp.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>

#include "data/hdf5_backend.hpp"
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

// Of a read of `kind`: what messages expect, and whether a type of this class will do.
const char* wanted(Hdf5Kind kind) {
  return kind == Hdf5Kind::numbers ? "real numbers" : kind == Hdf5Kind::flags ? "booleans, or numbers 0 and 1" : "8-bit numbers";
}
bool fits(hid_t type, Hdf5Kind kind) {
  const H5T_class_t type_class = H5Tget_class(type);
  if (kind == Hdf5Kind::bytes) return type_class == H5T_INTEGER && H5Tget_size(type) == 1 && H5Tget_sign(type) == H5T_SGN_NONE;
  return type_class == H5T_FLOAT || (kind == Hdf5Kind::flags && (type_class == H5T_INTEGER || type_class == H5T_ENUM));
}

hid_t make_text_type() {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

const char* path_in_file(const std::string& name) { return name.empty() ? "/" : name.c_str(); }

class Storage final : public Hdf5Storage {
 public:
  Storage(std::filesystem::path path, hid_t file) : path_(std::move(path)), file_(file) {}
  ~Storage() override {
    const Quiet quiet;
    if (file_ >= 0) H5Fclose(file_);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  const std::filesystem::path& path() const override { return path_; }
  bool has(const std::string& name) const override;
  std::vector<std::string> list(const std::string& group) const override;
  Tensor read(const std::string& name, const Shape& expected, Hdf5Kind kind) const override;
  void write(const std::string& name, const Tensor& array) override;
  bool has_attribute(const std::string& name, const std::string& attribute) const override;
  int64_t attribute_count(const std::string& name, const std::string& attribute) const override;
  std::string attribute_text(const std::string& name, const std::string& attribute) const override;
  void write_attribute(const std::string& name, const std::string& attribute, int64_t count) override;
  void write_attribute(const std::string& name, const std::string& attribute, const std::string& text) override;
  void close() override;

 private:
  std::string place(const std::string& name, const std::string& attribute) const {
    return fmt::format("{}: {}@{}", path_.string(), name, attribute);
  }
  void write_attribute(const std::string& name, const std::string& attribute, hid_t type, const void* value);
  std::filesystem::path path_;
  hid_t file_;
};

void Storage::close() {
  const Quiet quiet;
  const bool complete = H5Fflush(file_, H5F_SCOPE_LOCAL) >= 0;
  const bool closed = H5Fclose(file_) >= 0;
  file_ = -1;
  if (!complete || !closed) throw Error(path_.string() + ": cannot be written to its end; is the disk full?");
}

bool Storage::has(const std::string& name) const {
  const Quiet quiet;
  if (name.empty()) return true;
  for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1))
    if (H5Lexists(file_, name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
}

std::vector<std::string> Storage::list(const std::string& group) const {
  const Quiet quiet;
  const Handle opened(has(group) ? H5Gopen2(file_, path_in_file(group), H5P_DEFAULT) : H5I_INVALID_HID, H5Gclose);
  if (opened < 0) throw Error(fmt::format("{}: {}: expected a group, got none of that name", path_.string(), group));
  std::vector<std::string> names;
  const auto note = [](hid_t, const char* name, const H5L_info_t*, void* to) -> herr_t {
    static_cast<std::vector<std::string>*>(to)->emplace_back(name);
    return 0;
  };
  if (H5Literate(opened, H5_INDEX_NAME, H5_ITER_INC, nullptr, note, &names) < 0)
    throw Error(fmt::format("{}: {}: cannot be listed", path_.string(), group));
  return names;
}

Tensor Storage::read(const std::string& name, const Shape& expected, Hdf5Kind kind) const {
  const Quiet quiet;
  const std::string place = path_.string() + ": " + name;
  const auto fail = [&](const std::string& got) {
    return Error(fmt::format("{}: expected {} of shape {}, got {}", place, wanted(kind), to_string(expected), got));
  };
  if (!has(name)) throw fail("no such data set");
  const Handle set(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (set < 0) throw fail("something that is not a data set");
  const Handle type(H5Dget_type(set), H5Tclose), space(H5Dget_space(set), H5Sclose);
  const Shape shape = shape_of(space);
  if (!fits(type, kind) || !matches(shape, expected)) throw fail(fmt::format("{} of shape {}", type_text(type), to_string(shape)));
  const bool bytes = kind == Hdf5Kind::bytes;
  const Tensor numbers = at::empty(shape, bytes ? at::kByte : at::kFloat);
  const hid_t memory = bytes ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT;
  if (numbers.numel() > 0 && H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.mutable_data_ptr()) < 0)
    throw Error(place + ": cannot be read; expected whole data, is the file cut off?");
  return numbers;
}

void Storage::write(const std::string& name, const Tensor& array) {
  const Quiet quiet;
  const std::string place = path_.string() + ": " + name;
  const bool flags = array.scalar_type() == at::kBool, bytes = array.scalar_type() == at::kByte;
  if (!flags && !bytes && array.scalar_type() != at::kFloat)
    throw Error(fmt::format("{}: expected float32, bool or uint8 to write, got {}", place, c10::toString(array.scalar_type())));
  const Tensor rows = array.cpu().contiguous();
  std::vector<hsize_t> sizes(rows.sizes().begin(), rows.sizes().end()), chunk = sizes;
  if (sizes.empty() || rows.numel() == 0)
    throw Error(fmt::format("{}: expected rows to write, got shape {}", place, to_string(array.sizes().vec())));
  chunk[0] = std::min(chunk[0], chunk_rows);
  const Handle type(flags ? make_bool_type() : H5Tcopy(bytes ? H5T_STD_U8LE : H5T_IEEE_F32LE), H5Tclose);
  const Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose), layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links, 1);
  H5Pset_chunk(layout, static_cast<int>(chunk.size()), chunk.data());
  H5Pset_deflate(layout, deflate_level);
  const Handle set(H5Dcreate2(file_, name.c_str(), type, space, links, layout, H5P_DEFAULT), H5Dclose);
  const hid_t memory = flags ? static_cast<hid_t>(type) : bytes ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT;
  if (set < 0 || H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows.const_data_ptr()) < 0)
    throw Error(place + ": cannot be written; is the disk full?");
}

bool Storage::has_attribute(const std::string& name, const std::string& attribute) const {
  const Quiet quiet;
  return has(name) && H5Aexists_by_name(file_, path_in_file(name), attribute.c_str(), H5P_DEFAULT) > 0;
}

int64_t Storage::attribute_count(const std::string& name, const std::string& attribute) const {
  const Quiet quiet;
  const bool there = has_attribute(name, attribute);
  const Handle opened(there ? H5Aopen_by_name(file_, path_in_file(name), attribute.c_str(), H5P_DEFAULT, H5P_DEFAULT) : H5I_INVALID_HID,
                      H5Aclose);
  if (opened < 0) throw Error(place(name, attribute) + ": expected a whole number, got no such attribute");
  const Handle type(H5Aget_type(opened), H5Tclose), space(H5Aget_space(opened), H5Sclose);
  int64_t count = 0;
  if (H5Tget_class(type) != H5T_INTEGER || H5Sget_simple_extent_npoints(space) != 1 || H5Aread(opened, H5T_NATIVE_INT64, &count) < 0)
    throw Error(fmt::format("{}: expected a whole number, got {}", place(name, attribute), type_text(type)));
  return count;
}

std::string Storage::attribute_text(const std::string& name, const std::string& attribute) const {
  const Quiet quiet;
  const bool there = has_attribute(name, attribute);
  const Handle opened(there ? H5Aopen_by_name(file_, path_in_file(name), attribute.c_str(), H5P_DEFAULT, H5P_DEFAULT) : H5I_INVALID_HID,
                      H5Aclose);
  if (opened < 0) throw Error(place(name, attribute) + ": expected text, got no such attribute");
  const Handle type(H5Aget_type(opened), H5Tclose), space(H5Aget_space(opened), H5Sclose);
  if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
    throw Error(fmt::format("{}: expected text, got {}", place(name, attribute), type_text(type)));
  if (H5Tis_variable_str(type) > 0) {
    char* text = nullptr;
    if (H5Aread(opened, type, &text) < 0) throw Error(place(name, attribute) + ": cannot be read");
    const std::string copy = text ? text : "";
    H5free_memory(text);
    return copy;
  }
  std::string text(H5Tget_size(type), '\0');
  if (H5Aread(opened, type, text.data()) < 0) throw Error(place(name, attribute) + ": cannot be read");
  return text.substr(0, text.find('\0'));
}

void Storage::write_attribute(const std::string& name, const std::string& attribute, hid_t type, const void* value) {
  const Quiet quiet;
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle made(
      has(name) ? H5Acreate_by_name(file_, path_in_file(name), attribute.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)
                : H5I_INVALID_HID,
      H5Aclose);
  if (made < 0 || H5Awrite(made, type, value) < 0)
    throw Error(place(name, attribute) + ": cannot be written; expected a group or a data set that is there, without this attribute");
}

void Storage::write_attribute(const std::string& name, const std::string& attribute, int64_t count) {
  write_attribute(name, attribute, H5T_NATIVE_INT64, &count);
}

void Storage::write_attribute(const std::string& name, const std::string& attribute, const std::string& text) {
  const Handle type(make_text_type(), H5Tclose);
  const char* value = text.c_str();
  write_attribute(name, attribute, type, &value);
}

}  // namespace

}  // namespace df::data

extern "C" __attribute__((visibility("default"))) df::data::Hdf5Storage* df_open_hdf5(const std::filesystem::path& path, bool create) {
  using namespace df::data;
  const Quiet quiet;
  std::error_code ignored;
  if (!create && !std::filesystem::exists(path, ignored)) throw df::Error(path.string() + ": no such file; expected an HDF5 file");
  const hid_t file =
      create ? H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT) : H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0)
    throw df::Error(path.string() + (create ? ": cannot be created" : ": expected an HDF5 file, got other or incomplete content"));
  return new Storage(path, file);
}
