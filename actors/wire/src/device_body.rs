//! Bodies and frames of devices: what is unusable of one costs nothing else.

use domain::Invalid;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use crate::tolerant;

/// Values of keys that repeat which are tried before the last one of the key, of a body.
const EARLIER_MAX: usize = 16;

/// Why a body cannot be read, even so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no JSON.
    NotJson {
        /// Line of what is wrong, from 1.
        line: usize,
        /// Column of what is wrong, from 1.
        column: usize,
    },
    /// It is no object, or lacks something.
    Invalid(Invalid),
}

impl From<Invalid> for Unreadable {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// Fields of a body whose values could not be used as they were, for counting.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UnusableFields(Vec<String>);

impl UnusableFields {
    /// Adds a field.
    pub fn note(&mut self, field: impl Into<String>) {
        self.0.push(field.into());
    }

    /// Adds some fields.
    pub fn note_all(&mut self, fields: Vec<&'static str>) {
        self.0.extend(fields.into_iter().map(str::to_owned));
    }

    /// The fields.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The usual body, which reads as a whole.
pub fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    // A list must not pass for an object, as serde would have it.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(bytes).ok()).flatten()
}

/// The object of a body that does not read as a whole.
///
/// # Errors
/// It is not JSON even so, or no object.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    tolerant::object(bytes).map_err(|error| match error.classify() {
        Category::Data => Invalid::new("body", "not an object").into(),
        _ => Unreadable::NotJson { line: error.line(), column: error.column() },
    })
}

/// A body, without fields that do not read.
///
/// # Errors
/// As [`object`], or what is left lacks something.
pub fn read<T: DeserializeOwned>(bytes: &[u8], unusable: &mut UnusableFields) -> Result<T, Unreadable> {
    if let Some(read) = whole(bytes) {
        return Ok(read);
    }
    let mut object = object(bytes)?;
    let mut earlier = tolerant::earlier(bytes);
    earlier.drain(..earlier.len().saturating_sub(EARLIER_MAX));
    loop {
        let error = match serde_path_to_error::deserialize(Value::Object(object.clone())) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        // Each turn removes a value, of which a type has few; one that was told before stands for it, if there is any.
        match error.path().iter().next() {
            Some(Segment::Map { key }) if object.remove(key).is_some() => {
                if let Some(at) = earlier.iter().rposition(|(path, _)| path == key) {
                    object.insert(key.clone(), earlier.remove(at).1);
                } else {
                    unusable.note(key.clone());
                }
            }
            _ => {
                // The library's message may repeat a value, however long; what is wrong comes first.
                let problem: String = error.into_inner().to_string().chars().take(160).collect();
                return Err(Invalid::new("body", problem).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::ActionResult;
    use crate::socket::UpHeader;

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "{", "garbage", "\0\0", "{\"a\":1"] {
            assert!(matches!(object(text.as_bytes()), Err(Unreadable::NotJson { .. })), "{text}");
        }
        for text in ["[]", "null", "7", "\"{}\""] {
            assert_eq!(object(text.as_bytes()), Err(Invalid::new("body", "not an object").into()), "{text}");
        }
    }

    #[test]
    fn fields_that_do_not_read_are_left_out_and_named() {
        let mut unusable = UnusableFields::default();
        let text = br#"{"request_id":"r","outcome":"success","message":7,"code":["x"],"finished_at":NaN,"data":{"a":1e400},"other":[]}"#;
        let read: ActionResult = read(text, &mut unusable).unwrap();
        assert_eq!((read.outcome.as_str(), read.message, read.code), ("success", None, None));
        assert_eq!((read.data.unwrap()["a"].as_str(), read.finished_at.as_deref()), (Some("1e400"), Some("NaN")));
        assert_eq!(unusable.iter().collect::<Vec<_>>(), ["code", "message"]);
    }

    #[test]
    fn of_fields_that_are_told_twice_the_last_that_reads_counts() {
        let mut unusable = UnusableFields::default();
        let text = br#"{"request_id":"r","outcome":"failed","outcome":"success","message":"ok","message":7,"code":[],"code":{}}"#;
        let read: ActionResult = read(text, &mut unusable).unwrap();
        assert_eq!((read.outcome.as_str(), read.message.as_deref(), read.code), ("success", Some("ok"), None));
        assert_eq!(unusable.iter().collect::<Vec<_>>(), ["code"]);
    }

    #[test]
    fn what_lacks_something_is_refused() {
        let header = |text: &str| read::<UpHeader>(text.as_bytes(), &mut UnusableFields::default());
        for text in [r#"{"id":"a"}"#, r#"{"type":5,"id":"a"}"#] {
            assert!(matches!(header(text), Err(Unreadable::Invalid(_))), "{text}");
        }
        let header = header(r#"{"type":"heartbeat","id":7,"battery":{"pct":NaN}}"#).unwrap();
        assert_eq!((header.kind.as_str(), header.id.unwrap().get()), ("heartbeat", "7"));
    }
}
