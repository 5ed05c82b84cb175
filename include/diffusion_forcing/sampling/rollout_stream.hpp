// SPDX-License-Identifier: MIT
// Generation of one token after the other, with conditions as they come, in constant memory: for policies, for worlds that somebody plays
// in, and for searches that branch. rollout() is a loop over it.
//
//   RolloutStream stream(model, diffusion, config, /*batch=*/1, seed);
//   stream.context(x, c);                          // known tokens, if there are any
//   while (playing) {
//     stream.push(condition_of_the_next_token());  // only where the model takes conditions
//     if (auto token = stream.next()) show(*token);
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/sampling/rollout_config.hpp"

namespace df {

class CausalModel;

// From what a stream starts.
struct StreamStart {
  Tensor z;                    // before the context, as CausalModel::initial_latent() gives it; undefined: that of no `init`
  int64_t first_sequence = 0;  // of this batch, where a larger one is generated in parts: the parts give the same tokens
};

// The noise of token t of sequence b follows from (seed, first_sequence + b, t) alone: the same seed and conditions give the same tokens,
// whoever asks for them and when. `model` must outlive the stream and lie on the device of `diffusion`; tensors are given and handed out
// there. An object belongs to one thread at a time.
class RolloutStream {
 public:
  // Throws df::Error for what validate() refuses and for a batch below 1.
  RolloutStream(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, int64_t batch, uint64_t seed,
                const StreamStart& start = {});
  ~RolloutStream();
  RolloutStream(RolloutStream&&) noexcept;
  RolloutStream& operator=(RolloutStream&&) noexcept;

  // Known clean tokens x [B, Tc, token...], with their conditions c [B, Tc, C] where the model takes some. May be called several times,
  // before the first push() and next().
  void context(const Tensor& x, const Tensor& c = {});

  // The condition c [B, C] of the next token that has none yet. Models without conditions need no push.
  void push(const Tensor& c);

  // The next clean token [B, token...], the caller's to keep. Nothing where conditions of later tokens are still needed (lookahead), and
  // after the last token of a stream that has an end. On a GPU the token may still be being computed when this returns.
  std::optional<Tensor> next();

  // next() answers as soon as so many conditions were pushed beyond those of the tokens handed out. A token comes out when the row of the
  // schedule has passed that finishes it, and a row runs when all of its tokens have a condition. autoregressive: 1. pyramid: the tokens
  // that begin before the next one is finished, about steps / slope. full_sequence, trapezoid and files: up to the end of the chunk, at
  // most its length. 0 after the last token.
  int64_t lookahead() const;

  // No token comes after number `tokens` - 1 of the generated ones. Without it a stream goes on for ever. A chunk that has not begun is cut
  // there. Throws df::Error where later tokens have begun or have a condition.
  void end(int64_t tokens);
  // The end is after the tokens that have a condition; without conditions, after those that have begun.
  void finish();

  // z after the last token handed out (after the context, before the first): what a new stream takes as StreamStart::z to go on from here.
  // With Finished::reencode it is the latent of the clean tokens shown at the stabilisation level, computed where no step has done so yet.
  Tensor latent() const;

  // A second future of the same past: a copy of everything, which goes on by itself. With another seed, noise that is drawn from now on is
  // that seed's; tokens of a pyramid or a chunk that have begun keep theirs. On a device that records steps, a fork records its own.
  RolloutStream fork() const;
  RolloutStream fork(uint64_t seed) const;

  int64_t tokens() const;      // handed out so far
  RolloutStats stats() const;  // of all steps so far; seconds: spent in context() and next()
  // Of the buffers of tokens, latents and conditions: constant once the schedule's window has filled. Conditions pushed ahead come on top.
  int64_t bytes() const;

  // Called after every batched model call. Forks do not inherit it.
  void on_step(std::function<void(const RolloutStats&)> observer);

 private:
  struct State;
  explicit RolloutStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace df
