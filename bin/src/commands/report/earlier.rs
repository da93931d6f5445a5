//! `results.json` of earlier versions, which had fields for MPUC and its controls in place of arms.

use crate::config::Stamp;
use crate::experiment::{ArmReport, Report};
use indexmap::IndexMap;
use models::evaluate::metrics::Summary;
use serde_json::{Map, Value};

/// Reads results of this version or of an earlier one.
///
/// # Errors
/// When the format is neither.
pub fn read(bytes: &[u8]) -> serde_json::Result<Report> {
    let value: Value = serde_json::from_slice(bytes)?;
    match value {
        Value::Object(fields) if !fields.contains_key("arms") => arms_of(fields),
        value => serde_json::from_value(value),
    }
}

/// The field of each control, the name of its arm and its title.
const CONTROLS: [(&str, &str, &str); 5] = [
    ("untrained", "untrained", "untrained networks"),
    ("mpuc_shuffled_pairs", "shuffled", "MPUC, shuffled pairs"),
    ("permuted_labels", "permuted_labels", "permuted labels"),
    ("late_fusion_supervised", "late-fusion", "late fusion, supervised"),
    ("oracle", "factors", "true factors"),
];

fn arms_of(mut fields: Map<String, Value>) -> serde_json::Result<Report> {
    let protocol: Stamp =
        serde_json::from_value(fields.get("protocol").cloned().unwrap_or_default())?;
    let chance = serde_json::from_value(fields.get("chance").cloned().unwrap_or_default())?;
    let mut arms = IndexMap::new();
    for (field, name, title) in CONTROLS {
        let score: Option<Summary> =
            serde_json::from_value(fields.get(field).cloned().unwrap_or_default())?;
        if score.is_some() {
            let title = title.to_owned();
            arms.insert(name.to_owned(), ArmReport { title, score, ..ArmReport::default() });
        }
    }
    if let Some(Value::Object(single)) = fields.remove("single") {
        for (modality, score) in single {
            let title = format!("MPUC, {modality} alone");
            let score = serde_json::from_value(score)?;
            let report = ArmReport { title, score, ..ArmReport::default() };
            arms.insert(format!("single.{modality}"), report);
        }
    }
    // All other fields were those of MPUC.
    let (score, figure) = (fields.remove("mpuc"), fields.remove("figure"));
    for gone in ["retrieval", "seconds"] {
        fields.remove(gone);
    }
    let mut mpuc: ArmReport = serde_json::from_value(Value::Object(fields))?;
    mpuc.title = "MPUC".into();
    mpuc.score = serde_json::from_value(score.unwrap_or_default())?;
    arms.insert("mpuc".into(), mpuc);
    let figure = match figure {
        Some(Value::String(figure)) => figure,
        _ => "accuracy".into(),
    };
    Ok(Report {
        figure,
        chance,
        baseline: Some("untrained".into()),
        arms,
        seconds: 0.0,
        run: Default::default(),
        protocol,
    })
}
