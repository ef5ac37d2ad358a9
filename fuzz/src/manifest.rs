//! Binary manifests, without resources.

pub(super) fn run(data: &[u8]) {
    apk::reader::read_tables(data, &[]);
}
