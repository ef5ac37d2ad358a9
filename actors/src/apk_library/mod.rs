//! APKs: read and verified, kept in an object store, handed to devices.

pub mod reader;
