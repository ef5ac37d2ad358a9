//! The device filter in bodies and in queries, with the schema of both, after the table of filters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use domain::query::{FILTER_TEXT_MAX_CHARS, FilterKey, FilterKind, FilterSpec, FilterValue};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Required};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// Device filter; an empty one matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(pub BTreeMap<FilterKey, FilterValue>);

/// The same in a query, where every value is text. Flattened into the type of a query; it refuses what neither of the two knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterParams(pub Filter);

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            let name = key.spec().name;
            match value {
                FilterValue::Text(text) => map.serialize_entry(name, text)?,
                FilterValue::Number(number) => map.serialize_entry(name, number)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FilterVisitor { of_query: false })
    }
}

impl<'de> Deserialize<'de> for FilterParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FilterVisitor { of_query: true }).map(Self)
    }
}

struct FilterVisitor {
    of_query: bool,
}

impl FilterVisitor {
    /// A filter by its name, or in a query by its letter.
    fn key(&self, name: &str) -> Option<FilterKey> {
        let by_letter = |key: &&FilterKey| key.spec().letter.is_some_and(|letter| name.chars().eq([letter]));
        FilterKey::named(name).or_else(|| FilterKey::ALL.iter().filter(|_| self.of_query).find(by_letter).copied())
    }

    /// A value by the kind of its filter; null is none. Limits are checked later, where the field can be named.
    fn value<'de, A: MapAccess<'de>>(&self, map: &mut A, spec: &FilterSpec) -> Result<Option<FilterValue>, A::Error> {
        Ok(match (&spec.kind, self.of_query) {
            (FilterKind::Below { .. }, false) => map.next_value::<Option<i64>>()?.map(FilterValue::Number),
            (_, false) => map.next_value::<Option<String>>()?.map(FilterValue::Text),
            (FilterKind::Below { .. }, true) => {
                let number = map.next_value::<String>()?.parse();
                Some(FilterValue::Number(number.map_err(|_| A::Error::custom(format_args!("{}: not a whole number", spec.name)))?))
            }
            (_, true) => Some(FilterValue::Text(map.next_value()?)),
        })
    }
}

impl<'de> Visitor<'de> for FilterVisitor {
    type Value = Filter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a device filter")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filter, A::Error> {
        let mut filter = Filter::default();
        let mut given = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let Some(key) = self.key(&name) else {
                let known: Vec<_> = FilterKey::ALL.iter().map(|key| key.spec().name).collect();
                return Err(A::Error::custom(format_args!("unknown field `{name}`, the filters are {}", known.join(", "))));
            };
            let spec = key.spec();
            if !given.insert(key) {
                return Err(A::Error::duplicate_field(spec.name));
            }
            if let Some(value) = self.value(&mut map, spec)? {
                filter.0.insert(key, value);
            }
        }
        Ok(filter)
    }
}

/// Schema of a value; in a body it may be null.
fn schema_of(spec: &FilterSpec, nullable: bool) -> ObjectBuilder {
    let object = ObjectBuilder::new().description(Some(spec.help));
    let typed = |kind: Type| if nullable { SchemaType::from_iter([kind, Type::Null]) } else { SchemaType::new(kind) };
    match &spec.kind {
        FilterKind::Below { min, max, .. } => object
            .schema_type(typed(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(*min))
            .maximum(Some(*max)),
        FilterKind::Choice { choices } => {
            let names = choices().into_iter().map(|(name, _)| Value::from(name));
            object.schema_type(typed(Type::String)).enum_values(Some(names.chain(nullable.then_some(Value::Null))))
        }
        FilterKind::Search | FilterKind::Exact { .. } => object.schema_type(typed(Type::String)).max_length(Some(FILTER_TEXT_MAX_CHARS)),
    }
}

impl PartialSchema for Filter {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Object))
            .description(Some("Device filter; an empty one matches all."))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        let properties = FilterKey::ALL.iter().map(|key| key.spec());
        properties.fold(object, |object, spec| object.property(spec.name, schema_of(spec, true))).into()
    }
}

impl ToSchema for Filter {}

impl IntoParams for FilterParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter = |key: &FilterKey| {
            let spec = key.spec();
            ParameterBuilder::new()
                .name(spec.name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(spec.help))
                .schema(Some(schema_of(spec, false)))
                .build()
        };
        FilterKey::ALL.iter().map(parameter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    fn number(number: i64) -> FilterValue {
        FilterValue::Number(number)
    }
    fn text(text: &str) -> FilterValue {
        FilterValue::Text(text.into())
    }

    #[test]
    fn a_body_is_read_by_kind_and_comes_back_the_same() {
        let body = json!({"status": "online", "battery_below": 20, "text": "kiosk"});
        let filter: Filter = from_value(body.clone()).unwrap();
        let wanted = [(FilterKey::Connectivity, text("online")), (FilterKey::BatteryBelow, number(20)), (FilterKey::Text, text("kiosk"))];
        assert_eq!(filter, Filter(wanted.into()));
        assert_eq!(to_value(&filter).unwrap(), body);
        assert_eq!(from_value::<Filter>(json!({"tag": null})).unwrap(), Filter::default());
        for bad in [
            json!({"battery_below": "20"}),
            json!({"battery_below": 20.5}),
            json!({"tag": 7}),
            json!({"colour": "red"}),
            json!({"q": "x"}),
            json!([]),
        ] {
            assert!(from_value::<Filter>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[derive(Debug, Deserialize)]
    struct Query {
        #[serde(default)]
        deleted: bool,
        #[serde(flatten)]
        filter: FilterParams,
    }

    #[test]
    fn a_query_is_read_from_text_beside_other_parameters() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (*name, *value));
            Query::deserialize(serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(pairs))
        };
        let query = read(&[("q", "kiosk"), ("battery_below", "20")]).unwrap();
        assert!(!query.deleted);
        assert_eq!(query.filter, FilterParams(Filter([(FilterKey::Text, text("kiosk")), (FilterKey::BatteryBelow, number(20))].into())));
        for (bad, problem) in [
            (vec![("colour", "red")], "unknown field `colour`"),
            (vec![("battery_below", "low")], "battery_below: not a whole number"),
            (vec![("tag", "a"), ("tag", "b")], "duplicate field `tag`"),
            (vec![("q", "a"), ("text", "b")], "duplicate field `text`"),
        ] {
            let refused = read(&bad).unwrap_err().to_string();
            assert!(refused.starts_with(problem), "{refused}");
        }
    }

    #[test]
    fn the_description_names_every_filter_with_its_limits() {
        let schema = to_value(Filter::schema()).unwrap();
        let parameters = to_value(FilterParams::into_params(|| None)).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"].as_object().unwrap().len(), FilterKey::ALL.len());
        for (key, parameter) in FilterKey::ALL.iter().zip(parameters.as_array().unwrap()) {
            let spec = key.spec();
            assert_eq!((&parameter["name"], &parameter["description"]), (&json!(spec.name), &json!(spec.help)));
            let property = &schema["properties"][spec.name];
            match &spec.kind {
                FilterKind::Below { min, max, .. } => {
                    assert_eq!((&property["minimum"], &property["maximum"]), (&json!(min), &json!(max)), "{property}");
                }
                FilterKind::Choice { choices } => {
                    assert_eq!(parameter["schema"]["enum"].as_array().unwrap().len(), choices().len());
                    assert_eq!(property["enum"].as_array().unwrap().len(), choices().len() + 1, "null as well");
                }
                FilterKind::Search | FilterKind::Exact { .. } => assert_eq!(property["maxLength"], FILTER_TEXT_MAX_CHARS),
            }
        }
    }
}
