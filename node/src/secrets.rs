//! The keys of the cluster: given, or made on first start and kept with mode 0600.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use actors::Secrets;
use anyhow::{Context, bail};
use secrecy::SecretBox;

use crate::config::{Config, Hidden};
use crate::database::none_here;
use crate::secret_files::read;

/// Shortest key, in bytes.
const KEY_MIN_BYTES: usize = 32;

/// Reads the keys, making those that are neither given nor there yet.
///
/// # Errors
/// A key is too short or not hex, or its file cannot be read or is open to others.
pub(crate) fn load(config: &Config) -> anyhow::Result<Secrets> {
    let [master, jwt, _] = keys(config);
    Ok(Secrets { master_key: master.read_or_make()?, jwt_key: jwt.read_or_make()? })
}

/// Reads the keys, and makes none.
///
/// # Errors
/// As [`load`], or a key is neither given nor there.
pub(crate) fn load_existing(config: &Config) -> anyhow::Result<Secrets> {
    let [master, jwt, _] = keys(config);
    let read = |key: Key<'_>| key.read()?.ok_or_else(|| none_here(config, key.name, "give the key"));
    Ok(Secrets { master_key: read(master)?, jwt_key: read(jwt)? })
}

/// Folder of the keys that were made here.
pub(crate) fn folder(config: &Config) -> std::path::PathBuf {
    config.data_dir.join("secrets")
}

/// The key that the authority of the link between nodes is derived from.
///
/// # Errors
/// As [`load`].
pub(crate) fn cluster_key(config: &Config) -> anyhow::Result<SecretBox<Vec<u8>>> {
    let [_, _, cluster] = keys(config);
    cluster.read_or_make()
}

/// The keys that are given or there, for a backup.
///
/// # Errors
/// As [`load`].
pub(crate) fn for_backup(config: &Config) -> anyhow::Result<Vec<backup::Key>> {
    let mut found = Vec::new();
    for (name, key) in backup::KEY_NAMES.into_iter().zip(keys(config)) {
        found.extend(key.read()?.map(|bytes| backup::Key { name, hex: hex_of(&bytes) }));
    }
    Ok(found)
}

/// The keys that are given or there, and the files of those that are kept here, for a restore.
///
/// # Errors
/// As [`load`].
pub(crate) fn for_restore(config: &Config) -> anyhow::Result<[backup::TargetKey; 3]> {
    let [master, jwt, cluster] = keys(config);
    let target = |key: Key<'_>| -> anyhow::Result<backup::TargetKey> {
        let found = key.read()?.map(|bytes| hex_of(&bytes));
        Ok(backup::TargetKey { is_given: key.is_given(), file: key.own, found })
    };
    Ok([target(master)?, target(jwt)?, target(cluster)?])
}

fn hex_of(key: &SecretBox<Vec<u8>>) -> secrecy::SecretString {
    use secrecy::ExposeSecret;
    hex::encode(key.expose_secret()).into()
}

/// The same, if it is given or there.
///
/// # Errors
/// As [`load`].
pub(crate) fn existing_cluster_key(config: &Config) -> anyhow::Result<Option<SecretBox<Vec<u8>>>> {
    let [_, _, cluster] = keys(config);
    cluster.read()
}

/// Tells nodes with the same keys and authority from others; says nothing about the keys.
pub(crate) fn fingerprint(secrets: &Secrets, authority: &str) -> Vec<u8> {
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};
    let digest = |key: &SecretBox<Vec<u8>>| Sha256::digest(key.expose_secret());
    let both = Sha256::new().chain_update("nexmdm-keys-v1").chain_update(digest(&secrets.master_key));
    both.chain_update(digest(&secrets.jwt_key)).chain_update(authority).finalize().to_vec()
}

/// The same of the master key alone.
pub(crate) fn master_digest(secrets: &Secrets) -> Vec<u8> {
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};
    let key = Sha256::digest(secrets.master_key.expose_secret());
    Sha256::new().chain_update("nexmdm-master-key-v1").chain_update(key).finalize().to_vec()
}

/// Checks the keys that are given or there, and makes none.
///
/// # Errors
/// As [`load`].
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    let [master, jwt, cluster] = keys(config);
    // A node with a certificate by file does not look at a cluster key that was made here.
    let is_looked_at = cluster.is_given() || config.cluster.ca_file.as_os_str().is_empty();
    [master, jwt].into_iter().chain(is_looked_at.then_some(cluster)).try_for_each(|key| key.read().map(drop))
}

/// A key: how it is given, and where it is kept otherwise.
struct Key<'a> {
    name: &'static str,
    given: &'a Hidden,
    file: &'a Path,
    own: PathBuf,
}

