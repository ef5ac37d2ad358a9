//! Which names are taken: trimmed, composed (NFC), on one line, and without what nobody sees.

use icu_properties::props::{
    BidiControl, EmojiModifier, ExtendedPictographic, GeneralCategory, GeneralCategoryGroup, NoncharacterCodePoint, Script,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_security::MixedScript;

use super::fold::is_ignorable;
use crate::Invalid;

/// Most marks on one letter: more are drawn over the lines around.
const MARKS_MAX: usize = 4;
/// Joins or separates the letters and pictures beside it.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
/// Show a picture as text or in colour.
const PICTURE_SELECTORS: [char; 2] = ['\u{fe0e}', '\u{fe0f}'];
/// Combining class of a virama, behind which a joiner changes what is shown.
const VIRAMA: u8 = 9;
/// Characters that show nothing, or only mark what is beside them, and are neither white space nor ignorable to Unicode.
const BLANKS: [char; 5] = ['\u{2800}', '\u{fff9}', '\u{fffa}', '\u{fffb}', '\u{fffc}'];

/// Name as it is stored and shown.
///
/// # Errors
/// Names the field and the problem: empty, too long, or the position of a character that shows nothing, changes the direction of
/// what is around it, or does not fit on a line.
pub fn displayed(field: &str, value: &str, max_chars: usize) -> Result<String, Invalid> {
    checked(field, value, max_chars, false)
}

/// Name of an account as it is stored and shown: in addition, of one script and one kind of digits, without any invisible character.
///
/// # Errors
/// As [`displayed`]; or names the rule of accounts that it breaks.
pub fn account(field: &str, value: &str, max_chars: usize) -> Result<String, Invalid> {
    let name = checked(field, value, max_chars, true)?;
    if !name.is_single_script() {
        return Err(Invalid::new(field, "letters of several scripts; use those of one, as others look alike"));
    }
    let mut zeros = name.chars().filter_map(zero_of);
    if let Some(first) = zeros.next()
        && zeros.any(|zero| zero != first)
    {
        return Err(Invalid::new(field, "digits of several scripts; use those of one, as others look alike"));
    }
    let category = CodePointMapData::<GeneralCategory>::new();
    match name.chars().position(|c| matches!(category.get(c), GeneralCategory::Unassigned | GeneralCategory::PrivateUse)) {
        Some(at) => Err(Invalid::new(field, format!("unassigned character at position {at}"))),
        None => Ok(name),
    }
}

fn checked(field: &str, value: &str, max_chars: usize, is_account: bool) -> Result<String, Invalid> {
    let trimmed = value.trim();
    if trimmed.is_empty() {
        return Err(Invalid::new(field, format!("empty; must have 1..{max_chars} characters")));
    }
    // A character takes at most four bytes, and composing makes fewer of them: long input is refused without looking at it.
    let too_long = || Invalid::new(field, format!("{} characters are more than the {max_chars} allowed", trimmed.chars().count()));
    if trimmed.len() > max_chars * 12 {
        return Err(too_long());
    }
    // Blanks beside each other are shown as one.
    let mut name = String::with_capacity(trimmed.len());
    for c in trimmed.nfc() {
        if !(c == ' ' && name.ends_with(' ')) {
            name.push(c);
        }
    }
    if name.chars().count() > max_chars {
        return Err(too_long());
    }
    let chars: Vec<char> = name.chars().collect();
    let mut marks = 0;
    for (at, c) in chars.iter().copied().enumerate() {
        let previous = at.checked_sub(1).and_then(|at| chars.get(at)).copied();
        let problem = |what: &str| Err(Invalid::new(field, format!("{what} at position {at} (U+{:04X})", u32::from(c))));
        if c == '\t' || is_line_break(c) {
            return Err(Invalid::new(field, "line breaks and tabs are not allowed"));
        }
        if let Some(what) = hidden(previous, c, chars.get(at + 1).copied()) {
            return problem(what);
        }
        if is_account && is_ignorable(c) {
            return problem(INVISIBLE);
        }
        let is_mark = !is_ignorable(c) && is_mark(c);
        marks = if is_mark { marks + 1 } else { 0 };
        if is_mark && previous.is_none() {
            return problem("mark without a letter");
        }
        if marks > MARKS_MAX {
            return problem("more than 4 marks on a letter");
        }
    }
    Ok(name)
}

const INVISIBLE: &str = "invisible character";

/// Whether a line ends with this character.
pub(crate) fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What a character is that no text for people has: one that shows nothing, that changes the direction of what is around it, or that
/// moves the cursor of a terminal. `None`: it may stand between these two.
pub(crate) fn hidden(previous: Option<char>, c: char, next: Option<char>) -> Option<&'static str> {
    if c.is_ascii() {
        return c.is_control().then_some("control character");
    }
    if c.is_control() {
        return Some("control character");
    }
    if is_line_break(c) {
        return Some("line separator");
    }
    if CodePointSetData::new::<BidiControl>().contains(c) {
        return Some("character that changes the direction of text");
    }
    if is_ignorable(c) && !is_needed(c, previous, next) || BLANKS.contains(&c) {
        return Some(INVISIBLE);
    }
    CodePointSetData::new::<NoncharacterCodePoint>().contains(c).then_some("character that is none")
}

