//! The report as JUnit's XML, which CI systems read.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::report::{Case, Outcome, Report, Suite};

/// Writes the file, and its directory if that is missing.
pub(crate) fn write(report: &Report, path: &Path) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("{} could not be made", directory.display()))?;
    }
    let bytes = render(report).context("The JUnit file could not be put together")?;
    std::fs::write(path, bytes).with_context(|| format!("{} could not be written", path.display()))
}

fn render(report: &Report) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let counts = report.counts();
    let all = counts.passed + counts.failed + counts.skipped;
    writer
        .create_element("testsuites")
        .with_attributes([
            ("name", "stile"),
            ("tests", &*all.to_string()),
            ("failures", &*counts.failed.to_string()),
        ])
        .write_inner_content(|writer| {
            report
                .suites
                .iter()
                .try_for_each(|suite| write_suite(writer, suite))
        })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn write_suite<W: Write>(writer: &mut Writer<W>, suite: &Suite) -> std::io::Result<()> {
    let counts = suite.counts();
    writer
        .create_element("testsuite")
        .with_attributes([
            ("name", suite.name.as_str()),
            ("tests", &*suite.cases.len().to_string()),
            ("failures", &*counts.failed.to_string()),
            ("skipped", &*counts.skipped.to_string()),
            ("time", &*seconds(suite.time)),
        ])
        .write_inner_content(|writer| {
            suite
                .cases
                .iter()
                .try_for_each(|case| write_case(writer, &suite.name, case))
        })?;
    Ok(())
}

fn write_case<W: Write>(writer: &mut Writer<W>, suite: &str, case: &Case) -> std::io::Result<()> {
    let time = seconds(case.time.unwrap_or_default());
    let element = writer.create_element("testcase").with_attributes([
        ("name", case.name.as_str()),
        ("classname", suite),
        ("time", &*time),
    ]);
    if case.outcome == Outcome::Passed && case.again.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    element.write_inner_content(|writer| {
        match &case.outcome {
            Outcome::Passed => {}
            Outcome::Failed(detail) => {
                let message = allowed(detail.lines().next().unwrap_or_default());
                writer
                    .create_element("failure")
                    .with_attribute(("message", message.as_str()))
                    .write_text_content(BytesText::new(&allowed(detail)))?;
            }
            Outcome::Skipped(detail) => {
                writer
                    .create_element("skipped")
                    .with_attribute(("message", allowed(detail).as_str()))
                    .write_empty()?;
            }
        }
        if !case.again.is_empty() {
            let said = format!("Run again: {}", case.again.join("\nRun again: "));
            writer
                .create_element("system-out")
                .write_text_content(BytesText::new(&allowed(&said)))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// XML has no place for control characters, such as those of a terminal's colours.
fn allowed(text: &str) -> String {
    text.chars()
        .filter(|char| matches!(char, '\t' | '\n') || !char.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_the_file_with_how_it_ended() {
        let suite = Suite {
            name: "a <suite>".into(),
            cases: vec![
                Case::passed("holds").took(Duration::from_millis(1500)),
                Case::failed("breaks", "left & right\n\u{1b}[31mdiffer"),
                Case::skipped("waits", "no device"),
                Case::passed("in the end").after(vec!["its guest was lost".into()]),
            ],
            time: Duration::from_secs(2),
        };
        let mut report = Report::default();
        report.add(suite);
        let text = String::from_utf8(render(&report).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="stile" tests="4" failures="1">
  <testsuite name="a &lt;suite&gt;" tests="4" failures="1" skipped="1" time="2.000">
    <testcase name="holds" classname="a &lt;suite&gt;" time="1.500"/>
    <testcase name="breaks" classname="a &lt;suite&gt;" time="0.000">
      <failure message="left &amp; right">left &amp; right
[31mdiffer</failure>
    </testcase>
    <testcase name="waits" classname="a &lt;suite&gt;" time="0.000">
      <skipped message="no device"/>
    </testcase>
    <testcase name="in the end" classname="a &lt;suite&gt;" time="0.000">
      <system-out>Run again: its guest was lost</system-out>
    </testcase>
  </testsuite>
</testsuites>
"#
        );
    }
}
