//! Text of settings: readable variables, and no control characters, which files edited on Windows and careless quoting bring in.

use std::collections::HashMap;
use std::ffi::OsString;

use anyhow::bail;
use config::{Value, ValueKind};

/// Prefix of our variables.
const PREFIX: &str = "NEXMDM__";

/// The variables that can be read; those of others may be anything.
///
/// # Errors
/// Names the variable of ours that is not UTF-8.
pub(super) fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<HashMap<String, String>> {
    let mut readable = HashMap::new();
    for (name, value) in all {
        let shown = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => drop(readable.insert(name, value)),
            _ if shown.to_ascii_uppercase().starts_with(PREFIX) => bail!("configuration: the variable {shown} is not UTF-8"),
            _ => {}
        }
    }
    Ok(readable)
}

/// Refuses a control character in any text. Its value stays out of the message: it may be a secret.
///
/// # Errors
/// Names the key and the character.
pub(super) fn check(value: &Value) -> anyhow::Result<()> {
    check_below("", value)
}

fn check_below(key: &str, value: &Value) -> anyhow::Result<()> {
    match &value.kind {
        ValueKind::String(text) => {
            if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_control()) {
                let code = u32::from(c);
                bail!("configuration, `{key}`: has a control character (U+{code:04X}) at byte {at}");
            }
        }
        ValueKind::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                check_below(&key, value)?;
            }
        }
        ValueKind::Array(values) => values.iter().try_for_each(|value| check_below(key, value))?,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn control_characters_are_refused_by_key_without_the_value() {
        let of = |toml: &str| {
            let source = config::File::from_str(toml, config::FileFormat::Toml);
            check(&config::Config::builder().add_source(source).build().unwrap().cache)
        };
        of("a = 'x'\n[b]\nc = 'Zürich, 東京'\nd = 1\n").unwrap();
        for (toml, key) in [
            ("a = \"hunter2\\r\"", "`a`"),
            ("[b]\nc = \"hunter2\\n\"", "`b.c`"),
            ("[b.c]\nd = \"hunter2\\u0000\"", "`b.c.d`"),
            ("[b]\nc = \"hunter2\\u0085\"", "`b.c`"),
            ("b = [\"x\", \"hunter2\\u001b[0m\"]", "`b`"),
        ] {
            let refused = of(toml).unwrap_err().to_string();
            assert!(refused.contains(key) && refused.contains("U+00") && !refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn variables_of_ours_are_readable_and_those_of_others_may_be_anything() {
        let bad = || OsString::from_vec(vec![b'x', 0xff]);
        let read = |name: &str, value: OsString| variables([(OsString::from(name), value)].into_iter());
        assert_eq!(read("NEXMDM__LOG__FILTER", "info".into()).unwrap().len(), 1);
        assert!(read("LESSOPEN", bad()).unwrap().is_empty());
        assert!(read("NEXMDM__LOG__FILTER", bad()).unwrap_err().to_string().contains("NEXMDM__LOG__FILTER"));
    }
}
