//! Checks of a configuration and of the files that it names, which nothing is made or reached for: `serve` begins with them, and
//! `config check` is them.

use anyhow::Context;
use domain::Timestamp;

use crate::config::{self, Advice, Config};
use crate::database::{given_url, read_url};
use crate::http::tls::Validity;
use crate::{cluster, http, notify_files, secret_files, secrets};

/// A check of the configuration, under the name of what it is about. Its error names the setting or file, and the problem.
pub(crate) type Check = (&'static str, fn(&Config) -> anyhow::Result<()>);

/// Every check, in their order.
pub(crate) const CHECKS: [Check; 11] = [
    ("data folder", data_dir),
    ("keys", secrets::check),
    ("database URL", database_urls),
    ("HTTPS certificate", http::tls::check),
    ("cluster certificate", cluster::check),
    ("notifications", notifications),
    ("push account", push_account),
    ("APK store", apk_store),
    ("backup passphrase", backup_passphrase),
    ("archive store", archive_store),
    ("proxies", proxies),
];

/// Checks what can be known before anything is started.
///
/// # Errors
/// Those of the first check that fails.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    CHECKS.iter().try_for_each(|(_, check)| check(config))
}

fn data_dir(config: &Config) -> anyhow::Result<()> {
    if config.data_dir.exists() && !config.data_dir.is_dir() {
        anyhow::bail!("data_dir {}: not a folder", config.data_dir.display());
    }
    Ok(())
}

fn database_urls(config: &Config) -> anyhow::Result<()> {
    given_url(config)?;
    read_url(config)?;
    secret_files::given("admin.initial_password", &config.admin.initial_password, &config.admin.initial_password_file)?;
    Ok(())
}

fn notifications(config: &Config) -> anyhow::Result<()> {
    let mut settings = config.settings().runtime;
    notify_files::read(config, &mut settings.notify)?;
    Ok(notify::check_authorities(&settings.notify)?)
}

fn push_account(config: &Config) -> anyhow::Result<()> {
    if let Some(fcm) = &config.settings().runtime.fcm {
        push::PushSender::check(fcm)?;
    }
    Ok(())
}

fn apk_store(config: &Config) -> anyhow::Result<()> {
    Ok(apk::ApkLibrary::check(&config.settings().runtime.apks)?)
}

fn backup_passphrase(config: &Config) -> anyhow::Result<()> {
    if config.backup.is_scheduled() {
        backup::read_passphrase_file(&config.backup.passphrase_file).context("backup.passphrase_file")?;
    }
    Ok(())
}

fn archive_store(config: &Config) -> anyhow::Result<()> {
    Ok(config.archive_settings().check()?)
}

fn proxies(config: &Config) -> anyhow::Result<()> {
    config.http.trusted_networks().context("http.trusted_proxies")?;
    Ok(())
}

