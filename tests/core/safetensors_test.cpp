// SPDX-License-Identifier: MIT
#include "diffusion_forcing/core/safetensors.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;
using test::TemporaryFolder;

// A file of the given header and data, byte by byte.
fs::path write_raw(const TemporaryFolder& folder, const std::string& header, const std::string& data) {
  const fs::path path = folder.path() / "raw.safetensors";
  std::ofstream out(path, std::ios::binary);
  const uint64_t length = header.size();
  out.write(reinterpret_cast<const char*>(&length), 8);
  out << header << data;
  return path;
}

std::string error_of_raw(const std::string& header, const std::string& data) {
  const TemporaryFolder folder;
  return error_of([&] { read_safetensors(write_raw(folder, header, data)); });
}

TEST(SafeTensors, ReadsTheFormatByteByByte) {
  const TemporaryFolder folder;
  const std::string data("\x01\x00\x00\x00\xff\xff\xff\xff\x80\x3f", 10);
  const auto content = read_safetensors(write_raw(
      folder,
      R"({"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"__metadata__":{"k":"v"},"a":{"dtype":"I32","shape":[2,1],"data_offsets":[0,8]}}  )",
      data));
  ASSERT_EQ(content.tensors.size(), 2u);
  EXPECT_TRUE(identical(content.tensors.at("a"), at::tensor({1, -1}, at::kInt).view({2, 1})));
  EXPECT_TRUE(identical(content.tensors.at("b"), at::ones({}, at::kBFloat16)));
  EXPECT_EQ(content.metadata, (std::map<std::string, std::string>{{"k", "v"}}));
}

TEST(SafeTensors, KeepsEveryTypeShapeAndBit) {
  const TemporaryFolder folder;
  SafeTensors content;
  const auto base = seeded_normal({3, 5}, 1) * 50;
  for (const auto dtype :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble})
    content.tensors[c10::toString(dtype)] = base.abs().to(dtype);
  content.tensors["scalar"] = at::full({}, 2.5);
  content.tensors["empty"] = at::empty({0, 4}, at::kFloat);
  content.tensors["transposed"] = base.t();
  content.tensors["strided"] = base.slice(1, 0, 5, 2);
  content.tensors["not finite"] = at::tensor({INFINITY, -INFINITY, -0.0f});
  content.metadata = {{"config", R"({"a": [1, "ü"]})"}, {"empty", ""}};
  const fs::path path = folder.path() / "deep" / "all.safetensors";
  write_safetensors(path, content);
  const auto back = read_safetensors(path);
  EXPECT_EQ(back.metadata, content.metadata);
  ASSERT_EQ(back.tensors.size(), content.tensors.size());
  for (const auto& [name, tensor] : content.tensors) EXPECT_TRUE(identical(back.tensors.at(name), tensor)) << name;
  EXPECT_TRUE(back.tensors.at("transposed").is_contiguous());
}

TEST(SafeTensors, WritesParametersWithoutTheirGraph) {
  const TemporaryFolder folder;
  const auto weight = seeded_normal({2, 2}, 3).requires_grad_(true);
  write_safetensors(folder.path() / "w", {{{"w", weight}}, {}});
  const auto back = read_safetensors(folder.path() / "w").tensors.at("w");
  EXPECT_FALSE(back.requires_grad());
  EXPECT_TRUE(identical(back, weight.detach()));
}

TEST(SafeTensors, AlignsEveryTensor) {
  const TemporaryFolder folder;
  write_safetensors(folder.path() / "a", {{{"a", at::ones({3}, at::kByte)}, {"b", at::ones({3}, at::kDouble)}, {"c", at::ones({1})}}, {}});
  const std::string bytes = read_file(folder.path() / "a");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  EXPECT_NE(bytes.find(R"("b":{"data_offsets":[0,24])"), std::string::npos) << bytes.substr(8, header);
  EXPECT_EQ(bytes.size(), 8 + header + 24 + 4 + 3);
}

TEST(SafeTensors, RefusesBrokenFiles) {
  const TemporaryFolder folder;
  const fs::path missing = folder.path() / "missing.safetensors";
  EXPECT_NE(error_of([&] { read_safetensors(missing); }).find(missing.string()), std::string::npos);
  write_atomically(folder.path() / "short", "abc");
  EXPECT_NE(error_of([&] { read_safetensors(folder.path() / "short"); }).find("at least 8 bytes, got 3"), std::string::npos);
  write_atomically(folder.path() / "text", "this is not a tensor file");
  EXPECT_NE(error_of([&] { read_safetensors(folder.path() / "text"); }).find("not a safetensors file"), std::string::npos);
  EXPECT_NE(error_of_raw("{\"a\":", "").find("not JSON"), std::string::npos);
  EXPECT_NE(error_of_raw("[1]", "").find("expected a JSON object"), std::string::npos);
}

TEST(SafeTensors, RefusesBrokenEntries) {
  const std::string eight(8, 'x');
  const auto header = [](const std::string& a, const std::string& b = "") {
    return R"({"a":)" + a + (b.empty() ? "" : R"(,"b":)" + b) + "}";
  };
  const auto expect = [&](const std::string& text, const std::string& message) {
    const std::string error = error_of_raw(text, eight);
    EXPECT_NE(error.find(message), std::string::npos) << error;
  };
  const std::string whole = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string first = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})",
                    last = R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})";
  expect(header(R"({"dtype":"F7","shape":[2],"data_offsets":[0,8]})"), "tensor a: unknown dtype \"F7\"");
  expect(header(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), "tensor a: data_offsets: expected 12 bytes");
  expect(header(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "tensor a: shape: expected a list of sizes");
  expect(header(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), "tensor a: data_offsets: expected 8 bytes");
  expect(header(R"({"dtype":"F32","shape":[2]})"), "tensor a: expected dtype, shape and data_offsets");
  expect(header(R"({"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,8]})"), "is too large");
  expect(header(whole, last), "overlaps another tensor");
  expect(header(last), "leaves a hole");
  expect(header(first), "expected 4 bytes of data, got 8");
  expect(header(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})"), "the file is cut short");
  expect(R"({"a":)" + first + R"(,"a":)" + last + "}", "tensor a appears twice");
  expect(R"({"__metadata__":{"k":1},"a":)" + whole + "}", "__metadata__: k: expected a string, got 1");
}

TEST(SafeTensors, LeavesTheOldFileWhenWritingFails) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a.safetensors";
  write_safetensors(path, {{{"a", at::ones({2})}}, {}});
  const auto complex = error_of([&] { write_safetensors(path, {{{"a", at::ones({2}, at::kComplexFloat)}}, {}}); });
  EXPECT_NE(complex.find("tensor a: dtype ComplexFloat cannot be stored"), std::string::npos) << complex;
  EXPECT_NE(error_of([&] { write_safetensors(path, {{{"b", Tensor()}}, {}}); }).find("tensor b is undefined"), std::string::npos);
  EXPECT_NE(error_of([&] { write_safetensors(path, {{{"b", at::ones({1})}}, {{"k", "\xff"}}}); }).find("UTF-8"), std::string::npos);
  EXPECT_TRUE(identical(read_safetensors(path).tensors.at("a"), at::ones({2})));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace df
