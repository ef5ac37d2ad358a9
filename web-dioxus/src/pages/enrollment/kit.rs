//! Instructions for newly created tokens: a script per shell, or a QR code.

use dioxus::html::{FormValue, Key};
use dioxus::prelude::*;
use enrollment_kit::qr::Wifi;
use enrollment_kit::quote::Shell;
use services::{EnrollmentCode, Script, ScriptOptions};

use super::CreatedTokens;
use crate::components::{Glyph, icon};
use crate::context::{Session, explain, use_session};

/// A tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Script(Shell),
    Code,
}

impl Tab {
    const ALL: [Self; 4] = [Self::Script(Shell::Bash), Self::Script(Shell::PowerShell), Self::Script(Shell::Cmd), Self::Code];

    fn name(self) -> &'static str {
        match self {
            Self::Script(shell) => shell.as_str(),
            Self::Code => "qr",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Script(Shell::Bash) => "Bash",
            Self::Script(Shell::PowerShell) => "PowerShell",
            Self::Script(Shell::Cmd) => "cmd",
            Self::Code => "QR code",
        }
    }

    /// How a downloaded script is run.
    fn command(self, file: &str) -> String {
        match self {
            Self::Script(Shell::PowerShell) => format!("powershell -ExecutionPolicy Bypass -File {file}"),
            Self::Script(Shell::Cmd) => file.to_owned(),
            Self::Script(Shell::Bash) | Self::Code => format!("bash {file}"),
        }
    }

    fn moved(self, key: &Key) -> Option<Self> {
        let at = Self::ALL.iter().position(|tab| *tab == self)?;
        match key {
            Key::ArrowRight => Some(Self::ALL[(at + 1) % Self::ALL.len()]),
            Key::ArrowLeft => Some(Self::ALL[(at + Self::ALL.len() - 1) % Self::ALL.len()]),
            _ => None,
        }
    }
}

/// How devices reach the server, unless the configuration says it: as this browser does.
fn server_url(session: &Session, configured: Option<&str>) -> Option<String> {
    configured.is_none().then(|| session.origin.clone())
}

/// `installs`: this node has an agent to install.
#[component]
pub(super) fn Kit(tokens: CreatedTokens, installs: bool) -> Element {
    let mut tab = use_signal(|| Tab::ALL[0]);
    // Counts the moves by key, so that the glue sees each and moves the focus along.
    let mut moves = use_signal(|| 0u32);
    let focus = if moves() > 0 { format!("{}:{}", tab().name(), moves()) } else { String::new() };
    rsx! {
        if !installs {
            p { class: "notice", "data-testid": "no-apk", {icon(Glyph::Package)}
                span { "This node has no agent APK, so these scripts require an installed agent. See above for how to add an APK." }
            }
        }
        div { class: "tabs kit-tabs", role: "tablist", aria_labelledby: "kit-title", "data-focus": focus,
            onkeydown: move |event: KeyboardEvent| {
                if let Some(next) = tab().moved(&event.key()) {
                    tab.set(next);
                    moves += 1;
                }
            },
            for choice in Tab::ALL {
                button {
                    key: "{choice.name()}", id: "kit-{choice.name()}", name: choice.name(), r#type: "button", role: "tab",
                    aria_selected: if tab() == choice { "true" } else { "false" }, aria_controls: "kit-panel",
                    tabindex: if tab() == choice { "0" } else { "-1" }, "data-testid": "kit-{choice.name()}",
                    onclick: move |_| tab.set(choice),
                    {choice.label()}
                }
            }
        }
        div { id: "kit-panel", class: "kit-panel", role: "tabpanel", tabindex: "0", aria_labelledby: "kit-{tab().name()}",
            match tab() {
                Tab::Script(shell) => rsx! { ScriptPanel { key: "{shell.as_str()}", tokens, shell, installs } },
                Tab::Code if installs => rsx! { CodePanel { tokens } },
                Tab::Code => rsx! { p { class: "muted", "A QR code contains the download address of the agent. It requires an agent APK on the server." } },
            }
        }
    }
}

