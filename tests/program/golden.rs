//! Equal bits on any processor: a committed hash of the smoke preset's trained parameters.
//!
//! A commit that changes a hash must say why.

use crate::world::{command, text};
use engine::checkpoint::Checkpoint;

/// The hash on processors with fused multiply-adds: AVX-512 and AVX2.
const FUSED: &str = "0a7e43b74f247657fc0056f6edbb402b";
/// The hash of the portable loops on x86-64, which round each product before they add it: a fused multiply-add without the instruction
/// is a library call, tens of times slower.
const PORTABLE: &str = "df4532db84b62e994f068728f86c72ae";

/// The hash of all trained parameters of the smoke preset's MPUC, with at most these vector instructions.
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
