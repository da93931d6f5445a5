//! The same bits on any processor: what the smoke preset learns, by a hash that is committed.
//!
//! A commit that changes a hash says why.

use crate::world::{command, text};
use engine::checkpoint::Checkpoint;

/// Of processors with fused multiply-adds: AVX-512 and AVX2.
const FUSED: &str = "0a7e43b74f247657fc0056f6edbb402b";
/// Of the portable loops on x86-64, which round each product before they add it: a fused multiply-add without the instruction
/// is a library call, tens of times slower.
const PORTABLE: &str = "df4532db84b62e994f068728f86c72ae";

/// The hash of every number that the smoke preset's MPUC learned, computed with these vector instructions at most.
fn learned(isa: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let mut train = command(&["train", "--preset", "smoke", "--device", "cpu", "--out", out]);
    if let Some(isa) = isa {
        train.env("MPUC_ISA", isa);
    }
    let output = train.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let path = std::path::Path::new(out).join("checkpoints/seed0-fold1-mpuc.safetensors");
    let checkpoint = Checkpoint::load(&path).unwrap();
    let mut hasher = blake3::Hasher::new();
    for (name, tensor) in checkpoint.tensors().filter(|(name, _)| name.starts_with("model.")) {
        hasher.update(name.as_bytes());
        hasher.update(tensor.bytes().unwrap());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_smoke_preset_learns_the_same_bits() {
    assert_eq!(learned(Some("portable")), PORTABLE);
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        assert_eq!(learned(Some("avx2")), FUSED);
        assert_eq!(learned(None), FUSED);
    }
}
