//! The cases of a bench and their selection by name.

use crate::failure::{Failure, Kind, Result};
use engine::Device;
use serde_json::Value;
use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

/// A case: something to measure, with a name whose parts are separated by slashes.
pub(super) struct Case {
    pub(super) name: String,
    /// The time for which it is repeated, unless the number of repeats is given.
    pub(super) budget: Duration,
    /// Whether it runs only if selected by more than the first part of its name, since it takes very long.
    only_if_named: bool,
    prepare: Box<Prepare>,
}

/// Prepares a case on a device.
type Prepare = dyn Fn(&Device) -> Result<Ready>;

/// A case prepared on a device.
pub(super) struct Ready {
    /// Runs the case once.
    pub(super) run: Box<dyn FnMut() -> Result<()>>,
    /// The cost of a run; `None`: the engine counts it.
    pub(super) work: Option<Work>,
    /// The items that a run processes, where they describe the speed better than FLOPs.
    pub(super) items: Option<Items>,
    /// Seconds of sound that a run processes.
    pub(super) sound: Option<f64>,
    /// Additional fields of the report.
    pub(super) details: BTreeMap<&'static str, Value>,
    /// A value that must live as long as the case runs.
    _kept: Option<Box<dyn Any>>,
}

/// The cost of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Work {
    /// Floating point operations.
    pub(super) flops: f64,
    /// The fewest bytes that a run can move.
    pub(super) bytes: f64,
}

/// The items that a run processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Items {
    /// Their name, plural.
    pub(super) what: &'static str,
    /// Their number.
    pub(super) count: f64,
}

impl Case {
    pub(super) fn new(
        name: impl Into<String>,
        budget: Duration,
        prepare: impl Fn(&Device) -> Result<Ready> + 'static,
    ) -> Self {
        Case { name: name.into(), budget, only_if_named: false, prepare: Box::new(prepare) }
    }

    /// Makes the case run only if selected by more than the first part of its name.
    pub(super) fn only_if_named(self) -> Self {
        Case { only_if_named: true, ..self }
    }

    pub(super) fn prepare(&self, device: &Device) -> Result<Ready> {
        (self.prepare)(device)
    }
}

impl Ready {
    pub(super) fn new(run: impl FnMut() -> Result<()> + 'static) -> Self {
        Ready {
            run: Box::new(run),
            work: None,
            items: None,
            sound: None,
            details: BTreeMap::new(),
            _kept: None,
        }
    }

    /// Sets the cost of a run.
    pub(super) fn work(self, flops: f64, bytes: f64) -> Self {
        Ready { work: Some(Work { flops, bytes }), ..self }
    }

    /// Sets the items that a run processes.
    pub(super) fn items(self, what: &'static str, count: f64) -> Self {
        Ready { items: Some(Items { what, count }), ..self }
    }

    /// Sets the seconds of sound that a run processes.
    pub(super) fn realtime(self, seconds: f64) -> Self {
        Ready { sound: Some(seconds), ..self }
    }

    /// Keeps a value alive as long as the case, such as a temporary folder.
    pub(super) fn keep(self, thing: impl Any) -> Self {
        Ready { _kept: Some(Box::new(thing)), ..self }
    }

    /// Adds a field to the report.
    pub(super) fn detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value.into());
        self
    }
}

/// Whether a name begins with the parts of another: `face/step` begins with `face`, `faces` does not.
fn begins(name: &str, start: &str) -> bool {
    name.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a name is selected; without a selection all are.
pub(super) fn asked(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|start| begins(name, start))
}

/// The selected cases.
///
/// # Errors
/// Exit code 2 when a selected name matches no case.
pub(super) fn choose(cases: Vec<Case>, only: &[String]) -> Result<Vec<Case>> {
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let named =
        |case: &Case| only.iter().any(|start| start.contains('/') && begins(&case.name, start));
    let wanted = |case: &Case| asked(&case.name, only) && (!case.only_if_named || named(case));
    let chosen: Vec<Case> = cases.into_iter().filter(wanted).collect();
    let met = |start: &str| chosen.iter().any(|case| begins(&case.name, start));
    let idle: Vec<&str> = only.iter().map(String::as_str).filter(|start| !met(start)).collect();
    if idle.is_empty() {
        return Ok(chosen);
    }
    let mut groups: Vec<&str> = names.iter().filter_map(|name| name.split('/').next()).collect();
    groups.sort_unstable();
    groups.dedup();
    Err(Failure::new(Kind::Usage, format!("no case begins with {}", idle.join(" or ")))
        .hint(format!("use {}; --list prints all {}", groups.join(", "), names.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<Case> {
        let case = |name| Case::new(name, Duration::ZERO, |_| Ok(Ready::new(|| Ok(()))));
        vec![case("face/fwd"), case("face/fwd+bwd"), case("face/long/fwd").only_if_named()]
    }

    fn chosen(only: &[&str]) -> Result<Vec<String>> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        Ok(choose(cases(), &only)?.into_iter().map(|case| case.name).collect())
    }

    #[test]
    fn cases_are_chosen_by_their_beginning() -> Result<()> {
        assert_eq!(chosen(&[])?, ["face/fwd", "face/fwd+bwd"]);
        assert_eq!(chosen(&["face"])?, ["face/fwd", "face/fwd+bwd"]);
        assert_eq!(chosen(&["face/fwd"])?, ["face/fwd"]);
        assert_eq!(chosen(&["face/long", "face/fwd+bwd"])?, ["face/fwd+bwd", "face/long/fwd"]);
        assert_eq!(chosen(&["fac"]).unwrap_err().code(), 2);
        assert_eq!(chosen(&["face/fwd", "voice"]).unwrap_err().code(), 2);
        Ok(())
    }
}
