//! Parameters that people give to an action or a deployment: each is declared once, with its kind, limits and words.
//!
//! API, forms, command line and API description are made from these specs.

use std::collections::BTreeMap;

use crate::Invalid;
use crate::edit::package;
use crate::text::bounded;

/// Value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamValue {
    /// Whole number.
    Integer(i64),
    /// On or off.
    Flag(bool),
    /// Text, a name or a choice.
    Text(String),
    /// Texts by name.
    Texts(BTreeMap<String, String>),
}

impl ParamValue {
    /// Text of the value, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Kind of a parameter with its limits, which are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Whole number.
    Integer {
        /// Least value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// On or off.
    Flag,
    /// Text that is measured in characters.
    Text {
        /// Shortest length.
        min_chars: usize,
        /// Longest length.
        max_chars: usize,
    },
    /// Text that is measured in bytes, and not empty.
    Bytes {
        /// Longest length.
        max_bytes: usize,
    },
    /// Package name of an app.
    Package,
    /// Name of an allowed command.
    ExecCommand,
    /// Texts by name, each measured in characters.
    Texts {
        /// Most entries.
        max_entries: usize,
        /// Longest name and longest text.
        max_chars: usize,
    },
    /// One of these names, each with its label.
    Choice(&'static [(&'static str, &'static str)]),
}

/// Longest name of an allowed command, in characters.
const EXEC_NAME_MAX_CHARS: usize = 64;

/// Declaration of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name, as in the API.
    pub name: &'static str,
    /// Path of the field in errors and forms, such as `params.duration_s`.
    pub field: &'static str,
    /// Label, without the unit.
    pub label: &'static str,
    /// Hint beside the field of a form.
    pub hint: &'static str,
    /// Example value.
    pub example: &'static str,
    /// Unit, such as `s` or `%`; empty: none.
    pub unit: &'static str,
    /// Meaning of the value 0, where it is not a number; else empty.
    pub zero: &'static str,
    /// Kind and limits.
    pub kind: ParamKind,
    /// Whether a value has to be given.
    pub required: bool,
    /// Value that replaces an absent one.
    pub default: Option<i64>,
    /// Value that a form begins with, where the API has no default.
    pub preset: &'static str,
    /// Whether the value is replaced with `***` wherever people see it.
    pub secret: bool,
    /// Whether spaces at its ends belong to the value.
    pub verbatim: bool,
    /// Parameter and value that exclude this one: required without them, refused with them.
    pub unless: Option<(&'static str, &'static str)>,
}

impl ParamSpec {
    /// Spec of a required parameter; name, path and label are filled in by its table.
    pub const fn new(kind: ParamKind) -> Self {
        Self {
            name: "",
            field: "",
            label: "",
            hint: "",
            example: "",
            unit: "",
            zero: "",
            kind,
            required: true,
            default: None,
            preset: "",
            secret: false,
            verbatim: false,
            unless: None,
        }
    }

    /// Whole number within these limits.
    pub const fn integer(min: i64, max: i64) -> Self {
        Self::new(ParamKind::Integer { min, max })
    }

    /// The same with a hint.
    pub const fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// The same with an example.
    pub const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// The same in this unit.
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// The same where 0 has this meaning.
    pub const fn zero(self, zero: &'static str) -> Self {
        Self { zero, ..self }
    }

    /// The same with a value that replaces an absent one.
    pub const fn or(self, default: i64) -> Self {
        Self { default: Some(default), required: false, ..self }
    }

    /// The same, which may be absent.
    pub const fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    /// The same, with a value that forms begin with.
    pub const fn preset(self, preset: &'static str) -> Self {
        Self { preset, ..self }
    }

    /// The same as a secret.
    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The same with its spaces.
    pub const fn verbatim(self) -> Self {
        Self { verbatim: true, ..self }
    }

    /// The same, required unless `other` has this value.
    pub const fn unless(self, other: &'static str, value: &'static str) -> Self {
        Self { unless: Some((other, value)), ..self }
    }

    /// Label of a form's field: with the unit.
    pub fn form_label(&self) -> String {
        if self.unit.is_empty() { self.label.to_owned() } else { format!("{} ({})", self.label, self.unit) }
    }

