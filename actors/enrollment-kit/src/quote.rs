//! Values as text of a shell: whatever they hold, the shell reads back the same characters.
//!
//! Line breaks and control characters have no place in any value here and are refused, not quoted.

use domain::Invalid;

/// The shells that scripts are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Shell {
    /// bash 3.2 or newer: Linux, macOS.
    Bash,
    /// Windows PowerShell 5.1 or newer.
    PowerShell,
    /// The command prompt of Windows 10 or newer.
    Cmd,
}

domain::named!(pub Shell, parse -> Result);

impl Shell {
    /// File name extension of its scripts.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Bash => "sh",
            Self::PowerShell => "ps1",
            Self::Cmd => "cmd",
        }
    }

    /// `value` as one word of a script.
    ///
    /// # Errors
    /// Names `field` when the value holds a control character.
    pub fn quote(self, field: &str, value: &str) -> Result<String, Invalid> {
        printable(field, value)?;
        Ok(match self {
            Self::Bash => single_quoted(value),
            Self::PowerShell => powershell(value),
            Self::Cmd => cmd(value),
        })
    }
}

/// Refuses control characters, line breaks included.
///
/// # Errors
/// Names `field` and the position.
pub fn printable(field: &str, value: &str) -> Result<(), Invalid> {
    match value.chars().position(char::is_control) {
        Some(at) => Err(Invalid::new(field, format!("control character at position {at}: not allowed in a script"))),
        None => Ok(()),
    }
}

/// A word of a POSIX shell: nothing is special between single quotes (POSIX, Shell Command Language 2.2.2).
pub fn single_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// An expression of PowerShell. It takes typographic quotes for quotes, and 5.1 reads files without a
/// byte order mark in the system's code page: so what is not plain ASCII goes as code points.
fn powershell(value: &str) -> String {
    if value.is_ascii() {
        return format!("'{}'", value.replace('\'', "''"));
    }
    let units: Vec<_> = value.encode_utf16().map(|unit| unit.to_string()).collect();
    format!("(-join [char[]]({}))", units.join(","))
}

/// The rest of a `set NAME=` line of cmd, with delayed expansion off: every special character behind a
/// caret, so that not even a quote begins anything, and percent signs doubled.
fn cmd(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() * 2);
    for c in value.chars() {
        match c {
            '%' => quoted.push_str("%%"),
            '"' | '^' | '&' | '|' | '<' | '>' | '(' | ')' | '!' => quoted.extend(['^', c]),
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The value that bash itself gives a quoted word.
    fn read_by_bash(word: &str) -> String {
        let out = std::process::Command::new("bash").args(["-c", &format!("printf %s {word}")]).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    /// POSIX rules for quoted words, without a shell.
    fn read_by_posix(word: &str) -> String {
        let (mut read, mut chars, mut in_quotes) = (String::new(), word.chars(), false);
        while let Some(c) = chars.next() {
            match c {
                '\'' => in_quotes = !in_quotes,
                '\\' if !in_quotes => read.extend(chars.next()),
                c if in_quotes => read.push(c),
                c => panic!("{c} stands outside of quotes: {word}"),
            }
        }
        assert!(!in_quotes);
        read
    }

    /// PowerShell's rules for the two forms that are written.
    fn read_by_powershell(word: &str) -> String {
        if let Some(codes) = word.strip_prefix("(-join [char[]](") {
            let units: Vec<u16> = codes.trim_end_matches("))").split(',').map(|unit| unit.parse().unwrap()).collect();
            return String::from_utf16(&units).unwrap();
        }
        let inner = word.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap();
        assert!(!inner.replace("''", "").contains('\''), "the string ends early: {word}");
        inner.replace("''", "'")
    }

    /// cmd's phases 1 and 2 over the rest of a `set` line: percent signs, then carets and quotes.
    fn read_by_cmd(rest: &str) -> String {
        assert!(!rest.replace("%%", "").contains('%'), "a variable is expanded: {rest}");
        let (mut read, mut in_quotes, mut escaped) = (String::new(), false, false);
        for c in rest.replace("%%", "%").chars() {
            match c {
                c if escaped => {
                    read.push(c);
                    escaped = false;
                }
                '^' if !in_quotes => escaped = true,
                '"' => {
                    in_quotes = !in_quotes;
                    read.push(c);
                }
                '&' | '|' | '<' | '>' if !in_quotes => panic!("the command ends early: {rest}"),
                c => read.push(c),
            }
        }
        assert!(!in_quotes && !escaped);
        read
    }

    #[test]
    fn values_that_attack_come_back_as_they_were() {
        for value in [
            "",
            "plain",
            "it's",
            "\"quoted\"",
            "$(reboot)",
            "`reboot`",
            "$HOME",
            "%PATH%",
            "100%",
            "!x!",
            "a & b",
            "a|b>c<d",
            "^",
            "\\",
            "a\\\"b",
            "(x)",
            "Müller's \u{2018}shop\u{2019}",
            "é\"&%!",
            "'; rm -rf /; '",
            "-n",
            " spaces ",
            "\u{1f600}",
            "#",
            "~",
        ] {
            for shell in Shell::ALL {
                let word = shell.quote("alias", value).unwrap();
                let read = match shell {
                    Shell::Bash => read_by_bash(&word),
                    Shell::PowerShell => read_by_powershell(&word),
                    Shell::Cmd => read_by_cmd(&word),
                };
                assert_eq!(read, value, "{shell:?}: {word}");
            }
        }
    }

    #[test]
    fn line_breaks_are_refused() {
        for shell in Shell::ALL {
            for value in ["a\nb", "a\rb", "\0", "\u{85}"] {
                assert_eq!(shell.quote("alias", value).unwrap_err().field, "alias");
            }
        }
        assert_eq!(Shell::parse("shell", "fish").unwrap_err().field, "shell");
        assert!(Shell::ALL.into_iter().all(|shell| Shell::parse("shell", shell.as_str()) == Ok(shell)));
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value in "[ -~\u{a1}-\u{2fff}]{0,40}") {
            prop_assert_eq!(read_by_cmd(&Shell::Cmd.quote("v", &value).unwrap()), value.clone());
            prop_assert_eq!(read_by_powershell(&Shell::PowerShell.quote("v", &value).unwrap()), value.clone());
            let posix = Shell::Bash.quote("v", &value).unwrap();
            prop_assert_eq!(read_by_posix(&posix), value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bash_reads_any_value(value in "[ -~\u{a1}-\u{2fff}]{0,40}") {
            prop_assert_eq!(read_by_bash(&Shell::Bash.quote("v", &value).unwrap()), value);
        }
    }
}
