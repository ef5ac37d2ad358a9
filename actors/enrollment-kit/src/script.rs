//! Enrollment scripts: a template per shell, filled in with values that are quoted for it.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Invalid;

use super::failures::{CALL_REFUSALS, FAILURES, INSTALL_REMEDIES, OWNER_REFUSALS};
use super::quote::{Shell, printable, single_quoted};
use super::{ADMIN_COMPONENT, APP_OPERATION, ENROLL_ACTION, ENROLL_RECEIVER, MIN_SDK, PACKAGE, PERMISSIONS};

const BASH: &str = include_str!("templates/enroll.sh");
const POWERSHELL: &str = include_str!("templates/enroll.ps1");
const CMD: &str = include_str!("templates/enroll.cmd");

/// Commands that the scripts of all shells run on the device; without double quotes, which Windows would remove.
pub fn device_calls() -> Vec<(&'static str, String)> {
    vec![
        ("CALL_SDK", "getprop ro.build.version.sdk".into()),
        ("CALL_OWNER", "dumpsys device_policy | grep -A 1 -E 'Device Owner:|Profile Owner' | grep admin=".into()),
        ("CALL_ACCOUNTS", "dumpsys account | grep -E 'Accounts: [1-9]'".into()),
        ("CALL_USERS", "pm list users".into()),
        ("CALL_DIGEST", format!("p=$(pm path {PACKAGE} | sed -n s/^package://p | head -n 1); [ -z $p ] && echo absent || sha256sum $p")),
        ("CALL_SET_OWNER", format!("dpm set-device-owner --user 0 {ADMIN_COMPONENT}")),
        ("CALL_GRANT", format!("pm grant {PACKAGE}")),
        ("CALL_OPERATION", format!("appops set {PACKAGE} {APP_OPERATION} allow")),
        ("CALL_DOZE_LIST", format!("dumpsys deviceidle whitelist | grep ,{PACKAGE},")),
        ("CALL_DOZE_ADD", format!("dumpsys deviceidle whitelist +{PACKAGE}")),
        // A package that was never started is stopped, and gets broadcasts only from those who insist.
        (
            "CALL_ENROLL",
            format!("am broadcast --user 0 --include-stopped-packages --receiver-foreground -a {ENROLL_ACTION} -n {ENROLL_RECEIVER}"),
        ),
    ]
}

/// A token of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptToken {
    /// The secret.
    pub token: String,
    /// The alias that it fixes.
    pub alias: Option<String>,
}

/// A script to be made.
#[derive(Debug, Clone)]
pub struct ScriptRequest<'a> {
    /// For which shell.
    pub shell: Shell,
    /// URL of the server for devices.
    pub server_url: &'a str,
    /// Address of the APK and its SHA-256 in hex, if there is one.
    pub apk: Option<(&'a str, &'a str)>,
    /// One token per device.
    pub tokens: &'a [ScriptToken],
    /// Whether every device plugged in is enrolled, instead of a single one.
    pub batch: bool,
    /// Whether the agent is installed.
    pub install: bool,
}

