//! The dialog that changes what people know a device by, and what it is watched for.

use std::sync::Arc;

use dioxus::prelude::*;
use domain::access::Principal;
use domain::device::{DeviceIdentity, MonitoredApp};
use domain::edit::{DevicePatch, LabelChange};
use domain::text::label_list;
use domain::{Invalid, ServiceError};
use services::System;

use crate::components::form::{FormDialog, TextField, some_of, text_of, use_submission};
use crate::context::use_session;
use crate::format;
use crate::toasts::use_toasts;

/// Fields of the form. Labels that stay as they were shown are left alone: one of an earlier build may contain a comma.
fn patch(identity: &DeviceIdentity, value: impl Fn(&str) -> Option<String>) -> Result<DevicePatch, Invalid> {
    let stale = "monitored_app.stale_after_s";
    let stale_after_s = value(stale).map(|text| text.parse::<i32>().map_err(|_| Invalid::new(stale, "must be a whole number of seconds")));
    let monitored = match (value("monitored_app.package"), stale_after_s.transpose()?) {
        (Some(package), stale_after_s) => Some(MonitoredApp { package, stale_after_s }),
        (None, None) => None,
        (None, Some(_)) => return Err(Invalid::new("monitored_app.package", "required when a threshold is given")),
    };
    let labels = |name, shown: &[String]| {
        let text = value(name).unwrap_or_default();
        (text != joined(shown).trim()).then(|| LabelChange::Set(label_list(&text)))
    };
    Ok(DevicePatch {
        alias: Some(value("alias").unwrap_or_default()),
        tags: labels("tags", &identity.tags),
        groups: labels("groups", &identity.groups),
        monitored: Some(monitored),
    })
}

/// Labels as the form shows them.
fn joined(labels: &[String]) -> String {
    labels.join(", ")
}

/// Makes the change. Returns a warning about the new alias.
async fn change(
    system: Arc<System>,
    principal: Principal,
    identity: Arc<DeviceIdentity>,
    patch: DevicePatch,
) -> Result<Option<String>, ServiceError> {
    let renamed = patch.alias.clone().filter(|alias| *alias != identity.alias);
    match system.devices.edit(&principal, identity.id, patch).await {
        Ok(_) => Ok(renamed.and_then(|alias| system.devices.alias_warning(&principal, &alias, Some(identity.id)))),
        // The field is to blame for it.
        Err(error @ ServiceError::AliasHeld(_)) => Err(Invalid::new("alias", error.to_string()).into()),
        Err(error) => Err(error),
    }
}

#[component]
pub(super) fn Edit(
    identity: Arc<DeviceIdentity>,
    monitored: Option<MonitoredApp>,
    onclose: EventHandler<()>,
    ondone: EventHandler<()>,
) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let shown = identity.clone();
    let default_stale = format::duration(i64::from(session.policy.app_stale_after_s));
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let (session, identity) = (session.clone(), shown.clone());
        spawn(async move {
            let alias = text_of(&form, "alias");
            let outcome = match patch(&identity, |name| some_of(&form, name)) {
                Err(invalid) => Err(invalid.into()),
                Ok(patch) => session.call(move |system, principal| change(system, principal, identity, patch)).await,
            };
            if let Some(warning) = submission.done(outcome) {
                warning.into_iter().for_each(|warning| toasts.bad(format!("Check the alias: {warning}.")));
                toasts.good(format!("Changed {}.", alias.trim()));
                ondone.call(());
            }
        });
    });
    let stale = monitored.as_ref().and_then(|app| app.stale_after_s).map(|seconds| seconds.to_string());
    let package = monitored.as_ref().map(|app| app.package.clone());
    rsx! {
        FormDialog { title: "Edit {identity.alias}", action: "Save", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            TextField { name: "alias", value: identity.alias.clone(), hint: "unique in the fleet", error: submission.error("alias") }
            TextField { name: "tags", value: joined(&identity.tags), hint: "separated by commas", error: submission.error("tags") }
            TextField { name: "groups", value: joined(&identity.groups), hint: "separated by commas", error: submission.error("groups") }
            div { class: "field-pair",
                TextField { name: "monitored_app.package", value: package.unwrap_or_default(), placeholder: "com.example.kiosk", hint: "package name; empty: none", error: submission.error("monitored_app.package") }
                TextField { name: "monitored_app.stale_after_s", value: stale.unwrap_or_default(), hint: "out of the foreground; empty: {default_stale}", error: submission.error("monitored_app.stale_after_s") }
            }
            if let Some(problem) = submission.other_error(&["alias", "tags", "groups", "monitored_app.package", "monitored_app.stale_after_s"]) {
                p { class: "field-error", role: "alert", "{problem}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceIdentity {
        DeviceIdentity {
            id: domain::DeviceId(Default::default()),
            alias: "kiosk".into(),
            tags: vec!["front, sale".into()],
            groups: vec!["berlin".into()],
            hardware_id: None,
            model: None,
            manufacturer: None,
            enrolled_at: Default::default(),
        }
    }

    fn filled(fields: &[(&str, &str)]) -> Result<DevicePatch, Invalid> {
        patch(&device(), |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn empty_fields_take_away_what_was_there() {
        let patch = filled(&[("alias", "kiosk")]).unwrap();
        assert_eq!((patch.alias.as_deref(), patch.monitored), (Some("kiosk"), Some(None)));
        assert_eq!(patch.tags, Some(LabelChange::Set(vec![])));
    }

    #[test]
    fn what_is_saved_as_it_was_shown_changes_nothing() {
        let patch = filled(&[("alias", "kiosk"), ("tags", "front, sale"), ("groups", "Berlin, front;sale")]).unwrap();
        assert_eq!(patch.tags, None);
        let groups = ["Berlin", "front", "sale"].map(str::to_owned).to_vec();
        assert_eq!(patch.groups, Some(LabelChange::Set(groups)));
    }

    #[test]
    fn a_threshold_is_a_number_and_belongs_to_an_app() {
        let package = "monitored_app.package";
        let stale = "monitored_app.stale_after_s";
        let patch = filled(&[("alias", "a"), (package, "a.b"), (stale, "60")]).unwrap();
        assert_eq!(patch.monitored, Some(Some(MonitoredApp { package: "a.b".into(), stale_after_s: Some(60) })));
        assert_eq!(filled(&[(package, "a.b"), (stale, "soon")]).unwrap_err().field, stale);
        assert_eq!(filled(&[(stale, "60")]).unwrap_err().field, package);
    }
}
