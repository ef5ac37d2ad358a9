//! Parameters of a command in words: labels of the action table, values in their units.

use domain::action::ActionKind;
use domain::deployment::option_spec;
use domain::param::{ParamKind, ParamSpec};
use serde_json::Value;

use crate::field_labels::words;
use crate::format;

/// Parameter of a command for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParamWords {
    /// Label.
    pub(crate) label: String,
    /// Value.
    pub(crate) value: String,
    /// Whether the value says by itself what it is.
    alone: bool,
}

impl ParamWords {
    fn new(label: &str, value: String) -> Self {
        Self { label: label.to_owned(), value, alone: false }
    }
}

/// Parameters of a command, as they are stored, in the order of their declaration.
pub(crate) fn param_words(action: &str, params: &str) -> Vec<ParamWords> {
    let Ok(Value::Object(given)) = serde_json::from_str(params) else { return Vec::new() };
    if action == domain::action::DEPLOY_APK {
        return deployment_words(&Value::Object(given));
    }
    let specs = ActionKind::parse("action", action).map_or(&[][..], |kind| kind.spec().params);
    let declared = specs.iter().filter_map(|spec| Some(spec_words(spec, given.get(spec.name)?)));
    let others = given.iter().filter(|(name, _)| !specs.iter().any(|spec| spec.name == *name));
    let others = others.map(|(name, value)| match name.as_str() {
        "argv" => ParamWords::new("Program and arguments", plain(value)),
        name => ParamWords::new(&words(name), plain(value)),
    });
    declared.chain(others).filter(|words| !words.value.is_empty()).collect()
}

/// Parameters on one line: "10 s", "shop, Security WPA2".
pub(crate) fn params_line(action: &str, params: &str) -> String {
    let text = |words: ParamWords| if words.alone { words.value } else { format!("{} {}", words.label, words.value) };
    param_words(action, params).into_iter().map(text).collect::<Vec<_>>().join(", ")
}

fn spec_words(spec: &ParamSpec, value: &Value) -> ParamWords {
    let text = match (spec.kind, value.as_i64(), spec.unit) {
        (ParamKind::Choice(choices), ..) => {
            let chosen = choices.iter().find(|(name, _)| value.as_str() == Some(name));
            chosen.map_or_else(|| plain(value), |(_, label)| (*label).to_owned())
        }
        (_, Some(seconds), "s") => format::duration(seconds),
        (_, Some(number), unit) if !unit.is_empty() => format!("{number} {unit}"),
        _ => plain(value),
    };
    let alone = !spec.secret && !matches!(spec.kind, ParamKind::Choice(_) | ParamKind::Flag);
    ParamWords { label: spec.label.to_owned(), value: text, alone }
}

/// Parameters of an installation; addresses and digests are left out.
fn deployment_words(params: &Value) -> Vec<ParamWords> {
    let at = |path: &str| params.pointer(path).filter(|value| !value.is_null());
    let app = at("/apk/package").map(|package| ParamWords { alone: true, ..ParamWords::new("App", plain(package)) });
    let version = at("/apk/version_name").map(|name| {
        let code = at("/apk/version_code").map_or_else(String::new, |code| format!(" ({})", plain(code)));
        ParamWords { alone: true, ..ParamWords::new("Version", format!("{}{code}", plain(name))) }
    });
    let size = at("/apk/size").and_then(Value::as_i64).map(|size| ParamWords::new("Size", format::bytes(size)));
    let attempt = at("/attempt").map(|attempt| ParamWords::new("Attempt", plain(attempt)));
    let option = |path: &str, name: &str, value: fn(&Value) -> String| {
        at(path).map(|given| ParamWords::new(option_spec(name).map_or(name, |spec| spec.param.label), value(given)))
    };
    let window = at("/constraints/window").map(|window| {
        let part = |name: &str| window.get(name).map(plain).unwrap_or_default();
        ParamWords::new("Maintenance window", format!("{} to {}, {}", part("start"), part("end"), part("tz")))
    });
    let all = [
        app,
        version,
        size,
        attempt,
        option("/constraints/wifi_only", "wifi_only", plain),
        option("/constraints/charging_only", "charging_only", plain),
        option("/constraints/min_battery", "min_battery_pct", |pct| format!("{} %", plain(pct))),
        window,
    ];
    all.into_iter().flatten().collect()
}

/// A value without the marks of JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(on) => format::yes_no(Some(*on)).to_lowercase(),
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(", "),
        number @ Value::Number(_) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_read_as_a_line() {
        assert_eq!(params_line("ring", r#"{"duration_s":10}"#), "10 s");
        assert_eq!(params_line("set_brightness", r#"{"level_pct":40}"#), "40 %");
        let exec = params_line("exec", r#"{"argv":["/system/bin/logcat","-d"],"name":"logs"}"#);
        assert_eq!(exec, "logs, Program and arguments /system/bin/logcat -d");
        let wifi = params_line("wifi_connect", r#"{"password":"***","security":"wpa2","ssid":"shop"}"#);
        assert!(wifi.starts_with("shop, Security ") && wifi.ends_with("Passphrase ***") && !wifi.contains("wpa2"), "{wifi}");
        assert_eq!([params_line("ring", "{}"), params_line("ring", "nonsense")], ["", ""]);
        assert_eq!(params_line("of_later", r#"{"sim_slot":2,"on":true}"#), "On yes, Sim slot 2");
    }

    #[test]
    fn an_installation_names_app_version_and_constraints_by_the_labels_of_the_form() {
        let params = r#"{"attempt":1,"deployment_id":"d","apk":{"package":"com.example.till","version_code":20,"version_name":"2.0",
            "url":"***","sha256":"ab","signer_sha256":["cd"],"size":8675},
            "constraints":{"wifi_only":true,"min_battery":40,"charging_only":false,"window":null},"retry":{"max":0,"backoff_sec":60}}"#;
        let words: Vec<_> = param_words("deploy_apk", params).into_iter().map(|words| (words.label, words.value)).collect();
        let wanted = [
            ("App", "com.example.till"),
            ("Version", "2.0 (20)"),
            ("Size", "8.5 KB"),
            ("Attempt", "1"),
            ("Wi-Fi or Ethernet", "yes"),
            ("Charging", "no"),
            ("Minimum battery", "40 %"),
        ];
        assert_eq!(words, wanted.map(|(label, value)| (label.to_owned(), value.to_owned())));
    }
}
