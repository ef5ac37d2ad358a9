//! Keys that repeat within an object. Readers of JSON differ in which of the values counts (RFC 8259, section 4): what one checks, another
//! carries out.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longest path that is told, in characters.
const PATH_MAX_CHARS: usize = 128;

/// Path of the first key that repeats, as `options.canary.size` or `items[2].id`; `None`: each stands once, or it is no JSON.
pub fn repeated_key(bytes: &[u8]) -> Option<String> {
    let mut repeated = None;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let _ = Value { path: &mut Vec::new(), repeated: &mut repeated }.deserialize(&mut reader);
    repeated
}

/// A value at a path.
struct Value<'a> {
    path: &'a mut Vec<String>,
    repeated: &'a mut Option<String>,
}

impl Value<'_> {
    fn within(&mut self) -> Value<'_> {
        Value { path: self.path, repeated: self.repeated }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut at = 0usize;
        loop {
            self.path.push(format!("[{at}]"));
            let more = list.next_element_seed(self.within())?;
            self.path.pop();
            if more.is_none() {
                return Ok(());
            }
            at += 1;
        }
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let step = if self.path.is_empty() { key.clone() } else { format!(".{key}") };
            self.path.push(step);
            if !keys.insert(key) {
                *self.repeated = Some(domain::text::excerpt(&self.path.concat(), PATH_MAX_CHARS));
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom("a key repeats"));
            }
            map.next_value_seed(self.within())?;
            self.path.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_key_that_repeats_is_named_by_its_path() {
        for (text, path) in [
            (r#"{"role":"viewer","role":"admin"}"#, Some("role")),
            (r#"{"role":"viewer","\u0072ole":"admin"}"#, Some("role")),
            (r#"{"a":{"b":[0,{"c":1,"c":1}]}}"#, Some("a.b[1].c")),
            (r#"[{"x":1},{"x":1,"y":2,"x":3}]"#, Some("[1].x")),
            (r#"{"a":{"x":1},"b":{"x":1},"x":[{"x":1},{"x":2}]}"#, None),
            (r#"{"a":1,"A":2}"#, None),
            (r#"{"":1,"":2}"#, Some("")),
            (r#"{"a":null,"b":true,"c":-1,"d":1.5,"e":18446744073709551615}"#, None),
            ("{", None),
            ("7", None),
        ] {
            assert_eq!(repeated_key(text.as_bytes()).as_deref(), path, "{text}");
        }
        let long = format!(r#"{{"{0}":1,"{0}":2}}"#, "x".repeat(9_000));
        assert_eq!(repeated_key(long.as_bytes()).unwrap().chars().count(), PATH_MAX_CHARS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\",:a01]{0,40}") {
            let _ = (repeated_key(&bytes), repeated_key(json.as_bytes()));
        }

        #[test]
        fn what_was_written_from_a_map_has_no_key_twice(keys in proptest::collection::hash_set("\\PC{0,8}", 1..6)) {
            let object = |value: &str| keys.iter().map(|key| format!("{}:{value}", serde_json::to_string(key).unwrap())).collect::<Vec<_>>();
            let once = object("1").join(",");
            prop_assert_eq!(repeated_key(format!("{{{once}}}").as_bytes()), None);
            let twice = format!("{{{once},{}}}", object("[2]")[0]);
            prop_assert!(repeated_key(twice.as_bytes()).is_some());
        }
    }
}
