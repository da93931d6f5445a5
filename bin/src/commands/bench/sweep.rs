//! The cases of `mpuc bench ops --sweep`: a few ops over sizes that double, from those that a launch or a cache decides to
//! those that the peak or the bandwidth decides.

use super::case::Case;
use super::one_op::{Flops, Pass, case, passes};
use kernels::op;
use kernels::ops::{Arithmetic, Attention, Conv3d, InfoNce, LayerNorm, Linear, Softmax};

const BOTH: [Pass; 2] = [Pass::Forward, Pass::Backward];

/// Powers of two, from one exponent to another.
fn powers(from: u32, to: u32) -> impl Iterator<Item = usize> {
    (from..=to).map(|exponent| 1 << exponent)
}

/// All cases.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in powers(5, 11) {
        let product = op::Case::new(Linear { bias: false, relu: false }, &[&[n, n], &[n, n]]);
        cases.extend(passes(&format!("sweep/sgemm/{n}"), &product, &BOTH, None));
    }
    for n in powers(10, 26).step_by(2) {
        let add = op::Case::new(Arithmetic::Add, &[&[n], &[n]]);
        cases.push(case(format!("sweep/add/{n}"), add, Pass::Forward, None));
    }
    for rows in powers(4, 14).step_by(2) {
        let softmax = op::Case::new(Softmax, &[&[rows, 512]]);
        cases.extend(passes(&format!("sweep/softmax/{rows}x512"), &softmax, &BOTH, None));
        let norm = LayerNorm { axes: 1, epsilon: 1e-5 };
        let norm = op::Case::new(norm, &[&[rows, 512], &[512], &[512]]);
        cases.extend(passes(&format!("sweep/layernorm/{rows}x512"), &norm, &BOTH, None));
    }
    for length in powers(4, 10) {
        let shape: &[usize] = &[4, length, 320];
        let of = op::Case::new(Attention::new(5), &[shape; 3]);
        let forward = 4.0 * (4 * length * length * 320) as f64;
        let flops = Flops { forward, backward: 2.5 * forward };
        cases.extend(passes(&format!("sweep/attention/l{length}"), &of, &BOTH, Some(flops)));
    }
    for channels in powers(4, 8) {
        let op = Conv3d::new([1; 3], [0, 1, 1]);
        let of = op::Case::new(op, &[&[2, 4, 28, 28, channels], &[1, 3, 3, channels, channels]]);
        let name = format!("sweep/conv3d/1x3x3-{channels}");
        cases.extend(passes(&name, &of, &[Pass::Forward, Pass::GradInput, Pass::GradWeight], None));
    }
    for rows in powers(5, 12) {
        let of = op::Case::new(InfoNce::new(0.07), &[&[rows, 512], &[rows, 512]]);
        let flops = Flops::product(2.0 * (rows * rows * 512) as f64);
        cases.extend(passes(
            &format!("sweep/infonce/n{rows}"),
            &of,
            &[Pass::Forward, Pass::Both],
            Some(flops),
        ));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Result;
    use engine::Device;

    #[test]
    fn sizes_double_and_the_smallest_run() -> Result<()> {
        let cases = cases();
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        for name in ["sweep/sgemm/32/fwd", "sweep/sgemm/2048/bwd", "sweep/add/67108864/fwd"] {
            assert!(
                names.contains(&name) || names.contains(&name.trim_end_matches("/fwd")),
                "{name}"
            );
        }
        let small = |case: &&Case| {
            [
                "sgemm/32/",
                "softmax/16x",
                "layernorm/16x",
                "attention/l16/",
                "3x3-16/",
                "infonce/n32/",
            ]
            .iter()
            .any(|part| case.name.contains(part))
        };
        let small: Vec<&Case> = cases.iter().filter(small).collect();
        assert_eq!(small.len(), 13, "{names:?}");
        for case in small {
            let mut ready = case.prepare(&Device::Cpu)?;
            (ready.run)()?;
            assert!(
                ready.work.is_some_and(|work| work.flops > 0.0 && work.bytes > 0.0),
                "{}",
                case.name
            );
        }
        Ok(())
    }
}
