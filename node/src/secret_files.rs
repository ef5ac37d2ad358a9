//! Secrets that settings name by file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::config::Hidden;

/// Reads a file that holds a secret.
///
/// # Errors
/// It cannot be read, or is open to other users.
pub(crate) fn read(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let metadata = fs::metadata(file)?;
    if domain::secret_file::is_open_to_others(metadata.mode(), metadata.uid()) {
        bail!("{} is open to other users: chmod 600 it", file.display());
    }
    Ok(text)
}

/// The secret that a setting gives, itself or by a file of one line.
///
/// # Errors
/// Both are set, or as [`read`], or the file is empty.
pub(crate) fn given(name: &str, value: &Hidden, file: &Path) -> anyhow::Result<Option<String>> {
    if file.as_os_str().is_empty() {
        return Ok(value.get().map(str::to_owned));
    }
    if value.get().is_some() {
        bail!("{name} and {name}_file are both set: give one");
    }
    let text = read(file).with_context(|| format!("{name}_file"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => bail!("{name}_file: {} is empty", file.display()),
        line => Ok(Some(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn a_secret_is_given_once() {
        let folder = chaos::harness::TempDir::new("secret-files").unwrap();
        let file = folder.path().join("password");
        let of = |variables: &[(&str, &str)]| {
            let config = parse(variables).unwrap();
            let admin = &config.admin;
            given("admin.initial_password", &admin.initial_password, &admin.initial_password_file).map_err(|error| format!("{error:#}"))
        };
        let (value, path) = ("NEXMDM__ADMIN__INITIAL_PASSWORD", ("NEXMDM__ADMIN__INITIAL_PASSWORD_FILE", file.to_str().unwrap()));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(value, "a long password")]), Ok(Some("a long password".into())));
        assert!(of(&[path]).unwrap_err().contains("admin.initial_password_file"), "it is not there");
        for (text, wanted) in [("of a file", Some("of a file")), ("of a file\r\n", Some("of a file")), ("\n", None), ("", None)] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            match wanted {
                Some(_) => assert_eq!(of(&[path]).unwrap().as_deref(), wanted, "{text:?}"),
                None => assert!(of(&[path]).unwrap_err().contains("is empty"), "{text:?}"),
            }
        }
        fs::write(&file, "of a file").unwrap();
        assert!(of(&[path, (value, "a long password")]).unwrap_err().contains("both set"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let problem = of(&[path]).unwrap_err();
        assert!(problem.contains("open to other users") && !problem.contains("of a file"), "{problem}");
    }
}
