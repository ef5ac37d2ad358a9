//! Form fields of action parameters, and the command request of a filled form.

use std::rc::Rc;
use std::time::Duration;

use dioxus::html::FormValue;
use dioxus::prelude::*;
use domain::Invalid;
use domain::access::Permission;
use domain::action::{Action, ActionKind, RING_DEFAULT_S, WifiSecurity};
use services::CommandRequest;

use crate::components::form::{Field, Submission, TextField};
use crate::components::{Glyph, Go, Problem, Skeleton, icon};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::route::{Route, Section};

/// Poll interval of the allowed commands.
const REREAD: Duration = Duration::from_secs(15);
/// Expiry choices, s.
const LIVES: [i64; 6] = [60, 600, 3_600, 21_600, 86_400, 604_800];
/// Names of all fields, to find errors that belong to none of them.
pub(crate) const FIELDS: [&str; 8] = [
    "params.duration_s",
    "params.package",
    "params.intent",
    "params.ssid",
    "params.security",
    "params.password",
    "params.name",
    "expires_in_s",
];

/// Field values of a form, so that it can be shown again. May contain a secret.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Draft(Rc<Vec<(String, String)>>);

impl Draft {
    /// Values of a submitted form.
    pub(crate) fn of(form: &FormEvent) -> Self {
        let text = |(name, value)| if let FormValue::Text(text) = value { Some((name, text)) } else { None };
        Self(Rc::new(form.values().into_iter().filter_map(text).collect()))
    }

