// SPDX-License-Identifier: MIT
// The kernels around the model call of a recorded sampling step against their plain twin.
#include "ops/cell_moves.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "sampling/cell_tables.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

using CellMoves = KernelTest;

// Cells that move, that are encoded, from noise, to clean, clean already and shown as noisier than they are; and two spare ones.
const PlanStep step = {{0, 4, 1000, 1000, 960, CellKind::update},
                       {0, 5, 500, 500, 300, CellKind::encode},
                       {0, 2, 20, 0, 0, CellKind::encode},
                       {0, 3, 40, 40, 0, CellKind::update}};

TEST_F(CellMoves, AreTheirTwin) {
  const int64_t batch = 3, slots = 6, cells = 6;
  for (const Space output : {Space::eps, Space::x0, Space::v})
    for (const bool ddpm : {false, true})
      for (const auto type : {at::kFloat, at::kBFloat16})
        for (const bool images : {false, true}) {
          SCOPED_TRACE(fmt::format("{} {} {} {}", enum_name(output), ddpm, toString(type), images));
          const Shape token = images ? Shape{12, 8, 6} : Shape{37}, latent = images ? Shape{16, 8, 6} : Shape{1};
          DiffusionConfig diffusion_config;
          diffusion_config.output = output;
          diffusion_config.clip_noise = 1.5;
          const auto diffusion = make_diffusion(diffusion_config);
          SamplerConfig config;
          config.solver = ddpm ? Solver::ddpm : Solver::ddim;
          config.clip_x0 = ddpm ? 0.8 : 0.0;
          CellTables tables(diffusion, config);
          const Tensor table = tables.of(step, cells, slots);
          uint64_t seed = 1;
          const auto normal = [&](const Shape& sizes) { return seeded_normal(sizes, seed++); };
          const auto shape_of = [](std::initializer_list<int64_t> first, const Shape& rest) { return shape(Shape(first), rest); };
          const StepBuffers here{normal(shape_of({batch, slots + 1}, token)), normal(shape_of({batch, slots + 2}, latent)), {}};
          const StepBuffers there{here.x.to(cuda_->device()), here.z.to(cuda_->device()), {}};
          const auto expected = ops::gather_cells(table, here.x, here.z),
                     found = ops::gather_cells(table.to(cuda_->device()), there.x, there.z);
          EXPECT_TRUE(identical(found.shown.cpu(), expected.shown));
          EXPECT_TRUE(identical(found.z.cpu(), expected.z));
          EXPECT_TRUE(identical(found.level.cpu(), expected.level));
          Tensor prediction = normal(shape_of({batch * cells}, token)).to(type), z = normal(shape_of({batch * cells}, latent)).to(type);
          const Tensor noise = ddpm ? normal(shape_of({batch, cells}, token)) : Tensor();
          const ops::CellBounds& bounds = tables.bounds();
          ops::move_cells(table, {expected.shown, prediction, z, noise}, bounds, here.x, here.z);
          const auto on_device = [&](const Tensor& x) {
            const Tensor moved = x.to(cuda_->device());
            return images ? moved.contiguous(at::MemoryFormat::ChannelsLast) : moved;
          };
          ops::move_cells(table.to(cuda_->device()),
                          {found.shown, on_device(prediction), on_device(z), ddpm ? noise.to(cuda_->device()) : Tensor()}, bounds, there.x,
                          there.z);
          EXPECT_TRUE(close(there.x.narrow(1, 0, slots).cpu(), here.x.narrow(1, 0, slots), 1e-5));
          EXPECT_TRUE(identical(there.z.narrow(1, 0, slots + 1).cpu(), here.z.narrow(1, 0, slots + 1)));
        }
}

}  // namespace
}  // namespace df::test