/// The text of a script. Scripts of cmd have lines that end in CR LF, as it wants them.
///
/// # Errors
/// A value holds a control character.
pub fn render(request: &ScriptRequest<'_>) -> Result<String, Invalid> {
    let shell = request.shell;
    let template = match shell {
        Shell::Bash => BASH,
        Shell::PowerShell => POWERSHELL,
        Shell::Cmd => CMD,
    };
    let (apk_url, apk_sha256) = request.apk.unwrap_or_default();
    let permissions = PERMISSIONS.map(|(since, permission)| format!("{since}:{permission}")).join(" ");
    let mut values = vec![
        ("SERVER_URL", shell.quote("server_url", request.server_url)?),
        ("APK_URL", shell.quote("apk_url", apk_url)?),
        ("APK_SHA256", shell.quote("apk_sha256", apk_sha256)?),
        ("PACKAGE", shell.quote("package", PACKAGE)?),
        ("ADMIN", shell.quote("admin", ADMIN_COMPONENT)?),
        ("PERMISSIONS", shell.quote("permissions", &permissions)?),
        ("MIN_SDK", MIN_SDK.to_string()),
        ("BATCH", u8::from(request.batch).to_string()),
        ("INSTALL", u8::from(request.install).to_string()),
        ("EXIT_CODES", exit_codes(shell)),
        ("FAILURE_NAMES", table(shell, "NAME", FAILURES.iter().map(|failure| (failure.code.to_string(), failure.name)))),
        ("FAILURE_REMEDIES", table(shell, "REMEDY", FAILURES.iter().map(|failure| (failure.code.to_string(), failure.remedy)))),
        ("INSTALL_REMEDIES", install_remedies(shell)),
        ("OWNER_REFUSALS", owner_refusals(shell)),
        ("CALL_REFUSALS", call_refusals(shell)),
    ];
    for (name, call) in device_calls() {
        values.push((name, shell.quote(name, &call)?));
    }
    values.extend(tokens(request)?);
    let text = fill(template, &values);
    Ok(if shell == Shell::Cmd { text.replace("\r\n", "\n").replace('\n', "\r\n") } else { text })
}

/// The lists of tokens and aliases, as each shell has lists.
fn tokens(request: &ScriptRequest<'_>) -> Result<Vec<(&'static str, String)>, Invalid> {
    let shell = request.shell;
    let (mut secrets, mut aliases, mut lines) = (Vec::new(), Vec::new(), String::new());
    for (index, token) in request.tokens.iter().enumerate() {
        let (field, alias) = (format!("tokens[{index}]"), token.alias.as_deref().unwrap_or_default());
        let (secret, name) = (shell.quote(&field, &token.token)?, shell.quote(&field, alias)?);
        if shell == Shell::Cmd {
            // cmd could not quote for the device's shell: it gets the whole call, in an alphabet that nothing minds.
            let call = STANDARD.encode(enroll_call(request.server_url, token)?);
            let number = index + 1;
            // Writing to a String does not fail.
            let _ = write!(lines, "set TOKEN_{number}={secret}\nset ALIAS_{number}={name}\nset ENROLL_{number}={call}\n");
        }
        secrets.push(secret);
        aliases.push(name);
    }
    let separator = if shell == Shell::PowerShell { ", " } else { " " };
    Ok(vec![
        ("TOKENS", secrets.join(separator)),
        ("ALIASES", aliases.join(separator)),
        ("TOKEN_LINES", lines.trim_end().to_owned()),
        ("TOKEN_COUNT", request.tokens.len().to_string()),
    ])
}

/// The call that hands a token over, as the device's shell reads it.
fn enroll_call(server_url: &str, token: &ScriptToken) -> Result<String, Invalid> {
    printable("tokens", &token.token)?;
    let calls = device_calls();
    let start = calls.iter().find(|(name, _)| *name == "CALL_ENROLL").map_or("", |(_, call)| call);
    let (url, secret) = (single_quoted(server_url), single_quoted(&token.token));
    let alias = token.alias.as_deref().map(|alias| format!(" --es alias {}", single_quoted(alias))).unwrap_or_default();
    Ok(format!("{start} --es server_url {url} --es enrollment_token {secret}{alias}"))
}

fn lines<T>(items: impl IntoIterator<Item = T>, line: impl Fn(T) -> String) -> String {
    items.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The exit codes as comments.
fn exit_codes(shell: Shell) -> String {
    let mark = if shell == Shell::Cmd { "rem" } else { "#" };
    lines(FAILURES, |failure| format!("{mark}   {:>3} {}: {}", failure.code, failure.name, failure.meaning))
}

/// Words by number. They need no quoting in any shell; a test of the table sees to it.
fn table<'a>(shell: Shell, name: &str, entries: impl Iterator<Item = (String, &'a str)>) -> String {
    lines(entries, |(code, words)| match shell {
        Shell::Bash => format!("    {code}) echo '{words}' ;;"),
        Shell::PowerShell => format!("    {code} = '{words}'"),
        Shell::Cmd => format!("set \"{name}_{code}={words}\""),
    })
}

