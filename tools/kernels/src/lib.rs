//! The engine's kernels and layers by themselves.
//!
//! The same files as in `src/engine`, without tract around them: built in seconds for any processor, so that their tests
//! run under an emulator and valgrind, and their instructions can be counted (see `tools/kernels/run`).

#![allow(dead_code, unreachable_pub, reason = "the engine uses the rest")]

#[path = "../../../src/engine/block.rs"]
mod block;
#[cfg(test)]
#[path = "../../../tests/support/draw.rs"]
mod draw;
#[path = "../../../src/engine/kernels/mod.rs"]
mod kernels;
#[path = "../../../src/engine/layer.rs"]
mod layer;
#[path = "../../../src/engine/layers.rs"]
mod layers;
#[path = "../../../src/engine/pack.rs"]
mod pack;
#[path = "../../../src/engine/pool.rs"]
mod pool;
#[cfg(test)]
mod tests;

pub mod network;
