//! JSON as devices send it, for a reader that refuses what is not JSON to the letter: numbers that are none (`NaN`, `1e400`), values
//! that are missing, characters that text must not have, objects within objects without end.
//!
//! No reader of JSON that is kept up takes all of them. One pass over the text, whose result is at most six times as long.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// Deepest nesting that is read; what is below reads as null.
const DEPTH_MAX: usize = 32;
/// Longest word outside of quotes that is kept.
const WORD_MAX_BYTES: usize = 64;
/// What text has in place of what is no character: no reading takes a control character.
const NO_CHARACTER: &[u8] = b"\\u0000";

/// The object of a body; of keys that repeat the last one counts. The values before it: [`earlier`].
///
/// # Errors
/// It is no JSON object, even so.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_slice(&repaired(bytes))
}

/// Values of the object of a body that a later one of the same key stands for, in their order, each with its path: `seq`, or
/// `battery.pct` for one in an object within.
pub fn earlier(bytes: &[u8]) -> Vec<(String, Value)> {
    let text = repaired(bytes);
    let mut earlier = Vec::new();
    let Some(Pairs(pairs)) = serde_json::from_slice(&text).ok() else { return earlier };
    for ((key, value), is_last) in told_last(pairs) {
        match serde_json::from_str::<Pairs<'_>>(value.get()) {
            Ok(Pairs(within)) => {
                for ((inner, value), is_last_within) in told_last(within) {
                    if !(is_last && is_last_within) {
                        earlier.extend(serde_json::from_str(value.get()).ok().map(|value| (format!("{key}.{inner}"), value)));
                    }
                }
            }
            Err(_) if is_last => {}
            Err(_) => earlier.extend(serde_json::from_str(value.get()).ok().map(|value| (key, value))),
        }
    }
    earlier
}

/// Keys and values of an object in their order, whether or not they repeat.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

/// Pairs, and whether each is the last one of its key.
fn told_last(pairs: Vec<(String, &RawValue)>) -> Vec<((String, &RawValue), bool)> {
    let last: HashMap<String, usize> = pairs.iter().enumerate().map(|(at, (key, _))| (key.clone(), at)).collect();
    pairs.into_iter().enumerate().map(|(at, pair)| (last.get(&pair.0) == Some(&at), pair)).map(|(is_last, pair)| (pair, is_last)).collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(PairsVisitor).map(Pairs)
    }
}

/// The elements of a list, each as it was sent, `max` and one more at most; `None`: not a list, or not the whole of one.
pub fn elements(bytes: &[u8], max: usize) -> Option<Vec<&[u8]>> {
    let list = without_mark(bytes).trim_ascii_start().strip_prefix(b"[")?;
    if list.trim_ascii_start().first() == Some(&b']') {
        return list.trim_ascii().strip_prefix(b"]").filter(|rest| rest.is_empty()).map(|_| vec![]);
    }
    let (mut elements, mut start, mut depth, mut at) = (vec![], 0, 0usize, 0);
    while elements.len() <= max {
        match list.get(at)? {
            b'"' => at = string_end(list, at)?,
            b'{' | b'[' => depth += 1,
            b',' if depth == 0 => {
                elements.push(list[start..at].trim_ascii());
                start = at + 1;
            }
            b']' | b'}' if depth > 0 => depth -= 1,
            b']' => {
                elements.push(list[start..at].trim_ascii());
                return list[at + 1..].trim_ascii().is_empty().then_some(elements);
            }
            _ => {}
        }
        at += 1;
    }
    Some(elements)
}

/// Place of the quote that ends the string whose first quote is at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Without the byte order mark that some put in front.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Whether a value may stand here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// After a colon: a value has to follow.
    Value,
    /// In a list: a value may follow.
    Element,
    /// A key, or the end.
    Key,
}

/// JSON text that a strict reader takes, of `bytes`; what cannot be made of them is left for that reader to refuse.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let bytes = without_mark(bytes);
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut objects: Vec<bool> = Vec::new();
    let mut place = Place::Key;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => at = string(bytes, at, &mut out),
            b'{' | b'[' if objects.len() == DEPTH_MAX => {
                out.extend_from_slice(b"null");
                at = container_end(bytes, at);
            }
            b'{' | b'[' => {
                objects.push(byte == b'{');
                place = if byte == b'{' { Place::Key } else { Place::Element };
                out.push(byte);
                at += 1;
                continue;
            }
            b'}' | b']' | b',' => {
                if place == Place::Value {
                    out.extend_from_slice(b"null");
                }
                if byte != b',' {
                    objects.pop();
                }
                out.push(byte);
                at += 1;
            }
            b':' => {
                place = Place::Value;
                out.push(byte);
                at += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                out.push(byte);
                at += 1;
                continue;
            }
            _ => at = word(bytes, at, place, &mut out),
        }
        place = if objects.last() == Some(&false) { Place::Element } else { Place::Key };
    }
    out
}

