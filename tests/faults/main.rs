//! Disks that fail, processes that are killed, machines that lose power.
//!
//! A library between descry and the system (`shim.c`) makes calls fail and logs what is changed. `make test` tries a sample;
//! `make test-faults` tries every fault at every call that differs from the others, 1,000 kills at random instants, and a power
//! failure after every change. A seed decides what is random, so that a run can be repeated.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod attempt;
mod calls;
mod disk;
mod kills;
mod outputs;
mod power;
mod pull;
mod shim;

/// Whether to try everything instead of a sample.
fn everything() -> bool {
    std::env::var_os("DESCRY_FAULTS").is_some()
}

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    /// From the seed in `DESCRY_FAULTS_SEED`.
    fn seeded() -> Random {
        Random(std::env::var("DESCRY_FAULTS_SEED").map_or(7, |seed| seed.parse().expect("a whole number as seed")))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}
