//! Form fields of action parameters, and the command request of a filled form.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use dioxus::html::FormValue;
use dioxus::prelude::*;
use domain::Invalid;
use domain::access::Permission;
use domain::action::{Action, ActionKind};
use domain::param::{ParamKind, ParamSpec};
use services::CommandRequest;

use crate::components::form::{Field, Submission, TextField};
use crate::components::{Glyph, Problem, RouteLink, Skeleton, icon};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::route::{Route, Section};

/// Poll interval of the allowed commands.
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// Expiry choices, s.
const LIVES: [i64; 6] = [60, 600, 3_600, 21_600, 86_400, 604_800];
/// Choices of a parameter that is on or off.
const YES_OR_NO: &[(&str, &str)] = &[("true", "Yes"), ("false", "No")];

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
        let mut given = BTreeMap::new();
        for spec in kind.spec().params {
            let value = spec.parse(self.get(spec.field).unwrap_or_default())?;
            given.extend(value.map(|value| (spec.name.to_owned(), value)));
        }
        Ok(CommandRequest { action: Action::parse(kind, given)?, expires_in_s: self.number("expires_in_s")? })
    }
}

/// Names of the fields of an action, to find errors that belong to none of them.
pub(crate) fn fields_of(kind: ActionKind) -> Vec<&'static str> {
    kind.spec().params.iter().map(|spec| spec.field).chain(["expires_in_s"]).collect()
}

/// The fields of an action, as its parameters are declared. `packages`: apps to suggest.
#[component]
pub(crate) fn ActionFields(kind: ActionKind, draft: Draft, packages: Vec<String>, submission: Submission) -> Element {
    let params = kind.spec().params;
    let held = move |spec: &ParamSpec| draft.get(spec.field).map_or_else(|| spec.form_value(), str::to_owned);
    // What was chosen decides whether other fields are shown.
    let mut chosen = use_signal({
        let held = held.clone();
        move || params.iter().map(|spec| (spec.name, held(spec))).collect::<BTreeMap<_, _>>()
    });
    let excluded = |spec: &ParamSpec| spec.unless.is_some_and(|(other, value)| chosen.read().get(other).is_some_and(|held| held == value));
    rsx! {
        for spec in params.iter().filter(|spec| !excluded(spec)) {
            ParamField { key: "{spec.name}", spec: *spec, held: held(spec), packages: packages.clone(), submission, onchoose: move |value| drop(chosen.write().insert(spec.name, value)) }
        }
    }
}

/// The field of one parameter.
#[component]
fn ParamField(spec: ParamSpec, held: String, packages: Vec<String>, submission: Submission, onchoose: EventHandler<String>) -> Element {
    match spec.kind {
        ParamKind::Package => rsx! { PackageField { spec, held, packages, submission } },
        ParamKind::ExecCommand => rsx! { ExecField { spec, held, submission } },
        ParamKind::Choice(choices) => rsx! { ChoiceField { spec, choices, held, submission, onchoose } },
        ParamKind::Flag => rsx! { ChoiceField { spec, choices: YES_OR_NO, held, submission, onchoose } },
        ParamKind::Texts { .. } => rsx! { LinesField { spec, held, submission } },
        ParamKind::Integer { .. } | ParamKind::Text { .. } | ParamKind::Bytes { .. } => rsx! {
            TextField {
                name: spec.field, label: spec.form_label(), value: held, hint: spec.form_hint(), placeholder: spec.example,
                kind: if spec.secret { "password" } else { "text" }, autocomplete: if spec.secret { "new-password" } else { "off" },
                error: submission.error(spec.field),
            }
        },
    }
}

#[component]
fn PackageField(spec: ParamSpec, held: String, packages: Vec<String>, submission: Submission) -> Element {
    let name = spec.field;
    let error = submission.error(name);
    let list = (!packages.is_empty()).then_some("known-packages");
    rsx! {
        Field { name, label: spec.label, hint: spec.hint, error: error.clone(),
            input {
                id: name, name, initial_value: "{held}", placeholder: spec.example, autocomplete: "off",
                maxlength: "1000", spellcheck: "false", aria_describedby: "{name}-note", aria_invalid: error.map(|_| "true"),
                list,
            }
            datalist { id: "known-packages",
                for package in packages { option { key: "{package}", value: "{package}" } }
            }
        }
    }
}

