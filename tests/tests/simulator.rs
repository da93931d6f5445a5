//! Every op's CUDA kernels on the simulated GPU, every access checked, against the CPU in f64. Runs from the PTX in
//! `kernels/ptx`; where NVRTC is found, that PTX and the budget are proven to be those of the sources.

use kernels::check::Report;
use kernels::gpu::{self, Device, Order, Simulation, check::check};
use kernels::op::Compiled;
use kernels::ops::{Visitor, visit};
use rayon::prelude::*;

type Check = fn(&Device, u32, u64) -> Report;

struct Checks(Vec<Check>);

impl Visitor for Checks {
    fn visit<O: Compiled>(&mut self) {
        self.0.push(check::<O>);
    }
}

/// The reports of all ops on simulated GPUs of their own.
fn reports(simulation: Simulation, ragged: u32) -> Vec<Report> {
    let mut checks = Checks(Vec::new());
    visit(&mut checks);
    let run = |check: &Check| check(&Device::simulated(simulation), ragged, 1);
    checks.0.par_iter().with_max_len(1).map(run).collect()
}

#[test]
fn every_op_agrees_with_the_cpu_and_has_no_findings() {
    for report in reports(Simulation::CHECKED, 12) {
        println!(
            "{}: {} cases, worst {:.1e}",
            report.op, report.cases, report.worst_relative_error
        );
        assert!(report.passed(), "{report:#?}");
    }
}

#[test]
fn no_op_depends_on_the_order_of_blocks() {
    for order in [Order::Reversed, Order::Seeded(7)] {
        for report in reports(Simulation { order, ..Simulation::CHECKED }, 0) {
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
