//! A study's plots: scores against the share of samples without a modality, and against a setting.

use super::report::{ConditionReport, StudyReport};
use crate::config::Replacement;
use crate::experiment::MissingFigure;
use crate::plot::{Curve, Panel, Plot};

impl StudyReport {
    /// The plots, with the names of their files.
    pub fn plots(&self) -> Vec<(String, Plot)> {
        let mut plots: Vec<(String, Plot)> = Vec::new();
        for condition in &self.conditions {
            if let Some(plot) = self.missing(condition) {
                plots.push((format!("missing-{}", condition.name), plot));
            }
        }
        plots.extend(self.over_conditions().map(|plot| ("conditions".to_owned(), plot)));
        plots
    }

    /// The score against the share of samples without a modality: a panel for each. The baseline has a curve for each
    /// replacement, other arms have one for zeros: more cannot be read.
    fn missing(&self, condition: &ConditionReport) -> Option<Plot> {
        let mut panels: Vec<Panel> = Vec::new();
        for (name, arm) in &condition.arms {
            let whole = condition.baseline.as_ref() == Some(name);
            let shown = |found: &&MissingFigure| {
                whole || matches!(found.replacement, None | Some(Replacement::Zeros))
            };
            for found in arm.missing.iter().filter(shown) {
                let place = panels.iter().position(|panel| panel.title == found.modality);
                let place = place.unwrap_or_else(|| {
                    panels.push(Panel { title: found.modality.clone(), curves: Vec::new() });
                    panels.len() - 1
                });
                let name = found.name(&arm.title);
                let point = (found.share, found.score.mean, found.score.std);
                let curves = &mut panels[place].curves;
                match curves.iter_mut().find(|curve| curve.name == name) {
                    Some(curve) => curve.points.push(point),
                    None => curves.push(Curve { name, points: vec![point] }),
                }
            }
        }
        (!panels.is_empty()).then(|| Plot {
            title: format!("{}: {} without a modality", self.title, condition.title),
            x: "share of test samples without it".into(),
            y: self.metric(),
            panels,
            ..Plot::default()
        })
    }

    /// The score against the setting that changes over the conditions: a curve for each arm.
    fn over_conditions(&self) -> Option<Plot> {
        let key = self.plot.clone()?;
        let mut curves: Vec<Curve> = Vec::new();
        for condition in &self.conditions {
            // A setting that is absent under a condition is 0.
            let x = condition.x.unwrap_or(0.0);
            for arm in condition.arms.values() {
                let point = (x, arm.score.mean, arm.score.std);
                match curves.iter_mut().find(|curve| curve.name == arm.title) {
                    Some(curve) => curve.points.push(point),
                    None => curves.push(Curve { name: arm.title.clone(), points: vec![point] }),
                }
            }
        }
        for curve in &mut curves {
            curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let panels = vec![Panel { title: String::new(), curves }];
        Some(Plot {
            title: self.title.clone(),
            x: key,
            y: self.metric(),
            panels,
            ..Plot::default()
        })
    }
}
