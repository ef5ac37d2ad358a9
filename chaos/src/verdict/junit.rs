//! Verdict for continuous integration: JUnit XML, a test case for each promise, threshold and steady state.

use std::fmt::Write as _;

use super::conclude::Told;
use super::markup::{elapsed, escaped, number, put};
use super::model::{PromiseVerdict, Threshold};

/// A test case.
struct Case {
    class: &'static str,
    name: String,
    failure: Option<String>,
}

/// The verdict as JUnit XML.
pub(super) fn xml(told: &Told<'_>) -> String {
    let (run, verdict) = (told.run, told.verdict);
    let started_us = run.started_at.timestamp_micros();
    let mut cases: Vec<Case> = verdict.promises.iter().map(|promise| of_promise(promise, started_us)).collect();
    for state in &verdict.steady_states {
        let word = state.when.word();
        cases.extend(
            state.conditions.iter().map(|condition| of_threshold("steady state", format!("{word}: {}", condition.name), condition)),
        );
    }
    cases.extend(verdict.thresholds.iter().map(|threshold| of_threshold("thresholds", threshold.name.clone(), threshold)));
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let errors = usize::from(verdict.problem.is_some());
    let seconds = run.ended_at.map_or(0.0, |ended_at| (ended_at - run.started_at).as_seconds_f64());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (name, tests) = (escaped(&run.name), cases.len() + errors);
    put!(out, "<testsuites name=\"chaos\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">\n");
    put!(out, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\"");
    put!(out, " timestamp=\"{}\">\n    <properties>\n", run.started_at.format("%Y-%m-%dT%H:%M:%S"));
    put!(out, "      <property name=\"seed\" value=\"{}\"/>\n", run.seed);
    for version in &run.versions {
        put!(out, "      <property name=\"{}\" value=\"{}\"/>\n", escaped(&version.program), escaped(&version.version));
    }
    put!(out, "    </properties>\n");
    for Case { class, name: case, failure } in &cases {
        let (class, case) = (format!("{name}.{class}"), escaped(case));
        match failure {
            None => put!(out, "    <testcase classname=\"{class}\" name=\"{case}\"/>\n"),
            Some(text) => {
                let first = escaped(text.lines().next().unwrap_or_default());
                put!(
                    out,
                    "    <testcase classname=\"{class}\" name=\"{case}\">\n      <failure message=\"{first}\">{}</failure>\n",
                    escaped(text)
                );
                put!(out, "    </testcase>\n");
            }
        }
    }
    if let Some(problem) = &verdict.problem {
        let problem = escaped(problem);
        put!(
            out,
            "    <testcase classname=\"{name}.run\" name=\"runs to its end\">\n      <error message=\"{problem}\"/>\n    </testcase>\n"
        );
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn of_promise(promise: &PromiseVerdict, started_us: i64) -> Case {
    let failure = (!promise.kept).then(|| {
        let mut text = format!("broken {} times: {}", promise.violations, promise.checked);
        for example in &promise.counterexamples {
            put!(text, "\n{} {}", example.device.as_deref().unwrap_or_default(), example.what);
            for moment in &example.times {
                put!(text, "\n    {} {}", elapsed(moment.at_us - started_us, true), moment.name);
            }
        }
        text
    });
    Case { class: "promises", name: format!("{}: {}", promise.id, promise.promise), failure }
}

fn of_threshold(class: &'static str, name: String, threshold: &Threshold) -> Case {
    let failure = (!threshold.holds()).then(|| {
        let value =
            threshold.value.map_or_else(|| "nothing was measured".to_owned(), |value| format!("{} {}", number(value), threshold.unit));
        format!("{value}, limit {} {} {}", threshold.comparison.sign(), number(threshold.limit), threshold.unit)
    });
    Case { class, name, failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::sample::Sample;

    /// Elements that an XML parser finds: name, attributes and, of leaves, text. Refuses what is not well-formed.
    fn parsed(xml: &str) -> Vec<(String, Vec<(String, String)>)> {
        use quick_xml::events::Event;
        let mut reader = quick_xml::Reader::from_str(xml);
        let mut found = Vec::new();
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("{error}: {xml}")) {
                Event::Start(tag) | Event::Empty(tag) => {
                    let attributes = tag.attributes().map(|attribute| {
                        let attribute = attribute.unwrap();
                        let raw = std::str::from_utf8(&attribute.value).unwrap();
                        (
                            String::from_utf8(attribute.key.as_ref().to_vec()).unwrap(),
                            quick_xml::escape::unescape(raw).unwrap().into_owned(),
                        )
                    });
                    found.push((String::from_utf8(tag.name().as_ref().to_vec()).unwrap(), attributes.collect()));
                }
                Event::Eof => return found,
                _ => {}
            }
        }
    }

    fn attribute<'a>(element: &'a (String, Vec<(String, String)>), name: &str) -> &'a str {
        element.1.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    #[test]
    fn a_case_fails_for_each_thing_that_does_not_hold() {
        let sample = Sample::failed();
        let elements = parsed(&xml(&sample.told()));
        let suite = elements.iter().find(|element| element.0 == "testsuite").unwrap();
        assert_eq!((attribute(suite, "tests"), attribute(suite, "failures"), attribute(suite, "errors")), ("5", "2", "0"));
        assert_eq!(elements.iter().filter(|element| element.0 == "testcase").count(), 5);
        assert_eq!(elements.iter().filter(|element| element.0 == "failure").count(), 2);
    }

    #[test]
    fn names_with_markup_come_out_as_they_are() {
        let mut sample = Sample::failed();
        let name = "a <b> & \"c\" ]]> \u{1}";
        sample.run.name = name.into();
        sample.verdict.promises[0].counterexamples[0].device = Some("<device>".into());
        sample.verdict.problem = Some("</testsuite>".into());
        let elements = parsed(&xml(&sample.told()));
        let suite = elements.iter().find(|element| element.0 == "testsuite").unwrap();
        assert_eq!(attribute(suite, "name"), "a <b> & \"c\" ]]> \u{fffd}");
        assert_eq!(attribute(suite, "errors"), "1");
        let error = elements.iter().find(|element| element.0 == "error").unwrap();
        assert_eq!(attribute(error, "message"), "</testsuite>");
    }
}