    /// Draft with these values.
    pub(crate) fn with(fields: &[(&str, &str)]) -> Self {
        Self(Rc::new(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
    }

    /// Value of a field, verbatim.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Trimmed value of a field; `None` if empty.
    pub(crate) fn some(&self, name: &str) -> Option<String> {
        self.get(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn or_empty(&self, name: &str) -> String {
        self.some(name).unwrap_or_default()
    }

    /// Integer value of a field; `None` if empty.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Invalid> {
        let read = |text: String| text.parse().map_err(|_| Invalid::new(name, "must be a whole number"));
        self.some(name).map(read).transpose()
    }

    /// The command request of the form.
    ///
    /// # Errors
    /// Names the field.
    pub(crate) fn request(&self, kind: ActionKind) -> Result<CommandRequest, Invalid> {
        let package = || self.or_empty("params.package");
        let action = match kind {
            ActionKind::Ping => Action::Ping,
            ActionKind::Reboot => Action::Reboot,
            ActionKind::Wake => Action::Wake,
            ActionKind::Lock => Action::Lock,
            ActionKind::Update => Action::Update,
            ActionKind::RotateKey => Action::RotateKey,
            ActionKind::Sync => Action::Sync,
            ActionKind::Ring => Action::Ring { duration_s: self.number("params.duration_s")?.unwrap_or(RING_DEFAULT_S) },
            ActionKind::LaunchApp => Action::LaunchApp { package: package(), intent: self.some("params.intent") },
            ActionKind::RestartApp => Action::RestartApp { package: package() },
            ActionKind::ClearAppData => Action::ClearAppData { package: package() },
            ActionKind::SetMonitoredApp => Action::SetMonitoredApp { package: package() },
            ActionKind::WifiConnect => Action::WifiConnect {
                ssid: self.get("params.ssid").unwrap_or_default().to_owned(),
                security: WifiSecurity::parse("params.security", &self.or_empty("params.security"))?,
                // Spaces are significant.
                password: self.get("params.password").filter(|password| !password.is_empty()).map(str::to_owned),
            },
            ActionKind::Exec => match self.some("params.name") {
                Some(name) => Action::Exec { name },
                None => return Err(Invalid::new("params.name", "choose one")),
            },
        };
        Ok(CommandRequest { action: action.checked()?, expires_in_s: self.number("expires_in_s")? })
    }
}

/// Whether an action takes parameters.
pub(crate) fn has_fields(kind: ActionKind) -> bool {
    matches!(
        kind,
        ActionKind::Ring
            | ActionKind::LaunchApp
            | ActionKind::RestartApp
            | ActionKind::ClearAppData
            | ActionKind::SetMonitoredApp
            | ActionKind::WifiConnect
            | ActionKind::Exec
    )
}

/// The fields of an action. `packages`: apps to suggest.
#[component]
pub(crate) fn ActionFields(kind: ActionKind, draft: Draft, packages: Vec<String>, submission: Submission) -> Element {
    let held = |name: &str| draft.get(name).unwrap_or_default().to_owned();
    match kind {
        ActionKind::Ring => {
            let seconds = draft.some("params.duration_s").unwrap_or_else(|| RING_DEFAULT_S.to_string());
            rsx! { TextField { name: "params.duration_s", label: "Duration (s)", value: seconds, hint: "1 to 300", error: submission.error("params.duration_s") } }
        }
        ActionKind::LaunchApp => rsx! {
            PackageField { held: held("params.package"), packages, submission }
            TextField { name: "params.intent", label: "Intent action", value: held("params.intent"), placeholder: "com.example.app.OPEN", hint: "empty: the launcher intent", error: submission.error("params.intent") }
        },
        ActionKind::RestartApp | ActionKind::ClearAppData | ActionKind::SetMonitoredApp => rsx! {
            PackageField { held: held("params.package"), packages, submission }
        },
        ActionKind::WifiConnect => rsx! { WifiFields { draft: draft.clone(), submission } },
        ActionKind::Exec => rsx! { ExecField { held: held("params.name"), submission } },
        _ => rsx! {},
    }
}

#[component]
fn PackageField(held: String, packages: Vec<String>, submission: Submission) -> Element {
    let error = submission.error("params.package");
    let list = (!packages.is_empty()).then_some("known-packages");
    rsx! {
        Field { name: "params.package", label: "App", hint: "package name", error: error.clone(),
            input {
                id: "params.package", name: "params.package", initial_value: "{held}", placeholder: "com.example.kiosk", autocomplete: "off",
                maxlength: "1000", spellcheck: "false", aria_describedby: "params.package-note", aria_invalid: error.map(|_| "true"),
                list,
            }
            datalist { id: "known-packages",
                for package in packages { option { key: "{package}", value: "{package}" } }
            }
        }
    }
}

#[component]
fn WifiFields(draft: Draft, submission: Submission) -> Element {
    let before = draft.some("params.security").unwrap_or_else(|| WifiSecurity::Wpa2.as_str().to_owned());
    let mut security = use_signal(|| before);
    let words = |security: WifiSecurity| match security {
        WifiSecurity::Open => "None (open)",
        WifiSecurity::Wpa2 => "WPA2",
        WifiSecurity::Wpa3 => "WPA3",
    };
    rsx! {
        TextField { name: "params.ssid", label: "Network name", value: draft.get("params.ssid").unwrap_or_default(), hint: "SSID", error: submission.error("params.ssid") }
        Field { name: "params.security", label: "Security", error: submission.error("params.security"),
            select { id: "params.security", name: "params.security", aria_describedby: "params.security-note", onchange: move |event| security.set(event.value()),
                for kind in WifiSecurity::ALL {
                    option { key: "{kind.as_str()}", value: kind.as_str(), selected: kind.as_str() == security(), {words(kind)} }
                }
            }
        }
        if security() != WifiSecurity::Open.as_str() {
            TextField { name: "params.password", label: "Passphrase", kind: "password", autocomplete: "new-password", value: draft.get("params.password").unwrap_or_default(), hint: "8 to 63 characters; not shown again", error: submission.error("params.password") }
        }
    }
}

#[component]
fn ExecField(held: String, submission: Submission) -> Element {
    let session = use_session();
    let list = use_polling((), REREAD, |system, principal, ()| async move { system.commands.exec_commands(&principal).await });
    let mut chosen = use_signal(|| held);
    let reading = list.read();
    let manages = session.may(Permission::ManageExec);
    match (reading.value.as_deref(), &reading.problem) {
        (Some(allowed), _) if allowed.is_empty() => rsx! {
            div { class: "notice", "data-testid": "no-exec-commands", {icon(Glyph::Terminal)}
                span { "No allowed commands yet." }
                if manages {
                    Go { to: Route::settings(Section::Exec), class: "button small", "Allow a command" }
                }
            }
        },
        (Some(allowed), _) => {
            let argv = allowed.iter().find(|row| row.command.name == chosen()).map(|row| row.command.argv.clone());
            rsx! {
                Field { name: "params.name", label: "Command", hint: "from the allowed commands", error: submission.error("params.name"),
                    select { id: "params.name", name: "params.name", aria_describedby: "params.name-note", onchange: move |event| chosen.set(event.value()),
                        option { value: "", selected: chosen().is_empty(), "Choose one" }
                        for row in allowed {
                            option { key: "{row.command.name}", value: "{row.command.name}", selected: row.command.name == chosen(), "{row.command.name}" }
                        }
                    }
                }
                if let Some(argv) = argv {
                    code { class: "argv", aria_label: "Program and arguments",
                        for (n, part) in argv.iter().enumerate() { span { key: "{n}", "{part}" } }
                    }
                }
            }
        }
        (None, Some(problem)) => rsx! { Problem { text: problem.clone(), onretry: move |()| list.again() } },
        (None, None) => rsx! { Skeleton {} },
    }
}

/// Limits of commands that forms display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CommandLimits {
    /// Default expiry, s.
    pub(crate) expires_default_s: i64,
    /// Longest expiry, s.
    pub(crate) expires_max_s: i64,
    /// Default rate of a batch, commands per second.
    pub(crate) rate_default: i32,
    /// Highest rate of a batch.
    pub(crate) rate_max: i32,
}

/// The limits in force; empty while the server stops.
pub(crate) fn use_command_limits() -> CommandLimits {
    let session = use_session();
    use_hook(|| {
        let system = session.system.upgrade();
        system.map_or_else(CommandLimits::default, |system| {
            let limits = system.commands.limits();
            CommandLimits {
                expires_default_s: limits.expires_default_s,
                expires_max_s: limits.expires_max_s,
                rate_default: limits.batch_rate_default,
                rate_max: limits.batch_rate_max,
            }
        })
    })
}

/// Expiry choices with value and text; the empty value is the default of the server.
pub(crate) fn expiry_choices(limits: &CommandLimits) -> Vec<(String, String)> {
    let default = match limits.expires_default_s {
        0 => "Default".to_owned(),
        seconds => format!("{} (default)", format::duration(seconds)),
    };
    let others =
        LIVES.into_iter().filter(|life| *life != limits.expires_default_s && (limits.expires_max_s == 0 || *life <= limits.expires_max_s));
    std::iter::once((String::new(), default)).chain(others.map(|life| (life.to_string(), format::duration(life)))).collect()
}

/// Field for the expiry of a command.
#[component]
pub(crate) fn ExpiryField(chosen: String, limits: CommandLimits, #[props(default)] hint: String, submission: Submission) -> Element {
    rsx! {
        Field { name: "expires_in_s", label: "Expires after", hint, error: submission.error("expires_in_s"),
            select { id: "expires_in_s", name: "expires_in_s", aria_describedby: "expires_in_s-note",
                for (value, text) in expiry_choices(&limits) {
                    option { key: "{value}", value: "{value}", selected: value == chosen, "{text}" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: ActionKind, fields: &[(&str, &str)]) -> Result<CommandRequest, String> {
        Draft::with(fields).request(kind).map_err(|invalid| invalid.field)
    }

    #[test]
    fn a_form_asks_for_an_action_with_its_parameters() {
        let ring = asked(ActionKind::Ring, &[("params.duration_s", " 30 "), ("expires_in_s", "600")]).unwrap();
        assert_eq!(ring, CommandRequest { action: Action::Ring { duration_s: 30 }, expires_in_s: Some(600) });
        assert_eq!(asked(ActionKind::Ring, &[]).unwrap().action, Action::Ring { duration_s: RING_DEFAULT_S });
        let wifi = [("params.ssid", "shop"), ("params.security", "wpa2"), ("params.password", " 1234567")];
        let want = Action::WifiConnect { ssid: "shop".into(), security: WifiSecurity::Wpa2, password: Some(" 1234567".into()) };
        assert_eq!(asked(ActionKind::WifiConnect, &wifi).unwrap().action, want);
        for kind in ActionKind::ALL.into_iter().filter(|kind| !has_fields(*kind)) {
            assert_eq!(asked(kind, &[]).unwrap().action.kind(), kind);
        }
    }

    #[test]
    fn what_is_wrong_is_said_at_a_field_that_there_is() {
        for (kind, fields, field) in [
            (ActionKind::Ring, &[("params.duration_s", "soon")][..], "params.duration_s"),
            (ActionKind::Ring, &[("params.duration_s", "301")], "params.duration_s"),
            (ActionKind::Ring, &[("expires_in_s", "x")], "expires_in_s"),
            (ActionKind::LaunchApp, &[], "params.package"),
            (ActionKind::WifiConnect, &[("params.ssid", "a"), ("params.security", "wpa2")], "params.password"),
            (ActionKind::WifiConnect, &[("params.ssid", ""), ("params.security", "open")], "params.ssid"),
            (ActionKind::Exec, &[], "params.name"),
        ] {
            assert_eq!(asked(kind, fields), Err(field.to_owned()));
            assert!(FIELDS.contains(&field));
        }
    }

    #[test]
    fn lives_keep_to_the_limits() {
        let limits = CommandLimits { expires_default_s: 3_600, expires_max_s: 86_400, ..CommandLimits::default() };
        let shown: Vec<_> = expiry_choices(&limits).into_iter().map(|(value, text)| format!("{value}={text}")).collect();
        assert_eq!(shown, ["=1 h (default)", "60=1 min", "600=10 min", "21600=6 h", "86400=1 d"]);
    }
}
