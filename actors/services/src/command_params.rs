//! The parameters of an action as JSON: as the device is sent them, and as people are shown them.

use domain::action::{Action, ExecCommand};
use serde_json::{Value, json};

/// Stands where a secret was.
const HIDDEN: &str = "***";

/// JSON for the device, and JSON without secrets.
pub(crate) struct ParamsText {
    pub(crate) sent: String,
    pub(crate) shown: String,
}

/// The parameters of an action. `exec` takes what its name stands for; which key is next for
/// `rotate_key`, the store enters for each device.
pub(crate) fn params_text(action: &Action, exec: Option<&ExecCommand>) -> ParamsText {
    let same = |value: Value| ParamsText { sent: value.to_string(), shown: value.to_string() };
    match action {
        Action::Ping | Action::Reboot | Action::Wake | Action::Lock | Action::Update | Action::Sync | Action::RotateKey => same(json!({})),
        Action::Ring { duration_s } => same(json!({"duration_s": duration_s})),
        Action::LaunchApp { package, intent: None } => same(json!({"package": package})),
        Action::LaunchApp { package, intent: Some(intent) } => same(json!({"package": package, "intent": intent})),
        Action::RestartApp { package } | Action::ClearAppData { package } | Action::SetMonitoredApp { package } => {
            same(json!({"package": package}))
        }
        Action::WifiConnect { ssid, security, password } => {
            let with = |password: Option<&str>| match password {
                Some(password) => json!({"ssid": ssid, "security": security.as_str(), "password": password}),
                None => json!({"ssid": ssid, "security": security.as_str()}),
            };
            ParamsText { sent: with(password.as_deref()).to_string(), shown: with(password.as_ref().map(|_| HIDDEN)).to_string() }
        }
        Action::Exec { name } => same(json!({"name": name, "argv": exec.map(|exec| &exec.argv)})),
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
}
