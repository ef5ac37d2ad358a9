//! Canonical forms for names that were stored without one, and what to do about those that collide.

use std::collections::HashMap;
use std::hash::Hash;

use super::fold::CanonicalName;

/// Between the canonical form that another name has already and what tells this one apart. No name contains it.
const SET_APART: char = '\u{1}';

/// Stored name without a canonical form of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unassigned<S, I> {
    /// Within which names are unique.
    pub scope: S,
    /// Its row.
    pub id: I,
    /// Name.
    pub name: String,
}

/// Canonical form of a stored name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned<I> {
    /// Its row.
    pub id: I,
    /// Unique form.
    pub canonical: String,
    /// The name, and the one that has its canonical form.
    pub collision: Option<(String, String)>,
}

/// Assigns a canonical form to each name, in their order: the first of several gets it, the others one that is set apart by the
/// row, so that they stay what they are and are found as they are written. `taken` says which name has a form already.
pub fn assign<S: Eq + Hash + Clone, I: Clone + ToString>(
    names: Vec<Unassigned<S, I>>,
    mut taken: HashMap<(S, CanonicalName), String>,
) -> Vec<Assigned<I>> {
    let assigned = names.into_iter().map(|Unassigned { scope, id, name }| {
        let form = CanonicalName::of(&name);
        match taken.get(&(scope.clone(), form.clone())) {
            Some(first) => {
                let canonical = format!("{}{SET_APART}{}", form.as_str(), id.to_string());
                Assigned { id, canonical, collision: Some((name, first.clone())) }
            }
            None => {
                taken.insert((scope, form.clone()), name);
                Assigned { id, canonical: form.into_string(), collision: None }
            }
        }
    });
    assigned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keeps_the_form_and_nobody_loses_a_name() {
        let name = |scope: u8, id: u32, name: &str| Unassigned { scope, id, name: name.to_owned() };
        let taken = HashMap::from([((1, CanonicalName::of("Shop")), "Shop".to_owned())]);
        let assigned = assign(vec![name(1, 1, "Ömer"), name(1, 2, "ömer"), name(2, 3, "ÖMER"), name(1, 4, "shop")], taken);
        let forms: Vec<_> = assigned.iter().map(|one| one.canonical.as_str()).collect();
        assert_eq!(forms, ["ömer", "ömer\u{1}2", "ömer", "shop\u{1}4"]);
        assert_eq!(assigned[1].collision, Some(("ömer".to_owned(), "Ömer".to_owned())));
        assert_eq!(assigned[3].collision, Some(("shop".to_owned(), "Shop".to_owned())));
        assert!(assigned[0].collision.is_none() && assigned[2].collision.is_none());
    }
}
