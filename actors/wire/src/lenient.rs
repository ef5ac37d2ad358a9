//! Number and object forms that agents in the field send and newer ones do not.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The largest magnitude at which every integer still has its own `f64`.
const EXACT_F64: f64 = 9_007_199_254_740_992.0;

/// An integer that may arrive as `87`, `87.0`, `"87"` or `1.2345678E7`.
///
/// Anything with a fraction, and anything that is not a number, is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Int(pub i64);

/// A number that may arrive as a JSON number or as text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct Float(pub f64);

struct IntVisitor;

impl IntVisitor {
    fn integral<E: Error>(value: f64) -> Result<Int, E> {
        if value.fract() == 0.0 && value.abs() <= EXACT_F64 {
            Ok(Int(value as i64))
        } else {
            Err(E::custom(format_args!("{value} is not a whole number within range")))
        }
    }
}

impl Visitor<'_> for IntVisitor {
    type Value = Int;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Int, E> {
        Ok(Int(value))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Int, E> {
        i64::try_from(value).map(Int).map_err(|_| E::custom(format_args!("{value} is out of range")))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Int, E> {
        Self::integral(value)
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Int, E> {
        if let Ok(whole) = value.parse::<i64>() {
            return Ok(Int(whole));
        }
        match value.parse::<f64>() {
            Ok(number) => Self::integral(number),
            Err(_) => Err(E::custom("text that is not a whole number")),
        }
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor)
    }
}

struct FloatVisitor;

impl Visitor<'_> for FloatVisitor {
    type Value = Float;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Float, E> {
        Ok(Float(value as f64))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Float, E> {
        Ok(Float(value as f64))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Float, E> {
        Ok(Float(value))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Float, E> {
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Float(number)),
            _ => Err(E::custom("text that is not a number")),
        }
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FloatVisitor)
    }
}

/// An object, or nothing: null, a missing field and a list (which older agents
/// send where an object is documented) all read as absent.
pub fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct ObjectVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }

    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_in_every_form_that_is_in_the_field() {
        for (json, want) in [
            ("87", 87),
            ("87.0", 87),
            ("\"87\"", 87),
            ("\"87.0\"", 87),
            ("1.2345678E7", 12_345_678),
            ("\"1.2345678E7\"", 12_345_678),
            ("-1", -1),
        ] {
            assert_eq!(serde_json::from_str::<Int>(json).unwrap(), Int(want), "{json}");
        }
    }

    #[test]
    fn what_is_not_a_whole_number_is_refused() {
        for json in ["87.5", "\"87.5\"", "\"\"", "\"abc\"", "true", "[1]", "1e300", "18446744073709551615", "\"NaN\"", "\"inf\""] {
            assert!(serde_json::from_str::<Int>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn floats_as_numbers_or_text_but_never_infinite() {
        assert_eq!(serde_json::from_str::<Float>("31.5").unwrap(), Float(31.5));
        assert_eq!(serde_json::from_str::<Float>("\"31\"").unwrap(), Float(31.0));
        for json in ["\"inf\"", "\"NaN\"", "\"warm\""] {
            assert!(serde_json::from_str::<Float>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_list_or_null_reads_as_an_absent_object() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default, deserialize_with = "object")]
            inner: Option<Inner>,
        }
        #[derive(Deserialize)]
        struct Inner {
            a: u8,
        }
        let read = |json: &str| serde_json::from_str::<Holder>(json).map(|h| h.inner.map(|i| i.a));
        assert_eq!(read(r#"{"inner":{"a":1}}"#).unwrap(), Some(1));
        assert_eq!(read(r#"{"inner":[1,{"a":2}]}"#).unwrap(), None);
        assert_eq!(read(r#"{"inner":null}"#).unwrap(), None);
        assert_eq!(read("{}").unwrap(), None);
        assert!(read(r#"{"inner":7}"#).is_err());
    }
}
