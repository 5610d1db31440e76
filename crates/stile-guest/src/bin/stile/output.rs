//! Lines for people, or JSON objects for programs.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::failure::Failure;

/// A value of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(u64),
    Signed(i64),
    /// Milliseconds or microseconds, with three digits after the point.
    Real(f64),
    Text(String),
    Truth(bool),
    List(Vec<Value>),
    Object(Vec<(&'static str, Value)>),
    Nothing,
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

impl Value {
    /// As JSON (RFC 8259).
    pub(crate) fn json(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::Real(number) => format!("{number:.3}"),
            Self::Text(text) => quoted(text),
            Self::Truth(truth) => truth.to_string(),
            Self::Nothing => "null".into(),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::json).collect();
                format!("[{}]", values.join(","))
            }
            Self::Object(fields) => object(fields),
        }
    }

    /// As a word of a line.
    fn word(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Nothing => "-".into(),
            other => other.json(),
        }
    }
}

/// A JSON object of these fields.
fn object(fields: &[(&'static str, Value)]) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}:{}", quoted(name), value.json()))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Says what happens, an event a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// One event: `what` in one word, who it is about, and the rest.
    pub(crate) fn event(
        self,
        what: &'static str,
        who: &str,
        fields: &[(&'static str, Value)],
    ) -> Result<(), Failure> {
        let line = if self.json {
            let mut all = vec![("event", what.into()), ("name", who.into())];
            all.extend_from_slice(fields);
            object(&all)
        } else {
            let mut line = format!("{what} {who}");
            for (name, value) in fields {
                let _ = write!(line, " {name}={}", value.word());
            }
            line
        };
        self.line(&line)
    }

    /// A line as it is.
    pub(crate) fn line(self, line: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(Failure::io("Standard output"))
    }
}

/// Says on standard error what went wrong.
pub(crate) fn complain(failure: &Failure) {
    // There is nobody left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "stile: {failure}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_what_it_must() {
        let value = Value::Object(vec![
            ("text", "a \"b\" \\ \n".into()),
            (
                "list",
                Value::List(vec![1_u32.into(), true.into(), Value::Nothing]),
            ),
            ("real", 0.1.into()),
        ]);
        assert_eq!(
            value.json(),
            r#"{"text":"a \"b\" \\ \u000a","list":[1,true,null],"real":0.100}"#
        );
    }
}
