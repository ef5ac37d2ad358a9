//! Object stores, as settings name them: a folder by its path, or `s3://bucket/prefix` and `file:///folder` by their URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Invalid;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// What a setting says of a store.
#[derive(Debug, Clone, Copy)]
pub struct Location<'a> {
    /// Name of the setting, for refusals.
    pub setting: &'static str,
    /// Folder or URL.
    pub place: &'a str,
    /// Options of the store, under the names of its environment variables in small letters.
    pub options: &'a [(String, SecretString)],
    /// Whether a file in a folder is on the disk, not only in the system's memory, when it counts as stored.
    pub synced: bool,
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Objects {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// A folder of this machine, which files are read from as they are.
    pub folder: Option<PathBuf>,
}

impl Location<'_> {
    /// Opens the store; makes the folder.
    ///
    /// # Errors
    /// Names the setting.
    pub fn open(&self) -> Result<Objects, Invalid> {
        if !self.is_folder() {
            return self.open_url();
        }
        let folder = PathBuf::from(self.place);
        std::fs::create_dir_all(&folder).map_err(|cause| self.invalid(format!("{}: {cause}", self.place)))?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|cause| self.invalid(cause.to_string()))?;
        Ok(Objects { store: Arc::new(store.with_fsync(self.synced)), folder: Some(folder) })
    }

    /// Checks what [`Self::open`] would open, and makes no folder.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self) -> Result<(), Invalid> {
        if !self.is_folder() {
            return self.open_url().map(drop);
        }
        let folder = Path::new(self.place);
        if folder.exists() && !folder.is_dir() {
            return Err(self.invalid(format!("{}: not a folder", self.place)));
        }
        Ok(())
    }

    /// Whether the place is a folder by its path, not a URL.
    pub fn is_folder(&self) -> bool {
        !self.place.contains("://")
    }

    fn open_url(&self) -> Result<Objects, Invalid> {
        if !["s3://", "file:///"].iter().any(|scheme| self.place.starts_with(scheme)) {
            return Err(self.invalid("neither a folder nor s3://bucket/prefix or file:///folder".to_owned()));
        }
        let url = Url::parse(self.place).map_err(|cause| self.invalid(cause.to_string()))?;
        let store: Arc<dyn ObjectStore> = match ObjectStoreScheme::parse(&url) {
            Ok((ObjectStoreScheme::Local, prefix)) => Arc::new(PrefixStore::new(LocalFileSystem::new().with_fsync(self.synced), prefix)),
            _ => {
                let options = self.options.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
                let (store, prefix) = object_store::parse_url_opts(&url, options).map_err(|cause| self.invalid(cause.to_string()))?;
                Arc::new(PrefixStore::new(store, prefix))
            }
        };
        Ok(Objects { store, folder: None })
    }

    fn invalid(&self, problem: String) -> Invalid {
        Invalid::new(self.setting, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: &str) -> Location<'_> {
        Location { setting: "archive.url", place, options: &[], synced: false }
    }

    #[test]
    fn folders_and_urls_are_opened_and_everything_else_is_refused_by_the_name_of_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("made/on/opening");
        let place = inside.to_str().unwrap();
        at(place).check().unwrap();
        assert!(!inside.exists(), "a check makes nothing");
        assert_eq!(at(place).open().unwrap().folder.as_deref(), Some(inside.as_path()));
        assert!(at(&format!("file://{place}")).open().unwrap().folder.is_none());
        assert!(at("s3://bucket/prefix").check().is_ok());
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for bad in ["gopher://bucket", "file://relative", file.to_str().unwrap()] {
            assert_eq!(at(bad).check().unwrap_err().field, "archive.url", "{bad}");
            assert_eq!(at(bad).open().unwrap_err().field, "archive.url", "{bad}");
        }
    }
}
