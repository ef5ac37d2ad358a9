//! Names: how they are displayed, and when two of them are the same.
//!
//! A name has a *displayed form*, which is stored and shown ([`displayed`], [`account`]), and a *canonical form*, by which names
//! are unique, found and compared ([`CanonicalName`]). Nothing else folds case: not SQL, not a page. A *skeleton* tells names that
//! only look alike ([`Skeleton`]); it is for hints, never for identity.

mod assign;
mod check;
mod fold;
mod skeleton;

pub use assign::{Assigned, Unassigned, assign};
pub use check::{account, displayed};
pub(crate) use check::{hidden, is_line_break};
pub use fold::{CanonicalName, contains, same};
pub use skeleton::Skeleton;