fn install_remedies(shell: Shell) -> String {
    lines(INSTALL_REMEDIES, |(name, remedy)| match shell {
        Shell::Bash => format!("    *{name}*) echo '{remedy}' ;;"),
        Shell::PowerShell => format!("    '{name}' = '{remedy}'"),
        Shell::Cmd => format!("findstr /c:\"{name}\" \"%OUT%\" \"%ERRORS%\" >nul && (set \"HINT={remedy}\" & exit /b 0)"),
    })
}

fn owner_refusals(shell: Shell) -> String {
    lines(OWNER_REFUSALS, |(words, code)| match shell {
        Shell::Bash => format!("    *'{words}'*) echo {code} ;;"),
        Shell::PowerShell => format!("    '{words}' = {code}"),
        Shell::Cmd => format!("findstr /c:\"{words}\" \"%OUT%\" \"%ERRORS%\" >nul && (set \"REFUSAL={code}\" & exit /b 0)"),
    })
}

fn call_refusals(shell: Shell) -> String {
    lines(CALL_REFUSALS, |words| match shell {
        Shell::Bash => format!("    *'{words}'*) ;;"),
        Shell::PowerShell => format!("    '{words}'"),
        Shell::Cmd => format!("findstr /c:\"{words}\" \"%OUT%\" \"%ERRORS%\" >nul && exit /b 1"),
    })
}

