//! Text that people and devices give: length limits and forbidden characters.

use crate::{Invalid, name};

/// Longest alias, in characters.
pub const ALIAS_MAX_CHARS: usize = 200;
/// Longest tag or group name, in characters.
pub const LABEL_MAX_CHARS: usize = 64;
/// Longest push token, in characters.
pub const FCM_TOKEN_MAX_CHARS: usize = 4096;
/// Most tags, and most groups, that one device carries.
pub const LABELS_MAX: usize = 32;
/// Between the tags or groups of a list that is written as text; in none of them.
pub const LABEL_SEPARATORS: [char; 3] = [',', ';', '|'];

/// Checks text that people read against a length limit in characters and for what they would not see.
///
/// # Errors
/// Names the field, its length and the limit, or the position of a character that shows nothing, changes the direction of what is
/// around it, or moves a cursor. The value itself is never repeated.
pub fn bounded(field: &str, value: &str, max_chars: usize) -> Result<(), Invalid> {
    within(field, value, max_chars)?;
    match first_hidden(value, is_layout) {
        Some((at, c, what)) => Err(hidden_at(field, at, c, what)),
        None => Ok(()),
    }
}

/// As [`bounded`], for text of one line.
///
/// # Errors
/// As [`bounded`]; line breaks and tabs are refused, too.
pub fn line(field: &str, value: &str, max_chars: usize) -> Result<(), Invalid> {
    within(field, value, max_chars)?;
    match first_hidden(value, |_| false) {
        Some((at, c, what)) => Err(hidden_at(field, at, c, what)),
        None => Ok(()),
    }
}

/// Checks text that is searched for, compared or kept secret, and shown to nobody: its length, and control characters.
///
/// # Errors
/// As [`bounded`].
pub fn opaque(field: &str, value: &str, max_chars: usize) -> Result<(), Invalid> {
    within(field, value, max_chars)?;
    match value.chars().enumerate().find(|(_, c)| c.is_control() && !is_layout(*c)) {
        Some((at, c)) => Err(hidden_at(field, at, c, "control character")),
        None => Ok(()),
    }
}

fn within(field: &str, value: &str, max_chars: usize) -> Result<(), Invalid> {
    // A character takes at most four bytes, so long input is refused without counting it.
    if value.len() > max_chars && (value.len() > max_chars * 4 || value.chars().count() > max_chars) {
        return Err(Invalid::new(field, format!("{} characters are more than the {max_chars} allowed", value.chars().count())));
    }
    Ok(())
}

fn hidden_at(field: &str, at: usize, c: char, what: &str) -> Invalid {
    Invalid::new(field, format!("{what} at position {at} (U+{:04X})", u32::from(c)))
}

/// What text of several lines is laid out with.
fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

/// The first character that nobody would see: its position, and what it is.
fn first_hidden(text: &str, is_allowed: impl Fn(char) -> bool) -> Option<(usize, char, &'static str)> {
    let mut chars = text.chars().enumerate().peekable();
    let mut previous = None;
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        if !is_allowed(c)
            && let Some(what) = name::hidden(previous, c, next)
        {
            return Some((at, c, what));
        }
        previous = Some(c);
    }
    None
}

/// Checks optional text of one line and drops what is empty.
///
/// # Errors
/// As [`line`].
pub fn optional(field: &str, value: Option<String>, max_chars: usize) -> Result<Option<String>, Invalid> {
    match value {
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => line(field, &text, max_chars).map(|()| Some(text)),
        None => Ok(None),
    }
}

/// Fits text to a limit, so that it is [`bounded`]: what nobody would see is left out, and what is longer is cut. Whether it was changed.
pub fn fit(value: &mut String, max_chars: usize) -> bool {
    fitted(value, max_chars, is_layout)
}

/// Fits text to a limit, so that it is one [`line`]: line breaks and tabs become blanks. Whether it was changed.
pub fn fit_line(value: &mut String, max_chars: usize) -> bool {
    let is_broken = |c: char| c == '\t' || name::is_line_break(c);
    let was_broken = value.contains(is_broken);
    if was_broken {
        *value = value.replace("\r\n", " ").replace(is_broken, " ");
    }
    fitted(value, max_chars, |_| false) || was_broken
}

fn fitted(value: &mut String, max_chars: usize, is_allowed: impl Fn(char) -> bool) -> bool {
    let before = value.len();
    if first_hidden(value, &is_allowed).is_some() {
        let mut chars = value.chars().peekable();
        let mut kept = String::with_capacity(before);
        while let Some(c) = chars.next() {
            if is_allowed(c) || name::hidden(kept.chars().next_back(), c, chars.peek().copied()).is_none() {
                kept.push(c);
            }
        }
        *value = kept;
    }
    if let Some((end, _)) = value.char_indices().nth(max_chars) {
        value.truncate(end);
    }
    // A joiner whose neighbour is gone joins nothing any more.
    while let Some((at, ..)) = first_hidden(value, &is_allowed) {
        let place = value.char_indices().nth(at).map_or(value.len(), |(place, _)| place);
        value.remove(place);
    }
    value.len() != before
}