/// What works at `now` and is unsafe, or will not work for long.
pub(crate) fn advice(config: &Config, now: Timestamp) -> Vec<Advice> {
    let mut found = config::advice(config);
    // One that does not read was refused before.
    if let Ok(Some(Validity::Over(problem) | Validity::EndsSoon(problem))) = http::tls::validity(config, now) {
        found.push(Advice { setting: "http.tls_certificate_file", problem });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::tests::parse;

    fn problem(variables: &[(&str, &str)]) -> String {
        check(&parse(variables).unwrap()).map_or_else(|error| format!("{error:#}"), |()| String::new())
    }

    #[test]
    fn what_serve_would_refuse_is_refused_and_nothing_is_made() {
        let folder = chaos::harness::TempDir::new("preflight").unwrap();
        let data = folder.path().join("data");
        let data_dir = ("NEXMDM__DATA_DIR", data.to_str().unwrap());
        let of = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            file.to_str().unwrap().to_owned()
        };
        assert_eq!(problem(&[data_dir]), "");
        let made = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            (of(&format!("{name}.pem"), &made.cert.pem()), of(&format!("{name}.key"), &made.signing_key.serialize_pem()))
        };
        let ((a_pem, a_key), (_, b_key)) = (made("a.example"), made("b.example"));
        let (tls, tls_key) = ("NEXMDM__HTTP__TLS_CERTIFICATE_FILE", "NEXMDM__HTTP__TLS_KEY_FILE");
        assert_eq!(problem(&[data_dir, (tls, &a_pem), (tls_key, &a_key)]), "");
        let (text, short) = (of("text", "no certificate"), of("short.key", "abcd"));
        let absent = folder.path().join("absent");
        let absent = absent.to_str().unwrap();
        let (ca, pem, key) = ("NEXMDM__CLUSTER__CA_FILE", "NEXMDM__CLUSTER__CERTIFICATE_FILE", "NEXMDM__CLUSTER__CERTIFICATE_KEY_FILE");
        let mail = [("NEXMDM__SMTP__HOST", "mail.example"), ("NEXMDM__SMTP__USERNAME", "u"), ("NEXMDM__SMTP__FROM", "mdm@mail.example")];
        for (variables, wanted) in [
            (vec![(tls, a_pem.as_str()), (tls_key, &b_key)], "http.tls_key_file"),
            (vec![(tls, &text), (tls_key, &a_key)], "http.tls_certificate_file"),
            (vec![(tls, absent), (tls_key, absent)], "absent"),
            (vec![("NEXMDM__SECRETS__JWT_KEY_FILE", absent)], "secrets.jwt_key_file"),
            (vec![("NEXMDM__SECRETS__JWT_KEY_FILE", &short)], "secrets.jwt_key"),
            (vec![("NEXMDM__FCM__SERVICE_ACCOUNT_FILE", absent)], "absent"),
            (vec![("NEXMDM__FCM__SERVICE_ACCOUNT_FILE", &text)], "text"),
            (vec![(ca, &a_pem)], "cluster.ca_file"),
            (vec![(ca, absent), (pem, &a_pem), (key, &a_key)], "cluster.ca_file"),
            (vec![(ca, &a_pem), (pem, &a_pem), (key, &b_key)], "cluster.certificate_key_file"),
            (vec![("NEXMDM__CLUSTER__NAME", "No Name")], "cluster.name"),
            (vec![("NEXMDM__DATABASE__READ_URL", "mysql://a/b")], "database.read_url"),
            (vec![("NEXMDM__DATABASE__READ_URL", "postgres://a,,b/c")], "database.read_url"),
            (vec![("NEXMDM__APKS__STORE_URL", "ftp://x")], "apks.store_url"),
            (vec![("NEXMDM__APKS__STORE_URL", &text)], "apks.store_url"),
            (vec![("NEXMDM__NOTIFY__CA_FILE", absent)], "notify.ca_file"),
            (vec![("NEXMDM__NOTIFY__CA_FILE", &text)], "notify.ca_file"),
            (vec![("NEXMDM__BACKUP__DIRECTORY", absent), ("NEXMDM__BACKUP__PASSPHRASE_FILE", &short)], "backup.passphrase_file"),
            ([&mail[..], &[("NEXMDM__SMTP__PASSWORD_FILE", absent)]].concat(), "smtp.password_file"),
            (vec![("NEXMDM__DATA_DIR", &text)], "data_dir"),
        ] {
            let variables = [vec![data_dir], variables].concat();
            let problem = problem(&variables);
            assert!(problem.contains(wanted), "{variables:?}: {problem:?}");
        }
        assert!(!data.exists(), "nothing is made");
        // A key that is kept there counts like one that is given.
        std::fs::create_dir_all(data.join("secrets")).unwrap();
        std::fs::write(data.join("secrets/jwt.key"), "ab".repeat(16)).unwrap();
        std::fs::set_permissions(data.join("secrets/jwt.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(problem(&[data_dir]).contains("secrets.jwt_key"));
    }
}