/// Replaces the placeholders by values in one pass, so that a value is never taken for a placeholder.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some(at) = rest.find('@') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let place =
            from[1..].find('@').and_then(|end| values.iter().find(|(name, _)| *name == &from[1..=end]).map(|(_, value)| (end, value)));
        match place {
            Some((end, value)) => {
                filled.push_str(value);
                rest = &from[end + 2..];
            }
            None => {
                filled.push('@');
                rest = &from[1..];
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(shell: Shell, alias: &str, count: usize) -> String {
        let tokens = vec![ScriptToken { token: "tok-en_1".into(), alias: Some(alias.into()) }; count];
        let request = ScriptRequest {
            shell,
            server_url: "https://mdm.example",
            apk: Some(("https://mdm.example/v1/agent/apk?expires=1&signature=ab", "0123")),
            tokens: &tokens,
            batch: count > 1,
            install: true,
        };
        render(&request).unwrap()
    }

    #[test]
    fn no_place_is_left_open_and_every_step_and_code_is_there() {
        for shell in Shell::ALL {
            let script = made(shell, "kiosk", 2);
            let left = script
                .split('@')
                .skip(1)
                .step_by(1)
                .find(|part| part.len() > 2 && part.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
            assert_eq!(left, None, "{shell:?}");
            for (name, call) in device_calls() {
                assert!(script.contains(&shell.quote(name, &call).unwrap()), "{shell:?} lacks {name}");
                assert!(script.matches(name).count() >= 2, "{shell:?} sets {name} and never uses it");
            }
            for failure in FAILURES {
                assert!(script.contains(failure.remedy) && script.contains(failure.meaning), "{shell:?} lacks {}", failure.name);
            }
            for name in INSTALL_REMEDIES.map(|(name, _)| name).into_iter().chain(CALL_REFUSALS) {
                assert!(script.contains(name), "{shell:?} lacks {name}");
            }
        }
    }

    /// The codes that a script ends with are those of the table, and the same in every shell.
    #[test]
    fn every_shell_fails_with_the_same_codes() {
        let codes = |template: &str, call: &str| -> std::collections::BTreeSet<u8> {
            let after = template.split(call).skip(1);
            after.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
        };
        let bash = codes(BASH, "fail ");
        let known: std::collections::BTreeSet<_> = FAILURES.iter().map(|failure| failure.code).collect();
        // Refusals of Android and an interrupt do not go through a literal code.
        let missing: Vec<_> = known.difference(&bash).copied().collect();
        assert_eq!(missing, [40, 130]);
        assert_eq!(codes(POWERSHELL, "Fail "), &bash | &[40].into());
        assert_eq!(codes(CMD, "call :fail "), &bash | &[40].into());
    }

    #[test]
    fn cmd_has_its_line_ends_and_the_others_theirs() {
        let cmd = made(Shell::Cmd, "kiosk", 1);
        assert_eq!(cmd.matches('\n').count(), cmd.matches("\r\n").count());
        assert!(!made(Shell::Bash, "kiosk", 1).contains('\r') && !made(Shell::PowerShell, "kiosk", 1).contains('\r'));
        assert!(made(Shell::PowerShell, "kiösk", 1).is_ascii(), "5.1 would read it in the system's code page");
    }

    #[test]
    fn an_alias_that_looks_like_a_place_stays_an_alias() {
        let script = made(Shell::Bash, "@TOKENS@ it's $(x)", 1);
        assert!(script.contains(r"ALIASES=('@TOKENS@ it'\''s $(x)')"));
        let token = ScriptToken { token: "t".into(), alias: Some("it's".into()) };
        assert!(
            enroll_call("http://a", &token)
                .unwrap()
                .ends_with(r" --es server_url 'http://a' --es enrollment_token 't' --es alias 'it'\''s'")
        );
        let encoded = STANDARD
            .encode(enroll_call("https://mdm.example", &ScriptToken { token: "tok-en_1".into(), alias: Some("ü\"%".into()) }).unwrap());
        assert!(made(Shell::Cmd, "ü\"%", 1).contains(&format!("set ENROLL_1={encoded}")));
    }

    /// Linkers, libraries and adb warn on standard error, which no script takes for a part of an answer.
    #[test]
    fn no_call_mixes_an_answer_with_what_is_said_beside_it() {
        for line in BASH.lines().chain(CMD.lines()).filter(|line| line.contains("2>&1")) {
            assert!(line.contains(">/dev/null 2>&1") || line.contains(">nul 2>&1"), "{line}");
        }
        let answer = POWERSHELL.lines().filter(|line| line.contains("Out = ")).map(str::trim).collect::<Vec<_>>();
        assert!(answer.iter().all(|line| !line.contains("$Beside") || line.contains("All = ")), "{answer:?}");
        assert!(POWERSHELL.contains("Out = $Answer; All = "));
    }

    /// The grammar stands in for a PowerShell, which does not run everywhere.
    #[test]
    fn a_parser_of_powershell_accepts_its_scripts() {
        let mut parser = tree_sitter::Parser::new();
        parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
        let mut accepts = |script: &str| {
            let tree = parser.parse(script, None).unwrap();
            !tree.root_node().has_error()
        };
        for (alias, count) in [("kiosk", 1), ("it's \"$(a)\" `b` \\ ü", 1), ("shop", 500)] {
            assert!(accepts(&made(Shell::PowerShell, alias, count)), "{alias}");
        }
        let broken = made(Shell::PowerShell, "kiosk", 1);
        assert!(
            !accepts(&broken.replacen("function Note([string]$Words) {", "function Note([string]$Words) ", 1)),
            "it sees a brace that lacks"
        );
    }

    #[test]
    fn bash_accepts_its_scripts() {
        for (alias, count) in [("kiosk", 1), ("it's \"$(a)\" `b` \\", 1), ("shop", 500)] {
            let path = std::env::temp_dir().join(format!("nexmdm-script-{}-{count}", std::process::id()));
            std::fs::write(&path, made(Shell::Bash, alias, count)).unwrap();
            let checked = std::process::Command::new("bash").arg("-n").arg(&path).output().unwrap();
            std::fs::remove_file(path).unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
