//! Newly created tokens, which are shown only once.

use dioxus::prelude::*;
use services::NewToken;

use super::CreatedTokens;
use super::kit::Kit;
use super::progress::{BatchProgress, state, use_progress};
use crate::components::{CopyButton, Curl, Glyph, Skeleton, icon};
use crate::context::use_session;
use crate::format;
use crate::pages::overview::register_command;

/// Tokens as CSV.
fn csv(tokens: &[NewToken]) -> String {
    let row = |token: &NewToken| {
        let cells = [token.alias.as_deref().unwrap_or_default(), &token.token, &format::iso(token.expires_at)].map(format::csv_cell);
        format!("{}\r\n", cells.join(","))
    };
    format!("\"alias\",\"token\",\"expires_at\"\r\n{}", tokens.iter().map(row).collect::<String>())
}

#[component]
pub(super) fn CreatedTokensPanel(tokens: CreatedTokens, made: Signal<Option<CreatedTokens>>, installs: Option<bool>) -> Element {
    let origin = use_session().origin;
    let kit = tokens.clone();
    let tokens = &tokens.0;
    let progress = use_progress(tokens);
    let all = tokens.iter().map(|token| token.token.as_str()).collect::<Vec<_>>().join("\n");
    let command = tokens.first().map(|first| {
        let alias = if first.alias.is_some() { None } else { Some("my-device") };
        register_command(&origin, &first.token, alias)
    });
    rsx! {
        section { class: "card made", aria_labelledby: "made-title",
            div { class: "card-head",
                h2 { id: "made-title", {format::count(tokens.len(), "new token", "new tokens")} }
                div { class: "page-actions",
                    CopyButton { text: all, label: "Copy all", wide: true }
                    button { class: "button", r#type: "button", "data-download": "enrollment-tokens.csv", "data-content": csv(tokens), {icon(Glyph::Download)} "Download CSV" }
                    button { class: "icon-button", r#type: "button", aria_label: "Hide the new tokens", title: "Hide", onclick: move |_| made.set(None), {icon(Glyph::Close)} }
                }
            }
            p { class: "notice warn", {icon(Glyph::Alert)} "Copy them now. They are stored hashed and cannot be shown again." }
            BatchProgress { total: tokens.len(), progress }
            ul { class: "tokens",
                for token in tokens.iter() {
                    li { key: "{token.id}",
                        if let Some(alias) = &token.alias {
                            span { class: "token-alias truncate", "{alias}" }
                        }
                        code { class: "truncate", "data-testid": "new-token", "data-token-id": "{token.id}", "{token.token}" }
                        {state(&progress.read(), token.id)}
                        CopyButton { text: token.token.clone(), label: "Copy this token" }
                    }
                }
            }
            h3 { id: "kit-title", "Enroll a device" }
            match installs {
                Some(installs) => rsx! { Kit { tokens: kit, installs } },
                None => rsx! { Skeleton {} },
            }
            if let Some(command) = command {
                details { class: "by-hand",
                    summary { "Manually" }
                    p { class: "muted", "The agent enrolls with this API call. It can also be made manually." }
                    Curl { command, testid: "register-command" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spreadsheet_has_one_line_per_token() {
        let token = NewToken {
            id: domain::EnrollTokenId(uuid::Uuid::nil()),
            token: "secret".into(),
            alias: Some("=shop".into()),
            expires_at: chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap(),
        };
        let csv = csv(&[token.clone(), NewToken { alias: None, ..token }]);
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(
            lines,
            [
                "\"alias\",\"token\",\"expires_at\"",
                "\"'=shop\",\"secret\",\"2026-05-28T20:26:40Z\"",
                "\"\",\"secret\",\"2026-05-28T20:26:40Z\""
            ]
        );
    }
}
