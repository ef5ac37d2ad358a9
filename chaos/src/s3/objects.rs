//! Objects in memory, each with its versions, and unfinished uploads.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

/// Largest number of bytes of all objects together, versions included.
pub(super) const BYTES_MAX: usize = 2 << 30;
/// Versions of one object that are kept.
const VERSIONS_MAX: usize = 4;

/// A version of an object.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) bytes: Bytes,
    pub(super) e_tag: String,
    pub(super) modified: DateTime<Utc>,
}

/// Objects by `bucket/key`.
#[derive(Debug, Default)]
pub(super) struct Objects {
    versions: BTreeMap<String, Vec<Version>>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    uploads_begun: u64,
}

/// Entity tag of bytes.
pub(super) fn e_tag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(bytes)[..16]))
}

impl Objects {
    /// Bytes of everything.
    pub(super) fn bytes(&self) -> usize {
        let versions = self.versions.values().flatten().map(|version| version.bytes.len());
        versions.chain(self.uploads.values().flat_map(BTreeMap::values).map(Bytes::len)).sum()
    }

    /// The newest version of an object, or the one before it where there is one.
    pub(super) fn get(&self, name: &str, older: bool) -> Option<&Version> {
        let versions = self.versions.get(name)?;
        versions.get(versions.len().saturating_sub(if older { 2 } else { 1 }))
    }

    /// Adds a version; its entity tag.
    pub(super) fn put(&mut self, name: &str, bytes: Bytes, now: DateTime<Utc>) -> String {
        let version = Version { e_tag: e_tag(&bytes), bytes, modified: now };
        let e_tag = version.e_tag.clone();
        let versions = self.versions.entry(name.to_owned()).or_default();
        versions.push(version);
        if versions.len() > VERSIONS_MAX {
            versions.remove(0);
        }
        e_tag
    }

    /// Removes an object with its versions.
    pub(super) fn delete(&mut self, name: &str) {
        self.versions.remove(name);
    }

    /// Names that begin with `prefix`, in order, beyond `after`.
    pub(super) fn names<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = (&'a str, &'a Version)> {
        let from = self.versions.range(prefix.to_owned()..).map(|(name, versions)| (name.as_str(), versions));
        let named = from.take_while(move |(name, _)| name.starts_with(prefix)).filter(move |(name, _)| *name > after);
        named.filter_map(|(name, versions)| Some((name, versions.last()?)))
    }

    /// Begins an upload; its id.
    pub(super) fn begin_upload(&mut self) -> String {
        self.uploads_begun += 1;
        let id = format!("upload-{}", self.uploads_begun);
        self.uploads.insert(id.clone(), BTreeMap::new());
        id
    }

    /// Adds a part; its entity tag, or nothing when there is no such upload.
    pub(super) fn put_part(&mut self, upload: &str, number: u32, bytes: Bytes) -> Option<String> {
        let tag = e_tag(&bytes);
        self.uploads.get_mut(upload)?.insert(number, bytes);
        Some(tag)
    }

    /// Makes an object of an upload's parts; its entity tag, or nothing when there is no such upload or part.
    pub(super) fn complete(&mut self, upload: &str, numbers: &[u32], name: &str, now: DateTime<Utc>) -> Option<String> {
        let parts = self.uploads.get(upload)?;
        let chosen: Option<Vec<&Bytes>> = numbers.iter().map(|number| parts.get(number)).collect();
        let bytes: Vec<u8> = chosen?.into_iter().flat_map(|part| part.iter().copied()).collect();
        self.uploads.remove(upload);
        Some(self.put(name, bytes.into(), now))
    }

    /// Ends an upload without an object.
    pub(super) fn abort(&mut self, upload: &str) {
        self.uploads.remove(upload);
    }

    /// Number of unfinished uploads.
    pub(super) fn unfinished(&self) -> usize {
        self.uploads.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_versions_and_an_upload_has_parts() {
        let (mut objects, now) = (Objects::default(), DateTime::UNIX_EPOCH);
        assert!(objects.get("b/a", false).is_none());
        let first = objects.put("b/a", Bytes::from_static(b"one"), now);
        assert_eq!(objects.get("b/a", true).map(|version| &version.e_tag), Some(&first), "there is no older one");
        objects.put("b/a", Bytes::from_static(b"two"), now);
        let read = |older| objects.get("b/a", older).map(|version| version.bytes.clone());
        assert_eq!((read(false), read(true)), (Some(Bytes::from_static(b"two")), Some(Bytes::from_static(b"one"))));

        let upload = objects.begin_upload();
        objects.put_part(&upload, 2, Bytes::from_static(b"lo")).unwrap();
        objects.put_part(&upload, 1, Bytes::from_static(b"hel")).unwrap();
        assert_eq!(objects.complete(&upload, &[1, 3], "b/c", now), None, "part 3 is not there");
        assert_eq!(objects.complete(&upload, &[1, 2], "b/c", now), Some(e_tag(b"hello")));
        assert_eq!(objects.put_part(&upload, 1, Bytes::new()), None, "the upload is over");
        assert_eq!(objects.names("b/", "b/a").map(|(name, _)| name).collect::<Vec<_>>(), ["b/c"]);
        assert_eq!((objects.bytes(), objects.unfinished()), (11, 0));
    }
}
