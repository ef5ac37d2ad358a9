//! The canonical form of names and of what is searched: `toNFKC_Casefold` of Unicode (UAX #15, UAX #44), trimmed.

use std::borrow::Cow;
use std::fmt::Write;

use icu_casemap::CaseMapper;
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// Longest canonical form, in bytes: what an index takes, with room for the other columns.
const CANONICAL_MAX_BYTES: usize = 2000;
/// Rounds after which the form is stable; the second confirms the first.
const ROUNDS_MAX: usize = 3;

/// Whether a character shows nothing by itself: zero-width, joiners, marks of direction, variation selectors.
pub(super) fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Text with case, compatibility variants, composition and what is not displayed left out.
fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(text.to_ascii_lowercase()),
            false => Cow::Borrowed(text),
        };
    }
    let mapper = CaseMapper::new();
    let round = |text: &str| -> String {
        // Decomposed first, as U+0345 changes its order when it is folded; folded again, as decomposing makes capitals.
        let once = mapper.fold_string(&text.nfd().collect::<String>()).nfkd().collect::<String>();
        mapper.fold_string(&once).nfkd().filter(|c| !is_ignorable(*c)).nfkc().collect()
    };
    let mut folded = round(text);
    for _ in 1..ROUNDS_MAX {
        let next = round(&folded);
        if next == folded {
            break;
        }
        folded = next;
    }
    Cow::Owned(folded)
}

/// Canonical form of a name: names that differ in case, composition, compatibility variants or invisible characters share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalName(String);

impl CanonicalName {
    /// Canonical form of a name. Every text has one, so names of earlier builds do, whatever characters are in them.
    pub fn of(name: &str) -> Self {
        let canonical = folded(name.trim());
        let canonical = canonical.trim();
        if canonical.is_empty() {
            // Made of nothing visible: told apart by its characters.
            return Self(bounded(name.trim().escape_unicode().to_string()));
        }
        Self(bounded(canonical.to_owned()))
    }

