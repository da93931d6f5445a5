//! Paired comparisons: Student's t test on differences, and Holm's correction.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The probability that an interval covers the mean.
const COVERAGE: f64 = 0.95;

/// The mean of paired differences with its test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The mean difference.
    pub difference: f64,
    /// The number of pairs.
    pub n: usize,
    /// The 95 % interval of the mean; absent for one pair.
    pub interval: Option<[f64; 2]>,
    /// The two-sided p value of the hypothesis that the mean is 0; absent for one pair.
    pub p: Option<f64>,
    /// The p value after Holm's correction over the comparisons of a table; absent for one pair.
    pub p_holm: Option<f64>,
}

impl Paired {
    /// Tests paired differences. `correction` is added to 1/n in the variance of the mean: 0 for independent pairs, the
    /// number of test samples over that of training samples for folds, whose training parts overlap (Nadeau and Bengio
    /// 2003). `None` without a pair.
    pub fn of(differences: &[f64], correction: f64) -> Option<Self> {
        let n = differences.len();
        if n == 0 {
            return None;
        }
        let mean = differences.iter().sum::<f64>() / n as f64;
        let alone = Paired { difference: mean, n, interval: None, p: None, p_holm: None };
        if n == 1 {
            return Some(alone);
        }
        let square: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
        let variance = square / (n - 1) as f64 * (1.0 / n as f64 + correction);
        let error = variance.sqrt();
        let Ok(t) = StudentsT::new(0.0, 1.0, (n - 1) as f64) else { return Some(alone) };
        let half = error * t.inverse_cdf(0.5 + COVERAGE / 2.0);
        let p = match (error > 0.0, mean == 0.0) {
            (true, _) => 2.0 * t.sf((mean / error).abs()),
            (false, true) => 1.0,
            (false, false) => 0.0,
        };
        let interval = Some([mean - half, mean + half]);
        Some(Paired { interval, p: Some(p), ..alone })
    }
}

/// Holm's correction of p values, in place: the probability of one false rejection among all is kept below the level.
pub fn holm(comparisons: &mut [&mut Paired]) {
    let mut order: Vec<usize> = (0..comparisons.len()).collect();
    order.retain(|&i| comparisons[i].p.is_some());
    let p = |i: usize, all: &[&mut Paired]| all[i].p.unwrap_or(1.0);
    order.sort_by(|&a, &b| p(a, comparisons).total_cmp(&p(b, comparisons)));
    let mut largest = 0.0f64;
    for (place, &i) in order.iter().enumerate() {
        largest = largest.max((order.len() - place) as f64 * p(i, comparisons)).min(1.0);
        comparisons[i].p_holm = Some(largest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paired_t_test_is_scipys() {
        // t = 3.015424 with 4 degrees of freedom; p by numerical integration of Student's density.
        let found = Paired::of(&[0.02, 0.05, 0.01, 0.04, 0.09], 0.0).unwrap();
        assert!((found.difference - 0.042).abs() < 1e-12 && found.n == 5);
        let p = found.p.unwrap();
        let t = 0.042 / (0.00097f64 / 5.0).sqrt();
        assert!((t - 3.0154).abs() < 1e-3, "{t}");
        assert!((p - 0.0393398).abs() < 1e-6, "{p}");
        // 2.776445 is the t of 4 degrees of freedom.
        let [low, high] = found.interval.unwrap();
        assert!((high - low - 2.0 * 2.776445 * (0.00097f64 / 5.0).sqrt()).abs() < 1e-6);
        // Overlapping folds know less.
        let folds = Paired::of(&[0.02, 0.05, 0.01, 0.04, 0.09], 0.5).unwrap();
        assert!(folds.p.unwrap() > p && folds.interval.unwrap()[0] < low);
    }

    #[test]
    fn few_or_equal_differences_give_no_nonsense() {
        assert_eq!(Paired::of(&[], 0.0), None);
        let one = Paired::of(&[0.3], 0.0).unwrap();
        assert_eq!((one.difference, one.interval, one.p), (0.3, None, None));
        assert_eq!(Paired::of(&[0.0, 0.0], 0.0).unwrap().p, Some(1.0));
        assert_eq!(Paired::of(&[0.5, 0.5], 0.0).unwrap().p, Some(0.0));
    }

    #[test]
    fn holm_multiplies_the_smallest_most() {
        let with =
            |p: f64| Paired { difference: 1.0, n: 5, interval: None, p: Some(p), p_holm: None };
        let mut all = [with(0.04), with(0.01), with(0.03), Paired { p: None, ..with(0.0) }];
        holm(&mut all.iter_mut().collect::<Vec<_>>());
        // R: p.adjust(c(.04, .01, .03), "holm") = .06, .03, .06.
        let found = all.map(|paired| paired.p_holm);
        let near = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() < 1e-12);
        assert!(near(found[0], 0.06) && near(found[1], 0.03) && near(found[2], 0.06), "{found:?}");
        assert_eq!(found[3], None);
    }
}
