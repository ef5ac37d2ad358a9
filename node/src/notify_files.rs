//! What settings of notifications name by file: the password of the mail server, and authorities that are trusted.

use anyhow::Context;
use notify::NotifySettings;

use crate::config::Config;
use crate::secret_files;

/// Adds what stands in files.
///
/// # Errors
/// A file cannot be read, or that of the password is open to others.
pub(crate) fn read(config: &Config, settings: &mut NotifySettings) -> anyhow::Result<()> {
    let smtp = &config.smtp;
    let password = match smtp.password.get() {
        Some(password) => Some(password.to_owned()),
        None if smtp.password_file.as_os_str().is_empty() => None,
        None => {
            let text = secret_files::read(&smtp.password_file).context("smtp.password_file")?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    };
    settings.mail_server = smtp.server(password);
    let authorities = &config.notify.ca_file;
    if !authorities.as_os_str().is_empty() {
        settings.authorities_pem = Some(std::fs::read(authorities).with_context(|| format!("notify.ca_file {}", authorities.display()))?);
    }
    Ok(())
}