/// Text of anybody as it is shown in a table, a terminal or an entry: at most so many characters, with a mark for each that nobody
/// would see.
pub fn excerpt(text: &str, max_chars: usize) -> String {
    let mut chars = text.chars().peekable();
    let (mut shown, mut count, mut previous) = (String::new(), 0, None);
    while let Some(c) = chars.next() {
        if count == max_chars {
            shown.pop();
            shown.push('…');
            break;
        }
        let is_hidden = name::hidden(previous, c, chars.peek().copied()).is_some();
        shown.push(if is_hidden { char::REPLACEMENT_CHARACTER } else { c });
        (count, previous) = (count + 1, Some(c));
    }
    shown
}

/// An alias as it is displayed: 1..200 characters.
///
/// # Errors
/// As [`name::displayed`].
pub fn alias(field: &str, value: &str) -> Result<String, Invalid> {
    name::displayed(field, value, ALIAS_MAX_CHARS)
}

/// Tags or groups of a list that is written as text, between commas, semicolons, bars or line breaks; empty ones are left out.
pub fn label_list(text: &str) -> Vec<String> {
    let parts = text.split(|c| LABEL_SEPARATORS.contains(&c) || matches!(c, '\n' | '\r' | '\t'));
    parts.map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()
}

/// Tags or groups as they are displayed: each 1..64 characters without a separator of lists, without repeats, sorted.
///
/// # Errors
/// Names the element that is wrong, or the limit on their number.
pub fn labels(field: &str, values: Vec<String>) -> Result<Vec<String>, Invalid> {
    if values.len() > LABELS_MAX {
        return Err(Invalid::new(field, format!("{} entries are more than the {LABELS_MAX} allowed", values.len())));
    }
    let label = |(i, value): (usize, &String)| {
        let field = format!("{field}[{i}]");
        let label = name::displayed(&field, value, LABEL_MAX_CHARS)?;
        match label.contains(LABEL_SEPARATORS) {
            true => Err(Invalid::new(field, "commas, semicolons and bars separate entries; they are not allowed within one")),
            false => Ok(label),
        }
    };
    let labels = values.iter().enumerate().map(label).collect::<Result<Vec<_>, _>>()?;
    Ok(label_set(labels))
}

/// Tags or groups to be removed: whatever may be stored, also by an earlier build.
///
/// # Errors
/// Names the limit on their number or length.
pub fn removed_labels(field: &str, values: Vec<String>) -> Result<Vec<String>, Invalid> {
    if values.len() > LABELS_MAX {
        return Err(Invalid::new(field, format!("{} entries are more than the {LABELS_MAX} allowed", values.len())));
    }
    values.iter().enumerate().try_for_each(|(i, value)| opaque(&format!("{field}[{i}]"), value, LABEL_MAX_CHARS))?;
    Ok(label_set(values))
}

