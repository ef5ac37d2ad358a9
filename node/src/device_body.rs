//! Bodies and frames of devices: what is unusable of one costs nothing else.

use axum::http::StatusCode;
use domain::Invalid;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use wire::tolerant;

use crate::api_error::ApiError;

/// Fields of a body whose values could not be used as they were, for counting.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UnusableFields(Vec<String>);

impl UnusableFields {
    /// Adds a field.
    pub(crate) fn note(&mut self, field: impl Into<String>) {
        self.0.push(field.into());
    }

    /// Adds some fields.
    pub(crate) fn note_all(&mut self, fields: Vec<&'static str>) {
        self.0.extend(fields.into_iter().map(str::to_owned));
    }

    /// The fields.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The usual body, which reads as a whole.
pub(crate) fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    // A list must not pass for an object, as serde would have it.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(bytes).ok()).flatten()
}

/// The object of a body that does not read as a whole.
///
/// # Errors
/// 400 when it is not JSON even so, 422 when it is no object.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    tolerant::object(bytes).map_err(|error| match error.classify() {
        Category::Data => Invalid::new("body", "not an object").into(),
        _ => ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", format!("not JSON: line {} column {}", error.line(), error.column())),
    })
}

/// A body, without fields that do not read.
///
/// # Errors
/// As [`object`]; 422 when what is left lacks something.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], unusable: &mut UnusableFields) -> Result<T, ApiError> {
    if let Some(read) = whole(bytes) {
        return Ok(read);
    }
    let mut object = object(bytes)?;
    loop {
        let error = match serde_path_to_error::deserialize(Value::Object(object.clone())) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        // Each turn removes a field, of which a type has few.
        match error.path().iter().next() {
            Some(Segment::Map { key }) if object.remove(key).is_some() => unusable.note(key.clone()),
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
    use wire::command::ActionResult;
    use wire::socket::UpHeader;

    fn refused(text: &str) -> u16 {
        object(text.as_bytes()).unwrap_err().status().as_u16()
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert_eq!(["", "{", "garbage", "\0\0", "{\"a\":1"].map(refused), [400; 5]);
        assert_eq!(["[]", "null", "7", "\"{}\""].map(refused), [422; 4]);
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
    fn what_lacks_something_is_refused() {
        let header = |text: &str| read::<UpHeader>(text.as_bytes(), &mut UnusableFields::default());
        assert_eq!(header(r#"{"id":"a"}"#).unwrap_err().status().as_u16(), 422);
        assert_eq!(header(r#"{"type":5,"id":"a"}"#).unwrap_err().status().as_u16(), 422);
        let header = header(r#"{"type":"heartbeat","id":7,"battery":{"pct":NaN}}"#).unwrap();
        assert_eq!((header.kind.as_str(), header.id.unwrap().get()), ("heartbeat", "7"));
    }
}
