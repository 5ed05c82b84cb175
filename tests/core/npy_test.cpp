// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/npy.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;

// A version-1 array file as NumPy writes it, with any dictionary.
std::string npy(const std::string& dictionary, const std::string& data, char version = 1) {
  std::string header = dictionary;
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string file = "\x93NUMPY";
  file += {version, '\0', static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)};
  if (version > 1) file += std::string(2, '\0');
  return file + header + data;
}

class Npy : public ::testing::Test {
 protected:
  std::filesystem::path file(const std::string& content, const std::string& name = "a.npy") {
    write_atomically(folder_.path() / name, content);
    return folder_.path() / name;
  }
  bool says(const std::string& content, const std::string& part) {
    const auto path = file(content);
    const std::string message = error_of([&] { read_npy(path); });
    const bool right = message.find(path.string()) != std::string::npos && message.find(part) != std::string::npos;
    if (!right) ADD_FAILURE() << "'" << message << "' does not name the file and '" << part << "'";
    return right;
  }
  test::TemporaryFolder folder_;
};

TEST_F(Npy, EveryDtypeAndShapeComesBack) {
  for (const auto type : {at::kBool, at::kChar, at::kByte, at::kShort, at::kInt, at::kLong, at::kHalf, at::kFloat, at::kDouble})
    for (const auto& sizes : {std::vector<int64_t>{}, {5}, {2, 3, 4}, {0, 3}}) {
      const Tensor array = (at::rand(sizes) * 200 - (type == at::kByte ? 0 : 100)).to(type);
      write_npy(folder_.path() / "a.npy", array);
      EXPECT_TRUE(identical(read_npy(folder_.path() / "a.npy"), array));
    }
}

TEST_F(Npy, ViewsAreWrittenInOrder) {
  const Tensor array = at::arange(12).reshape({3, 4}).t();
  write_npy(folder_.path() / "a.npy", array);
  EXPECT_TRUE(identical(read_npy(folder_.path() / "a.npy"), array));
}

TEST_F(Npy, ReadsWhatNumPyWrites) {
  const std::string data("\1\0\2\0\3\0\4\0\5\0\6\0", 12);
  const Tensor rows = at::arange(1, 7).to(at::kShort).reshape({2, 3});
  const std::string c = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }";
  EXPECT_TRUE(identical(read_npy(file(npy(c, data))), rows));
  EXPECT_TRUE(identical(read_npy(file(npy(c, data, 2))), rows));
  // The same bytes in Fortran order run down the columns.
  const std::string f = "{'descr': '<i2', 'fortran_order': True, 'shape': (3, 2), }";
  EXPECT_TRUE(identical(read_npy(file(npy(f, data))), rows.t().contiguous()));
  EXPECT_TRUE(identical(read_npy(file(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "abc"))),
                        at::tensor({'a', 'b', 'c'}).to(at::kByte)));
}

TEST_F(Npy, ErrorsNameFileExpectedAndGot) {
  const std::string data(24, '\0');
  says(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (6,), }", data), ">f4 (big-endian)");
  says(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", data), "got <c8");
  says(npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (6,), }", data), "got [('x'");
  says(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }", data),
       "truncated: expected 28 bytes of data for Float [7], got 24");
  says(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }", data), "too long: expected 20 bytes");
  says(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-6,), }", data), "expected a .npy shape");
  says(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", data), "too large");
  says(npy("{'descr': '<f4', 'fortran_order': False, }", data), "'shape'");
  says(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", data, 9), "version");
  says(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", data).substr(0, 40), "truncated: expected a header");
  says("not an array, only text", "magic");
  says("", "got 0 bytes");
  EXPECT_NE(error_of([&] { read_npy(folder_.path() / "absent.npy"); }).find("absent.npy"), std::string::npos);
  EXPECT_NE(error_of([&] { write_npy(folder_.path() / "b.npy", at::zeros({2}, at::kBFloat16)); }).find("BFloat16"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "b.npy"));
}

TEST_F(Npy, ArchivesComeBackDeflated) {
  const auto path = folder_.path() / "a.npz";
  const std::map<std::string, Tensor> arrays{{"video", at::zeros({50, 8, 8, 3}, at::kByte)}, {"actions", at::arange(50)}};
  write_npz(path, arrays);
  EXPECT_LT(std::filesystem::file_size(path), 3000);  // 9600 + 400 bytes as they are
  const auto read = read_npz(path);
  ASSERT_EQ(read.size(), 2);
  for (const auto& [name, array] : arrays) {
    EXPECT_TRUE(identical(read.at(name), array));
    EXPECT_TRUE(identical(read_npz(path, name), array));
  }
}

TEST_F(Npy, ArchivesDoNotDependOnTheClock) {
  const auto path = folder_.path() / "a.npz";
  write_npz(path, {{"video", at::zeros({4}, at::kByte)}});
  const std::string bytes = read_file(path);
  ASSERT_EQ(bytes.substr(0, 4), "PK\x03\x04");
  EXPECT_EQ(bytes.substr(10, 4), std::string("\0\0\x21\0", 4));  // 1980-01-01 00:00:00 in the local header
  write_npz(path, {{"video", at::zeros({4}, at::kByte)}});
  EXPECT_EQ(read_file(path), bytes);
}

TEST_F(Npy, ArchiveErrors) {
  const auto path = folder_.path() / "a.npz";
  write_npz(path, {{"video", at::randint(256, {4000}, at::kByte)}});
  const std::string message = error_of([&] { read_npz(path, "actions"); });
  EXPECT_NE(message.find("'actions', got: video"), std::string::npos) << message;
  std::string bytes = read_file(path);
  const auto damaged = file(bytes.substr(0, bytes.size() / 2), "half.npz");
  EXPECT_NE(error_of([&] { read_npz(damaged); }).find("half.npz"), std::string::npos);
  bytes[2000] ^= 0x10;  // inside the data: only the checksum or the inflater can tell
  const auto flipped = file(bytes, "flipped.npz");
  EXPECT_NE(error_of([&] { read_npz(flipped, "video"); }).find("damaged"), std::string::npos);
  EXPECT_NE(error_of([&] { read_npz(file("text", "text.npz")); }).find("text.npz"), std::string::npos);
  EXPECT_NE(error_of([&] { read_npz(folder_.path() / "absent.npz"); }).find("no such file"), std::string::npos);
}

}  // namespace
}  // namespace df
