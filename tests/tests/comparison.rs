//! Comparing what the engine computed with what PyTorch did.

use crate::fixture::{Fixture, uniform};

/// Numbers of a summary besides its projections: largest magnitude, Euclidean norm.
const HEADER: usize = 2;

/// What was compared, how far apart it was, and what was too far.
#[derive(Default)]
pub struct Comparison {
    /// Tensors compared.
    pub tensors: usize,
    /// Tensors that could not be compared in this precision.
    pub left_out: usize,
    /// Numbers compared.
    pub numbers: usize,
    /// The largest difference, relative to its tensor's largest magnitude.
    pub worst: f64,
    /// Where that was.
    pub worst_at: String,
    failures: Vec<String>,
}

impl Comparison {
    /// Compares a tensor with the one of this name in the file. `floor` is the magnitude below which differences
    /// are not relative: a gradient that is 0 in exact arithmetic is rounding noise in any other.
    pub fn tensor(
        &mut self,
        fixture: &Fixture,
        name: &str,
        got: &[f64],
        floor: f64,
        tolerance: f64,
    ) {
        self.tensors += 1;
        if let Some(expected) = fixture.get(name) {
            let size = expected.iter().fold(floor, |size, e| e.abs().max(size));
            self.head(name, got, expected, size, tolerance);
            if got.len() != expected.len() {
                self.failures.push(format!(
                    "{name}: {} numbers, expected {}",
                    got.len(),
                    expected.len()
                ));
            }
            return;
        }
        let part = |part: &str| {
            let name = format!("{name}#{part}");
            fixture.get(&name).unwrap_or_else(|| panic!("the fixture has no {name}; make it anew"))
        };
        let (head, summary) = (part("head"), part("summary"));
        self.head(name, got, head, summary[0].max(floor), tolerance);
        let norm = got.iter().map(|g| g * g).sum::<f64>().sqrt();
        self.number(
            &format!("{name} norm"),
            (norm - summary[1]) / summary[1].max(floor),
            tolerance,
        );
        for (number, expected) in summary[HEADER..].iter().enumerate() {
            let direction = uniform(&format!("projection {number} {name}"), got.len());
            let projected: f64 = got.iter().zip(direction).map(|(g, d)| g * f64::from(d)).sum();
            // A projection on uniform numbers is as large as the norm over the root of three.
            let size = summary[1].max(floor) / 3f64.sqrt();
            self.number(
                &format!("{name} projection {number}"),
                (projected - expected) / size,
                tolerance,
            );
        }
    }

    fn head(&mut self, name: &str, got: &[f64], expected: &[f64], size: f64, tolerance: f64) {
        let difference = |(g, e): (&f64, &f64)| if g == e { 0.0 } else { (g - e).abs() / size };
        let differences = got.iter().zip(expected).map(difference);
        // A NaN counts as larger than everything.
        let worst = differences.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((at, worst)) = worst {
            self.numbers += expected.len() - 1;
            self.number(
                &format!("{name}[{at}] ({:.6e}, expected {:.6e})", got[at], expected[at]),
                worst,
                tolerance,
            );
        }
    }

    fn number(&mut self, name: &str, difference: f64, tolerance: f64) {
        self.numbers += 1;
        let difference = if difference.is_nan() { f64::INFINITY } else { difference.abs() };
        if difference > self.worst {
            (self.worst, self.worst_at) = (difference, name.to_owned());
        }
        if difference > tolerance {
            self.failures.push(format!("{name}: off by {difference:.1e}, allowed {tolerance:.0e}"));
        }
    }

    /// Says what was compared; whatever was too far apart goes to `failures`.
    pub fn report(self, name: &str, failures: &mut Vec<String>) {
        let Comparison { tensors, left_out, numbers, worst, worst_at, .. } = &self;
        println!(
            "{name}: {tensors} tensors, {left_out} left out, {numbers} numbers, worst {worst:.1e} at {worst_at}"
        );
        let shown = self.failures.iter().take(12).map(|failure| format!("{name}: {failure}"));
        failures.extend(shown);
    }
}

/// Fails with all that failed.
pub fn demand_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}
