// SPDX-License-Identifier: MIT
// HDF5 files in robomimic's form: groups, images, attributes.
#include "diffusion_forcing/data/hdf5_file.hpp"

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df {

using test::error_of;
using test::identical;

TEST(Hdf5File, GroupsImagesAndAttributesAreReadBack) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "demos.hdf5";
  const Tensor images = at::arange(5 * 4 * 6 * 3).remainder(251).to(at::kByte).view({5, 4, 6, 3}), actions = seeded_normal({5, 7}, 1);
  {
    auto file = Hdf5File::create(path);
    file.write("data/demo_1/actions", actions);
    file.write("data/demo_0/obs/front_image", images);
    file.write_attribute("data", "env_args", std::string("{\"task\": \"swap\"}"));
    file.write_attribute("data/demo_0", "num_samples", int64_t{5});
    file.close();
  }
  const auto file = Hdf5File::open(path);
  EXPECT_EQ(file.list(""), (std::vector<std::string>{"data"}));
  EXPECT_EQ(file.list("data"), (std::vector<std::string>{"demo_0", "demo_1"}));
  EXPECT_TRUE(identical(file.read_bytes("data/demo_0/obs/front_image", {-1, 4, 6, 3}), images));
  EXPECT_TRUE(identical(file.read_numbers("data/demo_1/actions", {5, -1}), actions));
  EXPECT_EQ(file.attribute_text("data", "env_args"), "{\"task\": \"swap\"}");
  EXPECT_EQ(file.attribute_count("data/demo_0", "num_samples"), 5);
  EXPECT_TRUE(file.has_attribute("data", "env_args"));
  EXPECT_FALSE(file.has_attribute("data", "total"));
  EXPECT_FALSE(file.has_attribute("nothing", "total"));

  const std::string place = path.string() + ": ";
  EXPECT_EQ(error_of([&] {
              file.read_bytes("data/demo_1/actions", {-1, -1});
            }),
            place + "data/demo_1/actions: expected 8-bit numbers of shape [*, *], got float32 of shape [5, 7]");
  EXPECT_EQ(error_of([&] { file.list("data/demo_2"); }), place + "data/demo_2: expected a group, got none of that name");
  EXPECT_EQ(error_of([&] { file.attribute_count("data", "total"); }), place + "data@total: expected a whole number, got no such attribute");
  EXPECT_EQ(error_of([&] { file.attribute_count("data", "env_args"); }), place + "data@env_args: expected a whole number, got text");
  EXPECT_EQ(error_of([&] { file.attribute_text("data/demo_0", "num_samples"); }),
            place + "data/demo_0@num_samples: expected text, got int64");
}

}  // namespace df
