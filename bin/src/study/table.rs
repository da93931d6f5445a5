//! A study's tables, as text and as Markdown.

use super::arm::StudyArm;
use super::report::{ConditionReport, PairedBy, StudyReport};
use super::statistics::Paired;
use crate::experiment::missing_tables;
use crate::output;
use crate::progress::seconds;
use std::fmt::{self, Display, Write};

impl StudyReport {
    /// The tables in Markdown, with what is needed to read them.
    pub fn markdown(&self) -> String {
        self.text(output::markdown, true)
    }

    /// The texts for a document, each with the words of its comment line: the tables without those of missing modalities,
    /// and for each arm and condition that was measured without modalities, its table.
    pub fn sections(&self) -> Vec<(String, String)> {
        let mut sections = vec![(self.study.clone(), self.text(output::markdown, false))];
        for condition in &self.conditions {
            for (name, arm) in condition.arms.iter().filter(|(_, arm)| !arm.missing.is_empty()) {
                let alone = std::iter::once((arm.title.as_str(), arm.missing.as_slice()));
                let tables = missing_tables(&self.metric(), alone);
                let (_, header, _) = &tables[0];
                let header: Vec<&str> = header.iter().map(String::as_str).collect();
                let rows = tables.iter().flat_map(|(title, _, rows)| {
                    rows.iter().map(move |row| {
                        let mut row = row.clone();
                        let with = row[0].strip_prefix(&arm.title).unwrap_or_default();
                        row[0] = format!("{title}{with}");
                        row
                    })
                });
                let table = output::markdown(&header, &rows.collect::<Vec<_>>());
                let title = format!("**{}: {}, {}**", self.title, arm.title, condition.title);
                let words = format!("{} missing {name} {}", self.study, condition.name);
                sections.push((words, format!("{title}\n\n{table}")));
            }
        }
        sections
    }

    fn text(&self, table: fn(&[&str], &[Vec<String>]) -> String, missing: bool) -> String {
        let mut text = String::new();
        for condition in &self.conditions {
            let (header, rows) = self.rows(condition);
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            let _ = write!(text, "{}\n\n{}\n\n", self.heading(condition), table(&header, &rows));
            let arms = condition.arms.values().filter(|_| missing);
            let figures = arms.map(|arm| (arm.title.as_str(), arm.missing.as_slice()));
            for (title, header, rows) in missing_tables(&self.metric(), figures) {
                let header: Vec<&str> = header.iter().map(String::as_str).collect();
                let table = table(&header, &rows);
                let _ = write!(text, "**{}: {title}**\n\n{table}\n\n", condition.title);
            }
        }
        text + &self.notes()
    }

    fn heading(&self, condition: &ConditionReport) -> String {
        let figure = self.metric();
        let title = if self.conditions.len() == 1 && condition.title == "all" {
            self.title.clone()
        } else {
            format!("{}: {}", self.title, condition.title)
        };
        format!("**{title}** ({figure} on held-out samples)")
    }

    /// The metric of scores, for people.
    pub fn metric(&self) -> String {
        match self.figure.as_str() {
            "ccc" => "CCC".into(),
            other => other.replace('_', " "),
        }
    }

    /// The header and the rows of a condition's table.
    pub(super) fn rows(&self, condition: &ConditionReport) -> (Vec<String>, Vec<Vec<String>>) {
        let base = condition.baseline.as_ref().and_then(|base| condition.arms.get(base));
        let seeds = condition.arms.values().any(|arm| arm.over_seeds.is_some());
        let retrieval = condition.arms.values().any(|arm| arm.retrieval.is_some());
        let mut header: Vec<String> =
            ["system", "mean", "std", "n"].into_iter().map(str::to_owned).collect();
        if seeds {
            header.push("std of seeds".into());
        }
        if retrieval {
            header.push("R@1".into());
        }
        if let Some(base) = base {
            header.push(format!("minus {}", base.title));
            header.push("95 % interval".into());
            header.push("p (Holm)".into());
        }
        let paper = condition.arms.values().any(|arm| arm.paper.is_some());
        if paper {
            header.push("paper".into());
        }
        header.push("labels in training".into());
        header.push("settings".into());
        let mut rows = Vec::new();
        if let Some(chance) = condition.chance {
            let mut row = vec!["chance (best constant answer)".to_owned(), format!("{chance:.3}")];
            row.resize(header.len(), String::new());
            rows.push(row);
        }
        for arm in condition.arms.values() {
            let StudyArm { title, score, n, .. } = arm;
            let mut row = vec![
                title.clone(),
                format!("{:.3}", score.mean),
                spread(score.std, *n),
                n.to_string(),
            ];
            let figure = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.3}"));
            if seeds {
                row.push(figure(arm.over_seeds));
            }
            if retrieval {
                row.push(figure(arm.retrieval));
            }
            if base.is_some() {
                row.extend(comparison(arm.against.as_ref()));
            }
            if paper {
                row.push(figure(arm.paper));
            }
            row.push(arm.labels.to_string());
            row.push(arm.settings.clone());
            rows.push(row);
        }
        (header, rows)
    }

    pub(super) fn notes(&self) -> String {
        let mut text =
            format!("Means and deviations are over {}: {}", self.pairing, self.units.join(", "));
        if self.pairing != PairedBy::Seeds {
            let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
            let _ = write!(text, "; each is the mean over the seeds {}", seeds.join(", "));
        }
        text += ". ";
        text += match self.pairing {
            PairedBy::Units(_) => "Differences are paired by them (Student's t).",
            PairedBy::Folds(_) => {
                "Differences are paired by them (Student's t, corrected for overlapping training parts: Nadeau and \
                 Bengio 2003)."
            }
            PairedBy::Seeds => {
                "Differences are paired by them: they show the noise of training on one data set, not what another data \
                 set would give."
            }
        };
        let [done, all] = self.cells;
        if done < all {
            let _ = write!(text, "\n\nNOT FINISHED: {done} of {all} cells.");
        }
        let commits: Vec<&str> = self.commits.iter().map(String::as_str).collect();
        let commits = match commits[..] {
            [] => String::new(),
            [one] => format!("; commit {one}"),
            _ => format!("; COMMITS THAT DIFFER: {}", commits.join(", ")),
        };
        let _ = write!(
            text,
            "\n\nCells: {all}, in {} of computing{commits}. Protocol of the first cell: {}.",
            seconds(self.seconds),
            self.protocol
        );
        text
    }
}

/// A standard deviation; nothing for one value.
fn spread(std: f64, n: usize) -> String {
    if n > 1 { format!("{std:.3}") } else { String::new() }
}

/// The three cells of a comparison, in points of a hundred.
fn comparison(paired: Option<&Paired>) -> [String; 3] {
    let Some(Paired { difference, interval, p_holm, .. }) = paired else {
        return Default::default();
    };
    let points = |value: f64| format!("{:+.1}", 100.0 * value);
    let p = |p: f64| if p < 0.001 { "< .001".to_owned() } else { format!("{p:.3}") };
    [
        points(*difference),
        interval
            .map_or(String::new(), |[low, high]| format!("{} to {}", points(low), points(high))),
        p_holm.map_or(String::new(), p),
    ]
}

impl Display for StudyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(output::table, true).replace("**", ""))
    }
}