/// Master key, key of access tokens and cluster key.
fn keys(config: &Config) -> [Key<'_>; 3] {
    let (folder, keys) = (folder(config), &config.secrets);
    [
        ("secrets.master_key", &keys.master_key, &keys.master_key_file, "master.key"),
        ("secrets.jwt_key", &keys.jwt_key, &keys.jwt_key_file, "jwt.key"),
        ("secrets.cluster_key", &keys.cluster_key, &keys.cluster_key_file, "cluster.key"),
    ]
    .map(|(name, given, file, own)| Key { name, given, file, own: folder.join(own) })
}

impl Key<'_> {
    fn is_given(&self) -> bool {
        self.given.get().is_some() || !self.file.as_os_str().is_empty()
    }

    /// The key that is given or kept, if there is one.
    fn read(&self) -> anyhow::Result<Option<SecretBox<Vec<u8>>>> {
        let name = self.name;
        let text = match self.given.get() {
            Some(_) if !self.file.as_os_str().is_empty() => bail!("{name} and {name}_file are both set: give one"),
            Some(text) => Some(text.to_owned()),
            None if !self.file.as_os_str().is_empty() => Some(read(self.file).with_context(|| format!("{name}_file"))?),
            None => read_own(&self.own).with_context(|| name.to_owned())?,
        };
        text.map(|text| self.parsed(&text)).transpose()
    }

    fn read_or_make(&self) -> anyhow::Result<SecretBox<Vec<u8>>> {
        match self.read()? {
            Some(key) => Ok(key),
            None => self.parsed(&own_key(&self.own).with_context(|| self.name.to_owned())?),
        }
    }

    fn parsed(&self, hex_text: &str) -> anyhow::Result<SecretBox<Vec<u8>>> {
        let name = self.name;
        // The text of a wrong key stays out of the message.
        let bytes = hex::decode(hex_text.trim()).map_err(|_| anyhow::anyhow!("{name}: not hex"))?;
        if bytes.len() < KEY_MIN_BYTES {
            bail!("{name}: {} bytes are fewer than the {KEY_MIN_BYTES} needed", bytes.len());
        }
        if !looks_random(&bytes) {
            bail!("{name}: the bytes repeat or count up, so that others can guess them: take those of `openssl rand -hex {KEY_MIN_BYTES}`");
        }
        Ok(SecretBox::new(Box::new(bytes)))
    }
}

/// Whether bytes may have come from a random generator: neither they nor the steps between them are few. Of 32 random bytes
/// some 30 differ; fewer than 16 do not happen.
fn looks_random(bytes: &[u8]) -> bool {
    const DISTINCT_MIN: usize = 16;
    let distinct = |values: &mut dyn Iterator<Item = u8>| values.collect::<std::collections::HashSet<_>>().len();
    let mut steps = bytes.windows(2).filter_map(|pair| Some(pair.last()?.wrapping_sub(*pair.first()?)));
    distinct(&mut bytes.iter().copied()) >= DISTINCT_MIN && distinct(&mut steps) >= DISTINCT_MIN
}

/// The key that was made here, if there is one.
fn read_own(file: &Path) -> anyhow::Result<Option<String>> {
    match read(file) {
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::NotFound) => Ok(None),
        result => result.map(Some),
    }
}

fn own_key(file: &Path) -> anyhow::Result<String> {
    if let Some(text) = read_own(file)? {
        return Ok(text);
    }
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut bytes = [0; KEY_MIN_BYTES];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let text = hex::encode(bytes);
    // Written beside and linked into place: whoever comes first wins, and nobody reads half a key.
    let fresh = file.with_extension(format!("new.{}", std::process::id()));
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    let placed = fs::hard_link(&fresh, file);
    fs::remove_file(&fresh)?;
    match placed {
        Ok(()) => Ok(text),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_that_can_be_guessed_are_none() {
        let counting: Vec<u8> = (0..64).collect();
        for bad in [&[0; 32][..], &[0xa5; 64], &counting, &[1, 2, 3, 4, 5, 6, 7, 8].repeat(4), b"passwordpasswordpasswordpassword"] {
            assert!(!looks_random(bad), "{bad:?}");
        }
        for seed in 0..1000_u64 {
            use rand::{Rng, SeedableRng};
            let mut bytes = [0; 32];
            rand::rngs::SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes);
            assert!(looks_random(&bytes), "{seed}");
        }
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let folder = std::env::temp_dir().join(format!("nexmdm-secrets-{}", std::process::id()));
        let file = folder.join("secrets/master.key");
        let first = own_key(&file).unwrap();
        assert_eq!(own_key(&file).unwrap(), first);
        assert_eq!(hex::decode(&first).unwrap().len(), 32);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.join("secrets")).unwrap().count(), 1, "nothing is left beside it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(own_key(&file).unwrap_err().to_string().contains("chmod 600"));
        fs::remove_dir_all(folder).unwrap();
    }
}
