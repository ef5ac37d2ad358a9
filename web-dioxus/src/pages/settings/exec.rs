//! The commands that may be run on devices: a program and its arguments under a name.

use std::time::Duration;

use dioxus::prelude::*;
use domain::Timestamp;
use domain::action::{AllowedExecCommand, ExecCommand};

use crate::components::form::{Field, FormDialog, TextField, text_of, use_submission};
use crate::components::{Confirm, EmptyState, Glyph, Problem, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(15);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Add,
    Change(ExecCommand),
    Remove(String),
}

/// Arguments, one a line. Empty lines at the end are none.
fn argv(text: &str) -> Vec<String> {
    text.replace("\r\n", "\n").trim_end_matches('\n').split('\n').map(str::to_owned).filter(|_| !text.trim().is_empty()).collect()
}

#[component]
pub(super) fn ExecCommands() -> Element {
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.commands.exec_commands(&principal).await });
    let reading = list.read();
    let now = use_session().clock.now();
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card", aria_labelledby: "exec-title",
            div { class: "card-head",
                h2 { id: "exec-title", "Allowed commands" }
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-exec", onclick: move |_| dialog.set(Some(OpenDialog::Add)), {icon(Glyph::Plus)} "Allow a command" }
            }
            p { class: "muted card-lead", "Programs with fixed arguments that the action “Run command” can run on devices, without a shell. Admins select them by name." }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(rows) if rows.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Terminal, title: "No allowed commands", text: "The action “Run command” is unavailable until a command is allowed, for example /system/bin/logcat with its arguments as collect-logs." }
                },
                Some(rows) => rsx! {
                    ul { class: "rows",
                        for row in rows.iter() {
                            Row { key: "{row.command.name}", row: row.clone(), now, onopen: move |what| dialog.set(Some(what)) }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Add) => rsx! { Allow { known: None, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Change(command)) => rsx! { Allow { known: Some(command), ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Remove(name)) => rsx! { Remove { name, onclose: done } },
        }
    }
}

#[component]
fn Row(row: AllowedExecCommand, now: Timestamp, onopen: EventHandler<OpenDialog>) -> Element {
    let command = row.command.clone();
    let (changed, removed) = (command.clone(), command.name.clone());
    rsx! {
        li { class: "row-item", "data-testid": "exec-row", "data-name": "{command.name}",
            span { class: "row-icon", {icon(Glyph::Terminal)} }
            div { class: "row-main",
                div { class: "row-title", span { class: "truncate", "{command.name}" } }
                if !command.description.is_empty() { div { class: "row-meta", span { "{command.description}" } } }
                code { class: "argv",
                    for (n, part) in command.argv.iter().enumerate() { span { key: "{n}", "{part}" } }
                }
                div { class: "row-meta", span { "by " strong { "{row.updated_by}" } ", " {time_ago(row.updated_at, &format::relative(now, row.updated_at))} } }
            }
            div { class: "row-actions",
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", aria_label: "Change {command.name}", "data-testid": "change-exec", onclick: move |_| onopen.call(OpenDialog::Change(changed.clone())), "Change" }
                button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "Remove {command.name}", "data-testid": "remove-exec", onclick: move |_| onopen.call(OpenDialog::Remove(removed.clone())), "Remove" }
            }
        }
    }
}

/// Asks for a command; `known`: the one that is changed.
#[component]
fn Allow(known: Option<ExecCommand>, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let fixed = known.as_ref().map(|command| command.name.clone());
    let (named, changes) = (fixed.clone(), fixed.is_some());
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let name = named.clone().unwrap_or_else(|| text_of(&form, "name").trim().to_owned());
        let command = ExecCommand {
            name: name.clone(),
            argv: argv(&text_of(&form, "argv")),
            description: text_of(&form, "description").trim().to_owned(),
        };
        let session = session.clone();
        spawn(async move {
            let outcome = session.call(move |system, principal| async move { system.commands.allow_exec(&principal, command).await }).await;
            if submission.done(outcome).is_some() {
                toasts.good(if changes { format!("Changed {name}.") } else { format!("Allowed {name}.") });
                ondone.call(());
            }
        });
    });
    let (title, action) = match &fixed {
        Some(name) => (format!("Change {name}"), "Save"),
        None => ("Allow a command".to_owned(), "Allow"),
    };
    let lines = known.as_ref().map(|command| command.argv.join("\n")).unwrap_or_default();
    let argv_error = submission.error("argv");
    rsx! {
        FormDialog { title, action, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            if fixed.is_none() {
                TextField { name: "name", hint: "a-z, 0-9, '.', '_', '-'; shown in the command list", placeholder: "collect-logs", error: submission.error("name") }
            }
            Field { name: "argv", hint: "one per line; the first is the absolute path of the program", error: argv_error.clone(),
                textarea { id: "argv", name: "argv", class: "mono", rows: "5", initial_value: "{lines}", placeholder: "/system/bin/logcat\n-d", spellcheck: "false", aria_describedby: "argv-note", aria_invalid: argv_error.map(|_| "true") }
            }
            TextField { name: "description", value: known.as_ref().map(|command| command.description.clone()).unwrap_or_default(), error: submission.error("description") }
            if fixed.is_some() {
                p { class: "muted", "Commands that were already sent keep the previous definition." }
            }
        }
    }
}

#[component]
fn Remove(name: String, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let called = name.clone();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, called) = (session.clone(), called.clone());
        spawn(async move {
            let removed = called.clone();
            match session.call(move |system, principal| async move { system.commands.disallow_exec(&principal, &removed).await }).await {
                Ok(()) => toasts.good(format!("Removed {called}.")),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Remove {name}?", action: "Remove", busy: busy(), onconfirm, onclose,
            p { "The command can no longer be sent. Commands that were already sent are not canceled." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stand_one_a_line() {
        assert_eq!(argv("/system/bin/logcat\r\n-d\n\n"), ["/system/bin/logcat", "-d"]);
        assert_eq!(argv("/bin/echo\ntwo words\n\nend"), ["/bin/echo", "two words", "", "end"]);
        assert!(argv(" \n").is_empty());
    }
}
