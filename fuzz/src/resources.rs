//! Resource tables: every reference that bytes of the table name, followed.

pub(super) fn run(data: &[u8]) {
    apk::reader::read_tables(&[], data);
}