    /// Hint of a form's field: its own, or the limits.
    pub fn form_hint(&self) -> String {
        match self.kind {
            _ if !self.hint.is_empty() => self.hint.to_owned(),
            ParamKind::Integer { min: 0, max } if !self.zero.is_empty() => format!("0 to {max}; 0: {}", self.zero),
            ParamKind::Integer { min, max } => format!("{min} to {max}"),
            _ => String::new(),
        }
    }

    /// Value that a form begins with.
    pub fn form_value(&self) -> String {
        self.default.map_or_else(|| self.preset.to_owned(), |default| default.to_string())
    }

    /// Description of a value of this kind.
    pub fn expected(&self) -> String {
        match self.kind {
            ParamKind::Integer { .. } => "a whole number".to_owned(),
            ParamKind::Flag => "true or false".to_owned(),
            ParamKind::Choice(choices) => format!("one of {}", names(choices)),
            ParamKind::Texts { .. } => "an object of texts".to_owned(),
            _ => "text".to_owned(),
        }
    }

    /// Refusal of a value that is of another kind. The value is not repeated: it may be secret.
    pub fn wrong_type(&self) -> Invalid {
        Invalid::new(self.field, format!("not {}", self.expected()))
    }

    /// Refusal of an absent value.
    pub fn missing(&self) -> Invalid {
        Invalid::new(self.field, "required")
    }

    /// Parses what was typed; `None` for nothing.
    ///
    /// # Errors
    /// The text is not of the parameter's kind.
    pub fn parse(&self, text: &str) -> Result<Option<ParamValue>, Invalid> {
        let text = if self.verbatim { text } else { text.trim() };
        match self.kind {
            _ if text.is_empty() => Ok(None),
            ParamKind::Integer { .. } => match text.parse() {
                Ok(number) => Ok(Some(ParamValue::Integer(number))),
                // More digits than any number has.
                Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => Ok(Some(ParamValue::Integer(i64::MAX))),
                Err(_) => Err(Invalid::new(self.field, "must be a whole number")),
            },
            ParamKind::Flag => match text {
                "true" | "on" | "yes" => Ok(Some(ParamValue::Flag(true))),
                "false" | "off" | "no" => Ok(Some(ParamValue::Flag(false))),
                _ => Err(Invalid::new(self.field, "must be true or false")),
            },
            ParamKind::Texts { .. } => self.parse_lines(text).map(Some),
            _ => Ok(Some(ParamValue::Text(text.to_owned()))),
        }
    }

    /// Parses lines of the form `name=value`.
    fn parse_lines(&self, text: &str) -> Result<ParamValue, Invalid> {
        let mut texts = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) =
                line.split_once('=').ok_or_else(|| Invalid::new(self.field, format!("{line:?} is not in the form name=value")))?;
            if texts.insert(name.trim().to_owned(), value.trim().to_owned()).is_some() {
                return Err(Invalid::new(self.field, format!("duplicate name {:?}", name.trim())));
            }
        }
        Ok(ParamValue::Texts(texts))
    }

    /// Checks a value against the kind and its limits.
    ///
    /// # Errors
    /// Names the field and the limit.
    pub fn check(&self, value: &ParamValue) -> Result<(), Invalid> {
        match (self.kind, value) {
            (ParamKind::Integer { min, max }, ParamValue::Integer(number)) => {
                crate::invalid::in_range(self.field, *number, min, max).map(drop)
            }
            (ParamKind::Flag, ParamValue::Flag(_)) => Ok(()),
            (ParamKind::Text { min_chars, max_chars }, ParamValue::Text(text)) => {
                bounded(self.field, text, max_chars)?;
                match text.chars().count() {
                    0 if min_chars > 0 => Err(Invalid::new(self.field, "empty")),
                    chars if chars < min_chars => {
                        Err(Invalid::new(self.field, format!("{chars} characters; must be {min_chars}..{max_chars}")))
                    }
                    _ => Ok(()),
                }
            }
            (ParamKind::Bytes { max_bytes }, ParamValue::Text(text)) => {
                bounded(self.field, text, max_bytes)?;
                match text.len() {
                    bytes if bytes == 0 || bytes > max_bytes => {
                        Err(Invalid::new(self.field, format!("{bytes} bytes; must be 1..{max_bytes}")))
                    }
                    _ => Ok(()),
                }
            }
            (ParamKind::Texts { max_entries, max_chars }, ParamValue::Texts(texts)) => {
                if texts.len() > max_entries {
                    return Err(Invalid::new(self.field, format!("more than {max_entries}")));
                }
                texts
                    .iter()
                    .try_for_each(|(name, text)| bounded(self.field, name, max_chars).and_then(|()| bounded(self.field, text, max_chars)))
            }
            (ParamKind::Package, ParamValue::Text(text)) => package(self.field, text).map(drop),
            (ParamKind::ExecCommand, ParamValue::Text(text)) => exec_name(self.field, text),
            (ParamKind::Choice(choices), ParamValue::Text(text)) if choices.iter().any(|(name, _)| name == text) => Ok(()),
            _ => Err(self.wrong_type()),
        }
    }
}