#[component]
fn ScriptPanel(tokens: CreatedTokens, shell: Shell, installs: bool) -> Element {
    let session = use_session();
    let count = tokens.0.len();
    let made = use_resource(use_reactive((&tokens, &shell, &installs), move |(tokens, shell, install)| {
        let session = session.clone();
        async move {
            let secrets: Vec<_> = tokens.0.iter().map(|token| token.token.clone()).collect();
            let page = session.clone();
            let made = session.call(move |system, principal| async move {
                let server_url = server_url(&page, system.enrollment.public_url());
                let options = ScriptOptions { batch: secrets.len() > 1, tokens: secrets, shell, install, server_url };
                system.enrollment.script(&principal, options).await
            });
            made.await.map_err(|error| explain(&error))
        }
    }));
    match &*made.read() {
        None => rsx! { div { class: "skeleton-lines", aria_hidden: "true", span {} span {} span {} } },
        Some(Err(problem)) => rsx! { p { class: "notice bad", role: "alert", {icon(Glyph::Alert)} "{problem}" } },
        Some(Ok(Script { file_name, text })) => rsx! {
            p { class: "muted",
                if count > 1 {
                    "Enrolls every device plugged in over USB, each with one of the {count} tokens. "
                } else {
                    "Enrolls the device plugged in over USB. "
                }
                "Run it with "
                code { {Tab::Script(shell).command(file_name)} }
                "; with "
                code { "--dry-run" }
                " it only prints its commands. The script contains the token, so keep it private."
            }
            div { class: "kit-actions",
                button { class: "button", r#type: "button", "data-download": "{file_name}", "data-from": "kit-script", "data-testid": "download-script", {icon(Glyph::Download)} "Download {file_name}" }
                button { class: "button copy", r#type: "button", "data-copy": "", "data-from": "kit-script",
                    span { class: "copy-idle", {icon(Glyph::Copy)} }
                    span { class: "copy-done", {icon(Glyph::Check)} }
                    "Copy"
                }
            }
            pre { id: "kit-script", class: "kit-script", tabindex: "0", role: "region", aria_label: "Text of {file_name}", "data-testid": "script", "{text}" }
        },
    }
}

#[component]
fn CodePanel(tokens: CreatedTokens) -> Element {
    let session = use_session();
    let mut requested = use_signal(|| (0usize, None::<Wifi>));
    let mut refused = use_signal(|| None::<String>);
    let several = tokens.0.len() > 1;
    let listed = tokens.clone();
    let made = use_resource(use_reactive((&tokens,), move |(tokens,)| {
        let session = session.clone();
        let (index, wifi) = requested();
        async move {
            let Some(secret) = tokens.0.get(index).map(|token| token.token.clone()) else { return Err(String::new()) };
            let page = session.clone();
            let made = session.call(move |system, principal| async move {
                let server_url = server_url(&page, system.enrollment.public_url());
                system.enrollment.qr(&principal, secret, wifi, server_url).await
            });
            made.await.map_err(|error| explain(&error))
        }
    }));
    let show = move |event: FormEvent| {
        let value = |name: &str| match event.get_first(name) {
            Some(FormValue::Text(text)) => text,
            _ => String::new(),
        };
        let (ssid, password) = (value("ssid"), value("password"));
        let wifi = match ssid.is_empty() && password.is_empty() {
            true => Ok(None),
            false => Wifi::checked(ssid, None, Some(password), false).map(Some),
        };
        match wifi {
            Ok(wifi) => {
                refused.set(None);
                requested.set((value("token").parse().unwrap_or_default(), wifi));
            }
            Err(invalid) => refused.set(Some(invalid.problem)),
        }
    };
    rsx! {
        p { class: "muted", "On the welcome screen of a factory-reset device, tap six times on the same spot and scan this QR code. On certified devices Google's setup may reject an unknown agent; use a script then." }
        form { class: "kit-wifi", novalidate: true, "data-draft": "qr", onsubmit: show,
            if several {
                div { class: "field",
                    label { r#for: "qr-token", "Device" }
                    select { id: "qr-token", name: "token",
                        for (index, token) in listed.0.iter().enumerate() {
                            option { key: "{token.id}", value: "{index}", {token.alias.clone().unwrap_or_else(|| format!("Token {}", index + 1))} }
                        }
                    }
                }
            }
            div { class: "field", label { r#for: "qr-ssid", "Wi-Fi network" } input { id: "qr-ssid", name: "ssid", initial_value: "", autocomplete: "off", maxlength: "32", placeholder: "asked on the device" } }
            div { class: "field", label { r#for: "qr-password", "Wi-Fi password" } input { id: "qr-password", name: "password", r#type: "password", initial_value: "", autocomplete: "off", maxlength: "64" } }
            button { class: "button", "data-testid": "show-code", "Show code" }
        }
        if let Some(problem) = refused() {
            p { class: "field-error", role: "alert", {icon(Glyph::Alert)} "Wi-Fi: {problem}" }
        }
        match &*made.read() {
            None => rsx! { div { class: "skeleton-lines", aria_hidden: "true", span {} span {} span {} } },
            Some(Err(problem)) => rsx! { p { class: "notice bad", role: "alert", {icon(Glyph::Alert)} "{problem}" } },
            Some(Ok(EnrollmentCode { payload, svg, .. })) => rsx! {
                div { class: "kit-code",
                    img { class: "qr-code", src: data_url(svg), alt: "Enrollment code", "data-testid": "qr-code" }
                    div { class: "kit-actions",
                        button { class: "button", r#type: "button", "data-download": "enrollment-code.svg", "data-content": "{svg}", {icon(Glyph::Download)} "Download SVG" }
                    }
                    details {
                        summary { "Payload" }
                        pre { class: "kit-script", tabindex: "0", role: "region", aria_label: "Payload of the QR code", {serde_json::to_string_pretty(payload).unwrap_or_default()} }
                    }
                }
            },
        }
    }
}

/// A picture as an address: what means something in one is encoded.
fn data_url(svg: &str) -> String {
    let mut url = String::from("data:image/svg+xml,");
    for c in svg.chars() {
        match c {
            '%' => url.push_str("%25"),
            '#' => url.push_str("%23"),
            '"' => url.push_str("%22"),
            '<' => url.push_str("%3C"),
            '>' => url.push_str("%3E"),
            ' ' => url.push_str("%20"),
            c => url.push(c),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_around_the_tabs() {
        assert_eq!(Tab::Code.moved(&Key::ArrowRight), Some(Tab::Script(Shell::Bash)));
        assert_eq!(Tab::Script(Shell::Bash).moved(&Key::ArrowLeft), Some(Tab::Code));
        assert_eq!(Tab::Code.moved(&Key::Enter), None);
    }

    #[test]
    fn a_picture_survives_as_an_address() {
        assert_eq!(data_url("<a b=\"#1\">"), "data:image/svg+xml,%3Ca%20b=%22%231%22%3E");
    }
}