    /// The form as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form as text.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// A form that an index takes: the rest of a long one is replaced by its digest.
fn bounded(canonical: String) -> String {
    if canonical.len() <= CANONICAL_MAX_BYTES {
        return canonical;
    }
    let digest = Sha256::digest(&canonical);
    let mut end = CANONICAL_MAX_BYTES - 2 * digest.len();
    while !canonical.is_char_boundary(end) {
        end -= 1;
    }
    let mut bounded = canonical[..end].to_owned();
    for byte in digest {
        // Writing to a string does not fail.
        let _ = write!(bounded, "{byte:02x}");
    }
    bounded
}

/// Whether two names are the same name.
pub fn same(a: &str, b: &str) -> bool {
    a == b
        || if a.is_ascii() && b.is_ascii() { a.trim().eq_ignore_ascii_case(b.trim()) } else { CanonicalName::of(a) == CanonicalName::of(b) }
}

/// Whether `text` occurs in `hay` as displayed, in whichever case and composition.
pub fn contains(hay: &str, text: &str) -> bool {
    // The usual case needs no copies.
    if hay.is_ascii() && text.is_ascii() {
        let (hay, text) = (hay.as_bytes(), text.as_bytes());
        return text.is_empty() || hay.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text));
    }
    folded(hay).contains(folded(text).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_composition_and_variants_make_no_difference() {
        for (a, b) in [
            ("Élodie", "élodie"),
            ("Ömer", "O\u{308}MER"),
            ("Café", "cafe\u{301}"),
            ("straße", "STRASSE"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ａｄｍｉｎ", "admin"),
            ("ad\u{200b}min", "ADMIN"),
            ("ﬁle", "FILE"),
            ("\u{212a}iosk", "kiosk"),
            ("a\u{a0}b", "A b"),
            (" x ", "X"),
            ("Ꭰ", "ꭰ"),
        ] {
            assert!(same(a, b), "{a:?} {b:?}");
            assert_eq!(CanonicalName::of(a), CanonicalName::of(b), "{a:?} {b:?}");
        }
        // A capital I with a dot is not an i: it decomposes into one and the dot.
        for (a, b) in [("adm\u{130}n", "admin"), ("e", "é"), ("Kiosk-1", "Kiosk-l"), ("\u{200b}", "\u{200c}"), ("a", "а")] {
            assert!(!same(a, b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn every_character_has_a_stable_form() {
        // Ideographs and Hangul syllables, most of all characters, are as plain as their neighbours.
        let plain = |c: &char| matches!(c, '\u{3400}'..='\u{9fff}' | '\u{ac10}'..='\u{d7a0}' | '\u{20000}'..='\u{2f000}' | '\u{30000}'..);
        for c in (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| !plain(c)) {
            let text = format!("a{c}\u{345}\u{301}B");
            let form = folded(&text).into_owned();
            assert_eq!(folded(&form), form, "U+{:04X}", c as u32);
            let single = c.to_string();
            let composed: String = single.nfc().collect();
            let decomposed: String = single.nfd().collect();
            assert_eq!(folded(&composed), folded(&decomposed), "U+{:04X}", c as u32);
        }
    }

    #[test]
    fn a_form_is_never_empty_nor_too_long_for_an_index() {
        assert!(!CanonicalName::of("\u{200b}").as_str().is_empty());
        let (long, longer) = ("\u{fdfa}".repeat(200), "\u{fdfa}".repeat(201));
        assert!(CanonicalName::of(&long).as_str().len() <= CANONICAL_MAX_BYTES);
        assert_ne!(CanonicalName::of(&long), CanonicalName::of(&longer));
        assert_eq!(CanonicalName::of(&long), CanonicalName::of(&format!(" {long}")));
    }

    #[test]
    fn what_is_displayed_is_found() {
        for (hay, text) in [
            ("ÄB-77", "ÄB-77"),
            ("ÄB-77", "äb-77"),
            ("ÄB-77", "a\u{308}b"),
            ("A\u{308}B-77", "Äb"),
            ("Kiosk", "kIOS"),
            ("\u{212a}iosk", "k"),
            ("ＡＢ", "ab"),
            ("Straße 5", "STRASSE"),
            ("kiosk", "Ｋ"),
            ("x", ""),
            ("Cafe\u{301}", "café"),
        ] {
            assert!(contains(hay, text), "{hay:?} {text:?}");
        }
        assert!(!contains("Kiosk-17", "kiosk-2") && !contains("café", "cafe") && !contains("", "a"));
    }

    proptest! {
        #[test]
        fn the_form_is_stable_and_knows_no_case_or_composition(name in "\\PC{0,24}") {
            let form = CanonicalName::of(&name);
            prop_assert_eq!(CanonicalName::of(form.as_str()), form.clone());
            prop_assert_eq!(&CanonicalName::of(&name.nfc().collect::<String>()), &form);
            prop_assert_eq!(&CanonicalName::of(&name.nfd().collect::<String>()), &form);
            // Decomposed before (The Unicode Standard, D145): an iota subscript is a mark, and in its place among others; folded it is a letter.
            let decomposed = name.nfd().collect::<String>();
            prop_assert_eq!(&CanonicalName::of(&CaseMapper::new().fold_string(&decomposed)), &form);
            prop_assert!(same(&name, form.as_str()));
        }

        #[test]
        fn every_part_of_a_text_is_found_in_it(before in "\\PC{0,6}", text in "[a-zA-Zäöüß0-9 -]{0,6}", after in "[a-zA-Z0-9 -]{0,6}") {
            let hay = [before.as_str(), &text, &after].concat();
            prop_assert!(contains(&hay, &text.to_uppercase()));
            prop_assert!(contains(&hay, &text.nfd().collect::<String>()));
        }
    }
}
