//! Figures, as text and as JSON.

use std::path::Path;

use serde_json::{Map, Value, json};

/// What one part has measured.
pub(crate) struct Report {
    name: &'static str,
    title: &'static str,
    rows: Vec<Row>,
}

struct Row {
    key: String,
    label: String,
    value: Option<f64>,
    unit: &'static str,
    aim: Option<&'static str>,
    note: Option<String>,
}

impl Report {
    /// `name` is the file's.
    pub(crate) fn new(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, key: &str, label: &str, value: f64, unit: &'static str) {
        self.push(key, label, Some(value), unit, None, None);
    }

    /// A figure with the one to reach.
    pub(crate) fn aimed(
        &mut self,
        key: &str,
        label: &str,
        value: f64,
        unit: &'static str,
        aim: &'static str,
    ) {
        self.push(key, label, Some(value), unit, Some(aim), None);
    }

    /// A figure that cannot be had here, and why.
    pub(crate) fn missing(&mut self, key: &str, label: &str, why: String) {
        self.push(key, label, None, "", None, Some(why));
    }

    fn push(
        &mut self,
        key: &str,
        label: &str,
        value: Option<f64>,
        unit: &'static str,
        aim: Option<&'static str>,
        note: Option<String>,
    ) {
        self.rows.push(Row {
            key: key.to_owned(),
            label: label.to_owned(),
            value,
            unit,
            aim,
            note,
        });
    }

    pub(crate) fn print(&self) {
        println!("{}", self.title);
        for row in &self.rows {
            let value = match (row.value, &row.note) {
                (Some(value), _) => format!("{} {}", digits(value), row.unit),
                (None, note) => format!("- ({})", note.as_deref().unwrap_or("not measured")),
            };
            let aim = row.aim.map(|aim| format!("   (aim: {aim})"));
            println!("  {:<58} {value}{}", row.label, aim.unwrap_or_default());
        }
        println!();
    }

    pub(crate) fn write(&self, folder: &Path, machine: &str) {
        let figures: Map<String, Value> = self
            .rows
            .iter()
            .map(|row| {
                let figure = json!({
                    "label": row.label, "value": row.value, "unit": row.unit,
                    "aim": row.aim, "note": row.note,
                });
                (row.key.clone(), figure)
            })
            .collect();
        let whole = json!({ "title": self.title, "machine": machine, "figures": figures });
        std::fs::create_dir_all(folder).expect("the folder of --out");
        let text = serde_json::to_string_pretty(&whole).expect("JSON");
        std::fs::write(folder.join(format!("{}.json", self.name)), text).expect("a file");
    }
}

/// Four digits, or all before the point.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        large if large >= 1000.0 => 0,
        large if large >= 100.0 => 1,
        large if large >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

/// The value that `share` of the values are not above. Sorts them.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values[at.min(values.len() - 1)]
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}
