//! The parameters of an action as JSON: as the device is sent them, and as people are shown them.

use domain::action::{Action, ExecCommand};
use domain::param::ParamValue;
use serde_json::{Map, Value, json};

/// Stands where a secret was.
const HIDDEN: &str = "***";

/// JSON for the device, and JSON without secrets.
pub(crate) struct ParamsText {
    pub(crate) sent: String,
    pub(crate) shown: String,
}

/// The parameters of an action. `exec` takes what its name stands for; which key is next for
/// `rotate_key`, the store enters for each device. Signatures cover these bytes: fields stand in alphabetical order.
pub(crate) fn params_text(action: &Action, exec: Option<&ExecCommand>) -> ParamsText {
    let (mut sent, mut shown) = (Map::new(), Map::new());
    for (spec, value) in action.params() {
        let Some(value) = value else { continue };
        let value = json_of(value);
        shown.insert(spec.name.to_owned(), if spec.secret { HIDDEN.into() } else { value.clone() });
        sent.insert(spec.name.to_owned(), value);
    }
    if let Action::Exec { .. } = action {
        let argv = json!(exec.map(|exec| &exec.argv));
        shown.insert("argv".to_owned(), argv.clone());
        sent.insert("argv".to_owned(), argv);
    }
    ParamsText { sent: Value::Object(sent).to_string(), shown: Value::Object(shown).to_string() }
}

fn json_of(value: ParamValue) -> Value {
    match value {
        ParamValue::Integer(number) => number.into(),
        ParamValue::Flag(on) => on.into(),
        ParamValue::Text(text) => text.into(),
        ParamValue::Texts(texts) => json!(texts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::action::WifiSecurity;

    #[test]
    fn secrets_are_sent_and_not_shown() {
        let wifi = Action::WifiConnect { ssid: "shop".into(), security: WifiSecurity::Wpa2, password: Some("open sesame".into()) };
        let text = params_text(&wifi, None);
        assert_eq!(text.sent, r#"{"password":"open sesame","security":"wpa2","ssid":"shop"}"#);
        assert_eq!(text.shown, r#"{"password":"***","security":"wpa2","ssid":"shop"}"#);
    }

    #[test]
    fn exec_sends_what_was_allowed() {
        let exec = ExecCommand { name: "logs".into(), argv: vec!["/system/bin/logcat".into(), "-d".into()], description: String::new() };
        let text = params_text(&Action::Exec { name: "logs".into() }, Some(&exec));
        assert_eq!(text.sent, r#"{"argv":["/system/bin/logcat","-d"],"name":"logs"}"#);
    }

    #[test]
    fn the_bytes_that_signatures_cover_are_these() {
        let package = || "com.example.app".to_owned();
        for (action, want) in [
            (Action::Ping, "{}"),
            (Action::RotateKey, "{}"),
            (Action::Ring { duration_s: 10 }, r#"{"duration_s":10}"#),
            (Action::LaunchApp { package: package(), intent: None }, r#"{"package":"com.example.app"}"#),
            (Action::LaunchApp { package: package(), intent: Some("a.VIEW".into()) }, r#"{"intent":"a.VIEW","package":"com.example.app"}"#),
            (Action::SetBrightness { level_pct: 60 }, r#"{"level_pct":60}"#),
            (Action::ClearAppData { package: package() }, r#"{"package":"com.example.app"}"#),
            (
                Action::WifiConnect { ssid: "é\"".into(), security: WifiSecurity::Open, password: None },
                r#"{"security":"open","ssid":"é\""}"#,
            ),
            (Action::Exec { name: "logs".into() }, r#"{"argv":null,"name":"logs"}"#),
        ] {
            assert_eq!(params_text(&action, None).sent, want);
        }
    }
}