#[component]
fn LinesField(spec: ParamSpec, held: String, submission: Submission) -> Element {
    let name = spec.field;
    let error = submission.error(name);
    rsx! {
        Field { name, label: spec.label, hint: spec.hint, error: error.clone(),
            textarea { id: name, name, rows: "2", maxlength: "9000", spellcheck: "false", aria_describedby: "{name}-note", aria_invalid: error.map(|_| "true"), initial_value: "{held}" }
        }
    }
}

#[component]
fn ChoiceField(
    spec: ParamSpec,
    choices: &'static [(&'static str, &'static str)],
    held: String,
    submission: Submission,
    onchoose: EventHandler<String>,
) -> Element {
    let name = spec.field;
    rsx! {
        Field { name, label: spec.label, hint: spec.hint, error: submission.error(name),
            select { id: name, name, aria_describedby: "{name}-note", onchange: move |event| onchoose.call(event.value()),
                for (value, label) in choices {
                    option { key: "{value}", value: *value, selected: *value == held, "{label}" }
                }
            }
        }
    }
}

#[component]
fn ExecField(spec: ParamSpec, held: String, submission: Submission) -> Element {
    let name = spec.field;
    let session = use_session();
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.commands.exec_commands(&principal).await });
    let mut chosen = use_signal(|| held);
    let reading = list.read();
    let manages = session.may(Permission::ManageExec);
    match (reading.value.as_deref(), &reading.problem) {
        (Some(allowed), _) if allowed.is_empty() => rsx! {
            div { class: "notice", "data-testid": "no-exec-commands", {icon(Glyph::Terminal)}
                span { "No allowed commands yet." }
                if manages {
                    RouteLink { to: Route::settings(Section::Exec), class: "button small", "Allow a command" }
                }
            }
        },
        (Some(allowed), _) => {
            let argv = allowed.iter().find(|row| row.command.name == chosen()).map(|row| row.command.argv.clone());
            rsx! {
                Field { name, label: spec.label, hint: spec.hint, error: submission.error(name),
                    select { id: name, name, aria_describedby: "{name}-note", onchange: move |event| chosen.set(event.value()),
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
        Field { name: "expires_in_s", hint, error: submission.error("expires_in_s"),
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
    use domain::action::WifiSecurity;

    fn request_of(kind: ActionKind, fields: &[(&str, &str)]) -> Result<CommandRequest, String> {
        Draft::with(fields).request(kind).map_err(|invalid| invalid.field)
    }

    #[test]
    fn a_form_asks_for_an_action_with_its_parameters() {
        let ring = request_of(ActionKind::Ring, &[("params.duration_s", " 30 "), ("expires_in_s", "600")]).unwrap();
        assert_eq!(ring, CommandRequest { action: Action::Ring { duration_s: 30 }, expires_in_s: Some(600) });
        assert_eq!(request_of(ActionKind::Ring, &[]).unwrap().action, Action::Ring { duration_s: 10 });
        let wifi = [("params.ssid", "shop"), ("params.security", "wpa2"), ("params.password", " 1234567")];
        let want = Action::WifiConnect { ssid: "shop".into(), security: WifiSecurity::Wpa2, password: Some(" 1234567".into()) };
        assert_eq!(request_of(ActionKind::WifiConnect, &wifi).unwrap().action, want);
        for kind in ActionKind::ALL.into_iter().filter(|kind| kind.spec().params.is_empty()) {
            assert_eq!(request_of(kind, &[]).unwrap().action.kind(), kind);
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
            assert_eq!(request_of(kind, fields), Err(field.to_owned()));
            assert!(fields_of(kind).contains(&field));
        }
    }

    #[test]
    fn lives_keep_to_the_limits() {
        let limits = CommandLimits { expires_default_s: 3_600, expires_max_s: 86_400, ..CommandLimits::default() };
        let shown: Vec<_> = expiry_choices(&limits).into_iter().map(|(value, text)| format!("{value}={text}")).collect();
        assert_eq!(shown, ["=1 h (default)", "60=1 min", "600=10 min", "21600=6 h", "86400=1 d"]);
    }
}