/// Place behind a list or an object, or the end.
fn container_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match string_end(bytes, at) {
                Some(end) => at = end,
                None => return bytes.len(),
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

/// Writes what stands outside of quotes: as it is, or as text where it is a value that JSON does not have.
fn word(bytes: &[u8], start: usize, place: Place, out: &mut Vec<u8>) -> usize {
    let ends = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n');
    let end = bytes[start..].iter().position(ends).map_or(bytes.len(), |length| start + length);
    let word = &bytes[start..end];
    let known = matches!(word, b"true" | b"false" | b"null") || serde_json::from_slice::<Number>(word).is_ok();
    if known || place == Place::Key {
        out.extend_from_slice(word);
    } else {
        let kept = String::from_utf8_lossy(&word[..word.len().min(WORD_MAX_BYTES)]);
        out.extend_from_slice(Value::from(kept).to_string().as_bytes());
    }
    end
}

/// Writes the string that begins at `start`, and tells where the text goes on.
fn string(bytes: &[u8], start: usize, out: &mut Vec<u8>) -> usize {
    out.push(b'"');
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                out.push(b'"');
                return at + 1;
            }
            b'\\' => at += escape(&bytes[at..], out),
            0..0x20 => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                at += 1;
            }
            0x20..0x80 => {
                out.push(byte);
                at += 1;
            }
            _ => match character(&bytes[at..]) {
                Some(character) => {
                    out.extend_from_slice(character);
                    at += character.len();
                }
                None => {
                    out.extend_from_slice(NO_CHARACTER);
                    at += 1;
                }
            },
        }
    }
    at
}

/// The character of several bytes at the front.
fn character(bytes: &[u8]) -> Option<&[u8]> {
    let length = match bytes.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    bytes.get(..length).filter(|character| std::str::from_utf8(character).is_ok())
}