/// Names of choices, separated by commas.
fn names(choices: &[(&str, &str)]) -> String {
    choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Checks the name of an allowed command: `[a-z0-9][a-z0-9._-]*`, 1..64 characters.
///
/// # Errors
/// Names the field and the limit.
pub(crate) fn exec_name(field: &str, name: &str) -> Result<(), Invalid> {
    let good = |(at, c): (usize, char)| c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && matches!(c, '.' | '_' | '-'));
    if name.is_empty() || name.len() > EXEC_NAME_MAX_CHARS || !name.char_indices().all(good) {
        return Err(Invalid::new(
            field,
            format!("not 1..{EXEC_NAME_MAX_CHARS} of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: ParamSpec = ParamSpec { name: "after_s", field: "params.after_s", label: "After", ..ParamSpec::integer(1, 300) };

    #[test]
    fn what_was_typed_is_parsed_by_the_kind_and_nothing_is_absent() {
        let seconds = SECONDS.unit("s").or(10);
        assert_eq!(seconds.parse(" 30 "), Ok(Some(ParamValue::Integer(30))));
        assert_eq!(seconds.parse(" "), Ok(None));
        assert_eq!(seconds.parse("soon").map_err(|invalid| invalid.to_string()), Err("params.after_s: must be a whole number".into()));
        let huge = seconds.parse("99999999999999999999").unwrap().unwrap();
        assert!(seconds.check(&huge).unwrap_err().problem.ends_with("is outside 1..300"));
        assert_eq!((seconds.form_label(), seconds.form_hint(), seconds.form_value()), ("After (s)".into(), "1 to 300".into(), "10".into()));
        let texts = ParamSpec::new(ParamKind::Texts { max_entries: 1, max_chars: 3 });
        let of = |name: &str, text: &str| ParamValue::Texts(BTreeMap::from([(name.into(), text.into())]));
        assert_eq!(texts.parse("\n a = 1 \n"), Ok(Some(of("a", "1"))));
        assert!(texts.parse("a").is_err() && texts.parse("a=1\na=2").is_err() && texts.check(&of("a", "long")).is_err());
        assert!(texts.check(&texts.parse("a=1\nb=2").unwrap().unwrap()).is_err());
        let password = ParamSpec::new(ParamKind::Text { min_chars: 8, max_chars: 63 }).verbatim();
        assert_eq!(password.parse(" 12 "), Ok(Some(ParamValue::Text(" 12 ".into()))));
        assert_eq!(ParamSpec::new(ParamKind::Flag).parse("off"), Ok(Some(ParamValue::Flag(false))));
    }

    #[test]
    fn a_value_of_another_kind_is_refused_without_being_repeated() {
        let problem = |spec: ParamSpec, value: ParamValue| spec.check(&value).unwrap_err().problem;
        assert_eq!(problem(SECONDS, ParamValue::Text("sesame".into())), "not a whole number");
        assert_eq!(problem(SECONDS, ParamValue::Integer(301)), "301 is outside 1..300");
        let choice = ParamSpec::new(ParamKind::Choice(&[("a", "A"), ("b", "B")]));
        assert_eq!(problem(choice, ParamValue::Text("sesame".into())), "not one of a, b");
        assert_eq!(problem(ParamSpec::new(ParamKind::Flag), ParamValue::Integer(1)), "not true or false");
    }
}
