// SPDX-License-Identifier: MIT
// What most users need: experiments and procedures, models and sampling, data and media.
#pragma once

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/config/procedures.hpp"
#include "diffusion_forcing/config/token_video.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/version.hpp"
#include "diffusion_forcing/data/data.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/diffusion/diffusion.hpp"
#include "diffusion_forcing/diffusion/loss.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/model.hpp"
#include "diffusion_forcing/sampling/guidance.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "diffusion_forcing/training/checkpoint.hpp"
#include "diffusion_forcing/training/trainer.hpp"
