//! Parts of the API's description that are made from the tables of `domain`.

use std::collections::BTreeMap;

use domain::action::{ActionKind, ActionSpec};
use domain::deployment::{OptionSpec, option_specs};
use domain::param::{ParamKind, ParamSpec, ParamValue};
use utoipa::openapi::schema::{AdditionalProperties, AllOfBuilder, Discriminator, OneOfBuilder};
use utoipa::openapi::{Object, ObjectBuilder, OpenApi, Ref, RefOr, Schema, Type};

/// Component that describes an action with its parameters.
const ACTION: &str = "Action";
/// Bodies that hold an action beside fields of their own.
const WITH_ACTION: [&str; 2] = ["CommandRequest", "BatchRequest"];

/// Component that describes the options of a deployment.
const OPTIONS: &str = "DeploymentOptions";

/// Describes what the tables declare.
pub(crate) fn describe(description: &mut OpenApi) {
    let schemas = &mut description.components.get_or_insert_default().schemas;
    schemas.insert(ACTION.to_owned(), action().into());
    schemas.insert(OPTIONS.to_owned(), options().into());
    for name in WITH_ACTION {
        if let Some(RefOr::T(Schema::Object(fields))) = schemas.get_mut(name) {
            for of_action in ["action", "params"] {
                fields.properties.remove(of_action);
                fields.required.retain(|name| name != of_action);
            }
            // The action's own fields stand beside these.
            fields.additional_properties = None;
            let with_action = AllOfBuilder::new().item(Ref::from_schema_name(ACTION)).item(std::mem::take(fields)).build();
            schemas.insert(name.to_owned(), RefOr::T(Schema::AllOf(with_action)));
        }
    }
}

/// Every action, told apart by `action`.
fn action() -> Schema {
    let actions = ActionKind::ALL.into_iter().map(|kind| variant(kind.spec()));
    actions
        .fold(OneOfBuilder::new(), OneOfBuilder::item)
        .description(Some("Action with its parameters."))
        .discriminator(Some(Discriminator::new("action")))
        .build()
        .into()
}

fn variant(spec: &ActionSpec) -> Object {
    let owner = if spec.device_owner { " Requires device owner." } else { "" };
    let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([spec.name]));
    let params = spec.params.iter().fold(ObjectBuilder::new().schema_type(Type::Object), |params, param| {
        let params = params.property(param.name, param_schema(param));
        if param.required && param.unless.is_none() { params.required(param.name) } else { params }
    });
    let needed = spec.params.iter().any(|param| param.required && param.unless.is_none());
    let variant = ObjectBuilder::new()
        .schema_type(Type::Object)
        .title(Some(spec.title))
        .description(Some(format!("{}{owner} Scope `{}`.", spec.description, spec.permission.as_str())))
        .property("action", name)
        .property("params", params.additional_properties(Some(AdditionalProperties::FreeForm(false))))
        .required("action");
    if needed { variant.required("params").build() } else { variant.build() }
}

/// Every option of a deployment; those of several values are objects.
fn options() -> Schema {
    let (mut flat, mut nested) = (object(), BTreeMap::new());
    for spec in option_specs() {
        match spec.param.name.split_once('.') {
            None => flat = flat.property(spec.param.name, option_schema(spec)),
            Some((group, name)) => {
                let fields = nested.remove(group).unwrap_or_else(object);
                nested.insert(group, fields.property(name, option_schema(spec)));
            }
        }
    }
    let all = nested.into_iter().fold(flat, |all, (group, fields)| all.property(group, fields));
    all.description(Some("Options of a deployment; absent ones have conservative defaults.")).build().into()
}

fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn option_schema(spec: &OptionSpec) -> Object {
    let mut schema = param_schema(&spec.param);
    if !spec.param.hint.is_empty() {
        schema.description = Some(format!("{}: {}.", spec.param.form_label(), spec.param.hint));
    }
    schema.default = match spec.default_value() {
        Some(ParamValue::Integer(number)) => Some(number.into()),
        Some(ParamValue::Flag(on)) => Some(on.into()),
        _ => None,
    };
    schema
}

