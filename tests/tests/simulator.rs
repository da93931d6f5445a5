//! Every op's CUDA kernels on the simulated GPU, every access checked, against the CPU in f64. Runs from the PTX in
//! `kernels/ptx`; where NVRTC is found, that PTX and the budget are proven to be those of the sources.

use kernels::check::Report;
use kernels::gpu::{self, Device, Launched, Order, Simulation, Simulator, check::check};
use kernels::op::Compiled;
use kernels::ops::{Visitor, visit};
use rayon::prelude::*;
use std::collections::BTreeMap;

type Check = fn(&Device, u32, u64) -> Report;

struct Checks(Vec<Check>);

impl Visitor for Checks {
    fn visit<O: Compiled>(&mut self) {
        self.0.push(check::<O>);
    }
}

/// The reports of all ops on simulated GPUs of their own, and what these launched.
fn reports(
    simulation: Simulation,
    ragged: u32,
) -> (Vec<Report>, Vec<BTreeMap<&'static str, Launched>>) {
    let mut checks = Checks(Vec::new());
    visit(&mut checks);
    let run = |check: &Check| {
        let simulator = Simulator::new(simulation);
        let report = check(&Device::new(Box::new(simulator.clone())), ragged, 1);
        (report, simulator.launched())
    };
    checks.0.par_iter().with_max_len(1).map(run).unzip()
}

/// Kernels whose blocks along an axis sum over slices: their cases must have several.
const SLICED: [(&str, usize); 28] = [
    ("arithmetic_broadcast_columns", 1),
    ("arithmetic_broadcast_rows", 1),
    ("arithmetic_grad_second_rows", 1),
    ("arithmetic_grad_second_total", 0),
    ("batch_norm_moments", 1),
    ("batch_norm_sums", 1),
    ("bce_forward", 0),
    ("bce_grad_weights", 1),
    ("conv3d_grad_bias", 1),
    ("conv3d_grad_weight", 2),
    ("conv_transpose3d_grad_bias", 1),
    ("depthwise_conv_grad_bias", 1),
    ("depthwise_conv_grad_weight", 1),
    ("graph_conv_grad_dense", 2),
    ("graph_conv_grad_edges", 1),
    ("graph_conv_grad_weight", 2),
    ("graph_conv_sum_rows", 1),
    ("layer_norm_grad_bias", 1),
    ("layer_norm_grad_weight", 1),
    ("linear_grad_bias", 1),
    ("linear_grad_weight", 2),
    ("matmul", 2),
    ("prelu_grad_slope", 0),
    ("prelu_grad_weight", 1),
    ("reduce_max_columns", 1),
    ("reduce_max_rows", 1),
    ("reduce_sum_columns", 1),
    ("reduce_sum_rows", 1),
];

#[test]
fn every_op_agrees_with_the_cpu_and_has_no_findings() {
    let (reports, launched) = reports(Simulation::CHECKED, 12);
    for report in reports {
        println!(
            "{}: {} cases, worst {:.1e}",
            report.op, report.cases, report.worst_relative_error
        );
        assert!(report.passed(), "{report:#?}");
    }
    let of = |kernel| launched.iter().find_map(|kernels| kernels.get(kernel));
    // A thread has no fewer registers than its kernel's largest launch leaves it.
    for program in gpu::programs().iter().filter(|program| program.name != "common") {
        for kernel in program.kernels() {
            let Some(launched) = of(kernel) else { panic!("{kernel}: no case launches it") };
            assert_eq!(launched.bounds, Some(launched.threads), "{kernel}: bounds, largest block");
        }
    }
    for (kernel, axis) in SLICED {
        let blocks = of(kernel).map_or(0, |launched| launched.blocks[axis]);
        assert!(blocks > 1, "{kernel}: no case has several slices");
    }
}

#[test]
fn no_op_depends_on_the_order_of_blocks() {
    for order in [Order::Reversed, Order::Seeded(7)] {
        for report in reports(Simulation { order, ..Simulation::CHECKED }, 0).0 {
            assert!(report.passed(), "{order:?}: {report:#?}");
        }
    }
}

#[test]
fn the_committed_ptx_is_of_these_sources() {
    let stale: Vec<&str> =
        gpu::programs().iter().filter(|p| p.committed().is_none()).map(|p| p.name).collect();
    assert!(stale.is_empty(), "{stale:?}: run `mpuc kernels compile --commit` and build again");
}

#[test]
fn the_committed_ptx_and_budget_are_what_nvrtc_makes() {
    let Ok(((major, minor), _)) = gpu::nvrtc_version() else {
        println!(
            "not run: NVRTC proofs of {} programs, since there is no NVRTC",
            gpu::programs().len()
        );
        return;
    };
    let budget = gpu::budget();
    let complaints: Vec<String> = gpu::programs()
        .par_iter()
        .with_max_len(1)
        .flat_map(|program| {
            let mut complaints = Vec::new();
            let ptx = gpu::compile(program, gpu::Target::Ptx).unwrap();
            let ptx = program.to_commit(&String::from_utf8_lossy(&ptx));
            // Another release words its PTX in another way; the sources' key is checked by the test above.
            let same_release = program
                .committed()
                .is_some_and(|text| text.contains(&format!("release {major}.{minor},")));
            if same_release && program.committed() != ptx.split_once('\n').map(|(_, text)| text) {
                complaints
                    .push(format!("{}: the committed PTX is not what NVRTC makes", program.name));
            }
            for capability in [(8, 0), (9, 0), (10, 0)] {
                let needs = gpu::resources(program, capability).unwrap();
                assert!(!needs.is_empty(), "{}: NVRTC said nothing of its kernels", program.name);
                let over =
                    |needs: &gpu::Resources| same_release.then(|| needs.complaint(&budget))?;
                complaints.extend(needs.iter().filter_map(over));
            }
            complaints
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_kernel_that_does_not_compile_is_shown_with_its_own_lines() {
    static BROKEN: gpu::Program = gpu::Program::new(
        "broken",
        &[
            gpu::Part::PRELUDE,
            gpu::Part {
                file: "broken.cu",
                text: "\nextern \"C\" __global__ void broken() { missing(); }",
            },
        ],
        "",
    );
    if gpu::nvrtc_version().is_err() {
        println!("not run: 1 compile error, since there is no NVRTC");
        return;
    }
    let error = gpu::compile(&BROKEN, gpu::Target::Ptx).unwrap_err().to_string();
    assert!(error.contains("broken.cu(2)") && error.contains("missing"), "{error}");
}