fn is_mark(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

/// Whether an invisible character changes what is shown of its neighbours, as scripts and pictures need it.
fn is_needed(c: char, previous: Option<char>, next: Option<char>) -> bool {
    let is_picture = |c: char| CodePointSetData::new::<ExtendedPictographic>().contains(c);
    let is_key = |c: char| c.is_ascii_digit() || c == '#' || c == '*';
    let is_arabic = |c: char| CodePointMapData::<Script>::new().get(c) == Script::Arabic;
    let Some(previous) = previous else { return false };
    if PICTURE_SELECTORS.contains(&c) {
        return is_picture(previous) || (is_key(previous) && next == Some('\u{20e3}'));
    }
    let Some(next) = next else { return false };
    let picture_before =
        is_picture(previous) || PICTURE_SELECTORS.contains(&previous) || CodePointSetData::new::<EmojiModifier>().contains(previous);
    JOINERS.contains(&c)
        && ((c == '\u{200d}' && picture_before && is_picture(next))
            || (is_arabic(previous) && is_arabic(next))
            || (canonical_combining_class(previous) == VIRAMA && !is_ignorable(next)))
}

/// The zero of the digits that a digit belongs to: those of a script lie together.
fn zero_of(c: char) -> Option<u32> {
    let is_digit = |c: u32| CodePointMapData::<GeneralCategory>::new().get32(c) == GeneralCategory::DecimalNumber;
    let mut zero = Some(u32::from(c)).filter(|c| is_digit(*c))?;
    while is_digit(zero - 1) {
        zero -= 1;
    }
    Some(zero)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_composed_and_trimmed() {
        assert_eq!(displayed("alias", "\u{a0} Cafe\u{301} ", 10).unwrap(), "Café");
        assert_eq!(account("username", " Élodie", 10).unwrap(), "Élodie");
        assert_eq!(account("username", "john  \u{20} smith", 12).unwrap(), "john smith", "blanks beside each other are shown as one");
    }

    #[test]
    fn what_nobody_sees_is_refused_and_named() {
        let problem = |name: &str| displayed("alias", name, 20).unwrap_err().problem;
        for name in [
            "\u{200b}",
            "a\u{200b}b",
            "kiosk\u{feff}",
            "\u{3164}",
            "a\u{ad}b",
            "a\u{200d}b",
            "a\u{fe0f}",
            "\u{2800}",
            "a\u{e0041}",
            "admin\u{fff9}",
            "\u{fffc}b",
        ] {
            assert!(problem(name).starts_with("invisible character at position"), "{name:?}: {}", problem(name));
        }
        for name in ["a\u{202e}b", "\u{200f}a", "a\u{2066}b", "a\u{61c}"] {
            assert!(problem(name).contains("direction of text"), "{name:?}: {}", problem(name));
        }
        assert_eq!(problem("admin\u{202e}"), "character that changes the direction of text at position 5 (U+202E)");
        for name in ["a\nb", "a\tb", "a\u{2028}b", "a\u{85}b"] {
            assert_eq!(problem(name), "line breaks and tabs are not allowed", "{name:?}");
        }
        assert!(problem("a\0").starts_with("control character at position 1"));
        assert!(problem("\u{301}a").starts_with("mark without a letter"));
        assert!(problem(&format!("a{}", "\u{301}".repeat(6))).contains("marks on a letter"));
        assert!(problem("a\u{ffff}").contains("position 1"));
        assert!(problem("  \u{a0}").starts_with("empty"));
        assert!(problem(&"x".repeat(21)).contains("more than the 20") && problem(&"x".repeat(10_000_000)).len() < 100);
    }

    #[test]
    fn what_scripts_and_pictures_need_stays() {
        for name in
            ["می\u{200c}خواهم", "क\u{94d}\u{200d}ष", "Shop ☎\u{fe0f}", "👩\u{200d}💻 desk", "3\u{fe0f}\u{20e3}", "日本", "Kiosk №5", "ναός"]
        {
            assert!(displayed("alias", name, 20).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn an_account_is_written_in_one_script() {
        for name in ["admin", "Änne", "ann@example.com", "o'neil-2", "дмитрий", "山田はな子", "Ømer 5", "иван.2", "محمد"]
        {
            assert!(account("username", name, 20).is_ok(), "{name:?}");
        }
        for name in ["\u{430}dmin", "аdmin", "pαul", "ann\u{661}2", "ann\u{e000}", "admin\u{200b}", "\u{200d}a", "می\u{200c}خواهم"]
        {
            let refused = account("username", name, 20).unwrap_err();
            assert_eq!(refused.field, "username", "{name:?}");
        }
        assert!(account("username", "\u{430}dmin", 20).unwrap_err().problem.contains("several scripts"));
    }

    proptest! {
        #[test]
        fn a_displayed_form_is_displayed_as_it_is(name in "\\PC{1,20}") {
            if let Ok(shown) = displayed("alias", &name, 64) {
                prop_assert_eq!(displayed("alias", &shown, 64), Ok(shown.clone()));
                prop_assert!(super::super::same(&shown, &name));
            }
        }
    }
}