/// Schema of a parameter.
pub(crate) fn param_schema(spec: &ParamSpec) -> Object {
    let hint = match spec.unless {
        Some((other, value)) => format!(" Required unless {other} is {value}."),
        None => String::new(),
    };
    let zero = if spec.zero.is_empty() { String::new() } else { format!(" 0: {}.", spec.zero) };
    let schema = ObjectBuilder::new().description(Some(format!("{}.{zero}{hint}", spec.form_label())));
    let schema = match spec.kind {
        ParamKind::Integer { min, max } => schema.schema_type(Type::Integer).minimum(Some(min)).maximum(Some(max)),
        ParamKind::Flag => schema.schema_type(Type::Boolean),
        ParamKind::Text { min_chars, max_chars } => {
            schema.schema_type(Type::String).min_length(Some(min_chars)).max_length(Some(max_chars))
        }
        ParamKind::Bytes { max_bytes } => schema.schema_type(Type::String).min_length(Some(1)).max_length(Some(max_bytes)),
        ParamKind::Package | ParamKind::ExecCommand => schema.schema_type(Type::String),
        ParamKind::Texts { max_chars, .. } => {
            let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(max_chars)).build();
            schema.schema_type(Type::Object).additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(text.into()))))
        }
        ParamKind::Choice(choices) => schema.schema_type(Type::String).enum_values(Some(choices.iter().map(|(name, _)| *name))),
    };
    match spec.default {
        Some(default) => schema.default(Some(default.into())).build(),
        None => schema.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn described() -> Value {
        #[derive(utoipa::OpenApi)]
        #[openapi(components(schemas(wire::command::CommandRequest, wire::command::BatchRequest)))]
        struct Bodies;
        let mut description = <Bodies as utoipa::OpenApi>::openapi();
        describe(&mut description);
        serde_json::to_value(description).unwrap()["components"]["schemas"].clone()
    }

    #[test]
    fn every_action_is_described_with_its_parameters_and_limits() {
        let schemas = described();
        let variants = schemas["Action"]["oneOf"].as_array().unwrap();
        assert_eq!(variants.len(), ActionKind::ALL.len());
        for kind in ActionKind::ALL {
            let variant = variants.iter().find(|variant| variant["properties"]["action"]["enum"] == json!([kind.as_str()])).unwrap();
            let params = &variant["properties"]["params"]["properties"];
            assert_eq!(params.as_object().map_or(0, serde_json::Map::len), kind.spec().params.len(), "{kind:?}");
        }
        let ring = variants.iter().find(|variant| variant["title"] == "Ring").unwrap();
        let duration = &ring["properties"]["params"]["properties"]["duration_s"];
        assert_eq!((&duration["minimum"], &duration["maximum"], &duration["default"]), (&json!(1), &json!(300), &json!(10)));
        assert_eq!(ring["required"], json!(["action"]));
    }

    #[test]
    fn every_option_is_described_with_its_default() {
        let options = &described()["DeploymentOptions"]["properties"];
        assert_eq!(options["min_battery_pct"]["default"], json!(40));
        assert_eq!(options["wifi_only"]["default"], json!(true));
        assert_eq!(options["retries"]["properties"]["max"]["maximum"], json!(20));
        assert_eq!(options["canary"]["properties"]["size"]["default"], Value::Null, "it depends on the target");
        assert_eq!(options["restart_intent"]["properties"]["extras"]["additionalProperties"]["type"], "string");
        for spec in option_specs() {
            let path = format!("/{}", spec.param.name.replace('.', "/properties/"));
            assert!(options.pointer(&path).is_some(), "{path}");
        }
    }

    #[test]
    fn bodies_with_an_action_fit_when_its_parameters_do() {
        let schemas = described();
        for (body, fits) in [
            (json!({"action": "ring", "params": {"duration_s": 3}, "expires_in_s": 60}), true),
            (json!({"action": "ping"}), true),
            (json!({"action": "wifi_connect", "params": {"ssid": "shop", "security": "open"}}), true),
            (json!({"action": "ring", "params": {"duration_s": 301}}), false),
            (json!({"action": "ring", "params": {"loud": true}}), false),
            (json!({"action": "launch_app"}), false),
            (json!({"action": "wipe"}), false),
        ] {
            let schema = json!({"$ref": "#/components/schemas/CommandRequest", "components": {"schemas": schemas}});
            let validator = jsonschema::validator_for(&schema).unwrap();
            assert_eq!(validator.is_valid(&body), fits, "{body}");
        }
        assert!(schemas["BatchRequest"]["allOf"][1]["properties"]["target"].is_object());
    }
}
