//! Messages of peers, in every protocol that is spoken.

pub(super) fn run(data: &[u8]) {
    let unstable = ::link::fuzzing::unstable_kinds(data);
    assert!(unstable.is_empty(), "read again, they are something else: {unstable:?}");
}
