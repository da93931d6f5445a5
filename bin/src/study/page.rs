//! A study as one web page that needs no other file.

use super::report::{ConditionReport, StudyReport};
use crate::experiment::missing_tables;
use crate::failure::Result;
use std::fmt::Write;

/// Colours follow the reader's choice of light or dark.
const STYLE: &str = "
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
tbody tr:hover { background: var(--soft); }
.wide { overflow-x: auto; }
figure { margin: 1.5rem 0; overflow-x: auto; }
figure svg { background: #fff; max-width: 100%; height: auto; }
footer { margin-top: 2rem; font-size: .85rem; }
";

impl StudyReport {
    /// The page.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn page(&self) -> Result<String> {
        let title = escape(&self.title);
        let mut body = format!("<h1>{title}</h1>\n");
        for condition in &self.conditions {
            self.section(condition, &mut body);
        }
        for (name, plot) in self.plots() {
            let label = escape(&plot.title);
            let _ = writeln!(
                body,
                "<figure role=\"img\" aria-label=\"{label}\" id=\"{}\">{}</figure>",
                escape(&name),
                plot.svg()?
            );
        }
        let notes = escape(&self.notes()).replace("\n\n", "</p>\n<p>");
        Ok(format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n{body}<footer><p>{notes}</p></footer>\n</body>\n</html>\n"
        ))
    }

    fn section(&self, condition: &ConditionReport, body: &mut String) {
        let _ = writeln!(body, "<h2>{}</h2>", escape(&condition.title));
        let (header, rows) = self.rows(condition);
        table(&self.metric(), &header, &rows, body);
        let arms = condition.arms.values();
        let missing = arms.map(|arm| (arm.title.as_str(), arm.missing.as_slice()));
        for (title, header, rows) in missing_tables(&self.metric(), missing) {
            table(&title, &header, &rows, body);
        }
    }
}

fn table(caption: &str, header: &[String], rows: &[Vec<String>], body: &mut String) {
    let cells = |name: &str, cells: &[String]| -> String {
        cells.iter().map(|cell| format!("<{name}>{}</{name}>", escape(cell))).collect()
    };
    let lines: String = rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", row))).collect();
    let _ = writeln!(
        body,
        "<div class=\"wide\"><table>\n<caption>{}</caption>\n<thead><tr>{}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table></div>",
        escape(caption),
        cells("th", header).replace("<th>", "<th scope=\"col\">")
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut body = String::new();
        table("a", &["<b>".into()], &[vec!["\"&\"".into()]], &mut body);
        assert!(body.contains("&lt;b&gt;") && body.contains("&quot;&amp;&quot;"), "{body}");
    }
}