/// Labels sorted, each once: of those that are the same name, the first.
pub fn label_set(labels: Vec<String>) -> Vec<String> {
    let mut set: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        if !set.iter().any(|known| name::same(known, &label)) {
            set.push(label);
        }
    }
    set.sort_unstable();
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_takes_1_to_200_characters_without_control_characters() {
        assert_eq!(alias("alias", "  kiosk-17 ").unwrap(), "kiosk-17");
        assert_eq!(alias("alias", &"ä".repeat(200)).unwrap().chars().count(), 200);
        for bad in ["", "   ", "a\0b", "a\nb", &"x".repeat(201), &"x".repeat(10_000_000)] {
            let refused = alias("alias", bad).unwrap_err();
            assert_eq!(refused.field, "alias");
            assert!(refused.problem.len() < 200);
        }
    }

    #[test]
    fn labels_are_a_sorted_set_with_a_limit() {
        let given = vec!["b".into(), " a".into(), "b".into()];
        assert_eq!(labels("tags", given).unwrap(), ["a", "b"]);
        assert_eq!(labels("tags", vec!["a".into(), "\0".into()]).unwrap_err().field, "tags[1]");
        assert_eq!(labels("tags", vec!["Cafe\u{301}".into(), "café".into(), "Till".into(), "till".into()]).unwrap(), ["Café", "Till"]);
        assert!(labels("tags", (0..33).map(|i| i.to_string()).collect()).is_err());
    }

    #[test]
    fn no_label_contains_what_separates_labels() {
        for bad in ["front, sale", "a;b", "a|b", "a\nb", "a\tb", ","] {
            let refused = labels("tags", vec!["ok".into(), bad.into()]).unwrap_err();
            assert_eq!(refused.field, "tags[1]", "{bad:?}");
        }
        assert_eq!(label_list(" front, sale;;x|y\r\nz,"), ["front", "sale", "x", "y", "z"]);
        assert_eq!(removed_labels("tags", vec!["front, sale".into()]).unwrap(), ["front, sale"], "one of an earlier build goes");
    }

    /// Characters that nobody sees, one of each kind, and what each is called.
    const HIDDEN: [(char, &str); 18] = [
        ('\0', "control character"),
        ('\u{1b}', "control character"),
        ('\r', "control character"),
        ('\u{7f}', "control character"),
        ('\u{85}', "control character"),
        ('\u{9b}', "control character"),
        ('\u{2028}', "line separator"),
        ('\u{200e}', "character that changes the direction of text"),
        ('\u{200f}', "character that changes the direction of text"),
        ('\u{202a}', "character that changes the direction of text"),
        ('\u{202e}', "character that changes the direction of text"),
        ('\u{2066}', "character that changes the direction of text"),
        ('\u{2069}', "character that changes the direction of text"),
        ('\u{61c}', "character that changes the direction of text"),
        ('\u{200b}', "invisible character"),
        ('\u{2060}', "invisible character"),
        ('\u{feff}', "invisible character"),
        ('\u{e0041}', "invisible character"),
    ];

    #[test]
    fn what_nobody_sees_is_refused_of_people_removed_of_devices_and_marked_elsewhere() {
        for (c, what) in HIDDEN {
            let given = format!("a{c}b");
            for refused in [bounded("note", &given, 10), line("note", &given, 10), optional("note", Some(given.clone()), 10).map(drop)] {
                assert_eq!(refused.unwrap_err().problem, format!("{what} at position 1 (U+{:04X})", u32::from(c)));
            }
            let mut text = given.clone();
            assert!(fit(&mut text, 10) && text == "ab", "{c:?}: {text:?}");
            assert_eq!(excerpt(&given, 10), "a\u{fffd}b");
            assert_eq!(opaque("text", &given, 10).is_err(), c.is_control(), "{c:?} can be searched for");
        }
        for shown in ["می\u{200c}خواهم", "क\u{94d}\u{200d}ष", "👩\u{200d}💻", "☎\u{fe0f}", "עברית", "a\nb"] {
            assert!(bounded("note", shown, 20).is_ok(), "{shown:?}");
            assert!(!fit(&mut shown.to_owned(), 20), "{shown:?}");
        }
        assert!(line("ssid", "a\nb", 20).unwrap_err().problem.starts_with("control character at position 1"));
        assert_eq!((excerpt("a\nb", 3), excerpt("abcd", 3), excerpt("", 3)), ("a\u{fffd}b".into(), "ab…".into(), String::new()));
    }

    #[test]
    fn text_that_is_fitted_is_within_its_limit() {
        for (given, fitted, changed) in [("shop", "shop", false), ("a\0b", "ab", true), ("a\nb", "a\nb", false), ("ääää", "äää", true)]
        {
            let mut text = given.to_owned();
            assert_eq!((fit(&mut text, 3.max(fitted.chars().count())), text.as_str()), (changed, fitted));
            assert!(bounded("field", &text, 4).is_ok());
        }
        for (given, max_chars, fitted) in
            [("a\r\nb\tc", 5, "a b c"), ("a\u{2028}b", 3, "a b"), ("\u{202e}", 3, ""), ("می\u{200c}خ", 3, "می")]
        {
            let mut text = given.to_owned();
            assert!(fit_line(&mut text, max_chars), "{given:?}");
            assert_eq!(text, fitted, "{given:?}");
        }
    }

    proptest::proptest! {
        /// Whatever it was, fitted text passes the check, and what passes the check is not changed.
        #[test]
        fn fitted_text_passes(given in "(\\PC|[\u{0}-\u{20}\u{94d}\u{200b}-\u{200f}\u{202e}😀☎\u{fe0f}خक]){0,24}", max in 0usize..20) {
            for (fit, check) in [(fit as fn(&mut String, usize) -> bool, bounded as fn(&str, &str, usize) -> Result<(), Invalid>), (fit_line, line)] {
                let mut text = given.clone();
                let is_changed = fit(&mut text, max);
                proptest::prop_assert!(check("field", &text, max).is_ok(), "{:?}", text);
                proptest::prop_assert_eq!(is_changed, check("field", &given, max).is_err());
                proptest::prop_assert!(!excerpt(&given, max.max(1)).chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn optional_text_reads_empty_as_absent() {
        assert_eq!(optional("ssid", Some(String::new()), 64).unwrap(), None);
        assert_eq!(optional("ssid", Some("shop".into()), 64).unwrap().as_deref(), Some("shop"));
        assert!(optional("ssid", Some("x".repeat(65)), 64).is_err());
    }
}