/// Writes the escape at the front, and tells its length.
fn escape(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let length = match (bytes.get(1), unit(bytes)) {
        (Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'), _) => 2,
        (_, Some(0xd800..=0xdbff)) if matches!(bytes.get(6..).and_then(unit), Some(0xdc00..=0xdfff)) => 12,
        (_, Some(0xd800..=0xdfff)) => {
            out.extend_from_slice(NO_CHARACTER);
            return 6;
        }
        (_, Some(_)) => 6,
        _ => {
            out.extend_from_slice(NO_CHARACTER);
            return 1;
        }
    };
    out.extend_from_slice(&bytes[..length]);
    length
}

/// The code unit of a `\uXXXX` at the front.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(bytes: impl AsRef<[u8]>) -> Value {
        let bytes = bytes.as_ref();
        object(bytes).map(Value::Object).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
    }

    #[test]
    fn what_is_not_json_to_the_letter_reads_as_text_or_as_nothing() {
        for (sent, value) in [
            ("NaN", json!("NaN")),
            ("-Infinity", json!("-Infinity")),
            ("nan", json!("nan")),
            ("1e400", json!("1e400")),
            ("+5", json!("+5")),
            (".5", json!(".5")),
            ("007", json!("007")),
            ("undefined", json!("undefined")),
            ("٨٣", json!("٨٣")),
            ("", json!(null)),
            ("-1", json!(-1)),
            ("1e2", json!(100.0)),
            ("[NaN,2]", json!(["NaN", 2])),
            ("{\"x\":}", json!({"x": null})),
            ("\"\\ud800\"", json!("\0")),
            ("\"\\ude00\\ud83d\"", json!("\0\0")),
            ("\"\\ud83d\\ude00\"", json!("😀")),
            ("\"\\x41\"", json!("\0x41")),
            ("\"\\u12\"", json!("\0u12")),
            ("\"a\0b\"", json!("a\0b")),
            ("\"a\nb\"", json!("a\nb")),
            ("\"ä€😀\"", json!("ä€😀")),
        ] {
            assert_eq!(read(format!("{{\"a\":{sent},\"b\":7}}")), json!({"a": value, "b": 7}), "{sent}");
        }
        assert_eq!(read(b"{\"a\":\"\xff\xc3\",\"b\":\xff}"), json!({"a": "\0\0", "b": "\u{fffd}"}));
        assert_eq!(read(b"\xef\xbb\xbf {\"a\":1,\"a\":2} "), json!({"a": 2}));
    }

    #[test]
    fn values_before_the_last_of_a_key_are_told_with_their_paths() {
        let told = |text: &str| earlier(text.as_bytes()).into_iter().map(|(path, value)| format!("{path}={value}")).collect::<Vec<_>>();
        assert_eq!(told(r#"{"seq":5,"seq":NaN,"seq":7}"#), ["seq=5", "seq=\"NaN\""]);
        assert_eq!(told(r#"{"battery":{"pct":5,"pct":6},"seq":1}"#), ["battery.pct=5"]);
        assert_eq!(told(r#"{"battery":{"pct":5},"battery":{"charging":true}}"#), ["battery.pct=5"]);
        assert_eq!(told(r#"{"battery":7,"battery":{"pct":5},"battery":[]}"#), ["battery=7", "battery.pct=5"]);
        assert_eq!(told(r#"{"a":1,"b":{"c":{"d":1,"d":2}}}"#), [""; 0]);
        assert_eq!(told("[]"), [""; 0]);
        assert_eq!(told("{"), [""; 0]);
    }

    #[test]
    fn nesting_without_end_is_cut_and_costs_nothing_else() {
        let deep = format!("{{\"a\":{}\"]\"{},\"b\":7}}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(read(&deep)["b"], 7);
        let objects = format!("{{\"a\":{}1{},\"b\":7}}", "{\"}\":".repeat(10_000), "}".repeat(10_000));
        assert_eq!(read(&objects)["b"], 7);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for sent in
            ["", "{", "[]", "7", "NaN", "{\"a\":1", "{\"a\":\"", "{\"a\" 1}", "{a:1}", "{\"a\":1}}", "{\"a\":1}{}", "{\"a\":1]", "\0"]
        {
            assert!(object(sent.as_bytes()).is_err(), "{sent}");
        }
    }

    #[test]
    fn a_list_is_taken_apart_whatever_its_elements_are() {
        let apart = |list: &str| {
            elements(list.as_bytes(), 4)
                .map(|parts| parts.into_iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>())
        };
        let some = |parts: &[&str]| Some(parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(apart(r#" [{"a":NaN}, {"b":"],\""} ,7] "#), some(&[r#"{"a":NaN}"#, r#"{"b":"],\""}"#, "7"]));
        assert_eq!(apart(r#"[{"a":[1,2],]"#), None, "cut off");
        assert_eq!(apart(r#"[{"a":[1,2}],{}]"#), some(&[r#"{"a":[1,2}]"#, "{}"]));
        assert_eq!(apart("[]"), some(&[]));
        assert_eq!(apart("[,]"), some(&["", ""]));
        assert_eq!(apart("[1,2,3,4,5,6,7]").unwrap().len(), 5, "one more than are allowed");
        for no_list in ["", "{}", "7", "[1] 2", "[1", "[\"", "[\"\\"] {
            assert_eq!(apart(no_list), None, "{no_list}");
        }
    }

    /// JSON with some of its bytes replaced.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![Just(include_str!("../fixtures/heartbeat-full.json").to_owned()), "[\\[\\]{}\",:\\\\a0 ]{0,60}"];
        (text, proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)).prop_map(|(text, changes)| {
            let mut bytes = text.into_bytes();
            if !bytes.is_empty() {
                changes.into_iter().for_each(|(at, byte)| {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                });
            }
            bytes
        })
    }

    proptest! {
        /// Any bytes are read to their end, within the bound, and whatever a strict reader takes reads the same.
        #[test]
        fn any_bytes_are_read_within_the_bound(bytes in prop_oneof![damaged(), proptest::collection::vec(any::<u8>(), 0..200)]) {
            prop_assert!(repaired(&bytes).len() <= 6 * bytes.len() + 64);
            let _ = elements(&bytes, 100);
            let _ = earlier(&bytes);
            if let Ok(strict) = serde_json::from_slice::<Map<String, Value>>(&bytes) {
                prop_assert_eq!(object(&bytes).ok(), Some(strict));
            }
        }
    }
}
