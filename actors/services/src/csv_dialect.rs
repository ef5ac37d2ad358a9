//! Tables as spreadsheets write them: their encoding, delimiter and blanks, read into what a reader of CSV takes.

use std::borrow::Cow;

use domain::Invalid;
use encoding_rs::{Encoding, UTF_8};

/// What may separate the cells of a table.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Begins a first line that names the delimiter, as some spreadsheets write and read it.
const DELIMITER_LINE: &[u8] = b"sep=";

/// Table as text in UTF-8, from its header row on.
pub(super) struct Table<'a> {
    /// Header and rows; quotes begin their cells.
    pub(super) bytes: Cow<'a, [u8]>,
    /// Between two cells.
    pub(super) delimiter: u8,
    /// Lines of the file before the header row.
    pub(super) lines_before: u64,
}

impl<'a> Table<'a> {
    /// Reads how a table is written. Bytes that are no text stay as they are: whoever reads the rows names theirs.
    ///
    /// # Errors
    /// The encoding that its mark tells is not the one of its bytes, or its first line names an unknown delimiter.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let text = match Encoding::for_bom(bytes) {
            None => Cow::Borrowed(bytes),
            Some((encoding, mark)) if encoding == UTF_8 => Cow::Borrowed(&bytes[mark..]),
            Some((encoding, mark)) => match encoding.decode_without_bom_handling_and_without_replacement(&bytes[mark..]) {
                Some(text) => Cow::Owned(text.into_owned().into_bytes()),
                None => return Err(Invalid::new("body", format!("not {}, though its byte order mark says so", encoding.name()))),
            },
        };
        let first_line = line_of(&text);
        let named = match first_line.get(..DELIMITER_LINE.len()) {
            Some(start) if start.eq_ignore_ascii_case(DELIMITER_LINE) => Some(first_line[DELIMITER_LINE.len()..].to_vec()),
            _ => None,
        };
        let (text, named, lines_before) = match named {
            None => (text, None, 0),
            Some(named) => match named.as_slice() {
                [delimiter] if DELIMITERS.contains(delimiter) => {
                    let length = first_line.len();
                    let end = match text.get(length..length + 2) {
                        Some(b"\r\n") => length + 2,
                        _ => (length + 1).min(text.len()),
                    };
                    (without_start(text, end), Some(*delimiter), 1)
                }
                _ => return Err(Invalid::new("body", "the line sep= names none of comma, semicolon, tab and bar")),
            },
        };
        let delimiter = named.unwrap_or_else(|| delimiter_of(line_of(&text)));
        let bytes = match blanks_before_quotes(&text, delimiter) {
            Some(tidied) => Cow::Owned(tidied),
            None => text,
        };
        Ok(Self { bytes, delimiter, lines_before })
    }
}

/// Counts the lines of a text, which end with CR, LF or both, as an editor shows them.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    counted_to: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    /// The lines of a text, from 1.
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { text, counted_to: 0, line: 1 }
    }

    /// Line of the first byte from here that ends none. Places are asked for in their order.
    pub(super) fn line_of(&mut self, from: usize) -> u64 {
        let blank = self.text.get(from..).unwrap_or_default().iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let to = (from + blank).min(self.text.len());
        while self.counted_to < to {
            let is_end = match self.text[self.counted_to] {
                b'\n' => true,
                b'\r' => self.text.get(self.counted_to + 1) != Some(&b'\n'),
                _ => false,
            };
            self.line += u64::from(is_end);
            self.counted_to += 1;
        }
        self.line
    }
}

fn line_of(text: &[u8]) -> &[u8] {
    text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default()
}

fn without_start(text: Cow<'_, [u8]>, end: usize) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[end..]),
        Cow::Owned(mut text) => {
            text.drain(..end);
            Cow::Owned(text)
        }
    }
}

/// Delimiter of a header row: the one that it has most of. The names of its columns contain none.
fn delimiter_of(head: &[u8]) -> u8 {
    let count = |delimiter: u8| head.iter().filter(|byte| **byte == delimiter).count();
    // The first of several: `max_by_key` takes the last.
    DELIMITERS.into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

/// The table without the blanks between a delimiter and a quote, where quotes would be part of the cell; `None`: it has none.
fn blanks_before_quotes(text: &[u8], delimiter: u8) -> Option<Vec<u8>> {
    let mut tidied: Option<Vec<u8>> = None;
    let (mut at, mut at_start, mut quoted) = (0, true, false);
    while let Some(&byte) = text.get(at) {
        if at_start && !quoted && is_blank(byte, delimiter) {
            let blanks = text[at..].iter().take_while(|byte| is_blank(**byte, delimiter)).count();
            if text.get(at + blanks) == Some(&b'"') {
                tidied.get_or_insert_with(|| text[..at].to_vec());
            } else if let Some(tidied) = &mut tidied {
                tidied.extend_from_slice(&text[at..at + blanks]);
            }
            at += blanks;
            // What follows begins the cell only if it is a quote.
            at_start = text.get(at) == Some(&b'"');
            continue;
        }
        match byte {
            // A doubled quote ends and begins; a quote within a cell that does not begin with one is a character.
            b'"' if quoted || at_start => quoted = !quoted,
            _ => {}
        }
        at_start = !quoted && (byte == delimiter || matches!(byte, b'\n' | b'\r') || (byte == b'"' && text.get(at + 1) == Some(&b'"')));
        if let Some(tidied) = &mut tidied {
            tidied.push(byte);
        }
        at += 1;
    }
    tidied
}

fn is_blank(byte: u8, delimiter: u8) -> bool {
    matches!(byte, b' ' | b'\t') && byte != delimiter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (String, u8, u64) {
        let table = Table::of(bytes).map_err(|invalid| invalid.to_string()).unwrap();
        (String::from_utf8(table.bytes.into_owned()).unwrap(), table.delimiter, table.lines_before)
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    #[test]
    fn a_table_is_read_in_whatever_way_it_is_written() {
        let text = "alias\ttags\r\nKäfig\tx|y\r\n";
        for bytes in [utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes), text.as_bytes().to_vec()] {
            assert_eq!(read(&bytes), (text.to_owned(), b'\t', 0));
        }
        assert_eq!(read(b"\xef\xbb\xbfalias,tags\n"), ("alias,tags\n".to_owned(), b',', 0));
        assert_eq!(read(b"sep=;\nalias;tags\n"), ("alias;tags\n".to_owned(), b';', 1));
        assert_eq!(read(b"SEP=\t\r\nalias\ttags"), ("alias\ttags".to_owned(), b'\t', 1));
        assert_eq!(read(&utf16("sep=,\r\nalias,tags\r\n", u16::to_le_bytes)), ("alias,tags\r\n".to_owned(), b',', 1));
        assert_eq!(read(b"alias;tags;groups,more\n").1, b';');
        assert_eq!((read(b"alias\n").1, read(b"").1), (b',', b','));
        assert!(Table::of(b"sep=x\nalias\n").is_err());
        assert!(Table::of(b"\xff\xfea\0b").is_err(), "half a character");
    }

    #[test]
    fn lines_end_with_either_or_both() {
        for text in ["a\nb\n\nc", "a\rb\r\rc", "a\r\nb\r\n\r\nc", "a\nb\r\n\rc"] {
            let mut lines = Lines::of(text.as_bytes());
            let at = |c: char| text.find(c).unwrap();
            assert_eq!((lines.line_of(0), lines.line_of(at('b')), lines.line_of(at('b') + 1)), (1, 2, 4), "{text:?}");
            assert_eq!(lines.line_of(99), 4);
        }
    }

    #[test]
    fn blanks_before_a_quote_do_not_make_it_part_of_the_cell() {
        let tidy = |text: &str| read(text.as_bytes()).0;
        assert_eq!(tidy("alias, tags\ncsv-a, \"x|y\"\n"), "alias, tags\ncsv-a,\"x|y\"\n");
        assert_eq!(tidy("a,b\n \"1\" , 2 \"in\"\n"), "a,b\n\"1\" , 2 \"in\"\n");
        for kept in ["a,b\n\"x, \"\"y\"\"\",z\n", "a,b\n\"x\n  \"\"y\",z\n", "a,b\n5\" screen, 6\n", "a,b\n\"\"\"q\"\"\", 1\n"] {
            assert_eq!(tidy(kept), kept);
        }
        assert_eq!(tidy("a;b\n1;\t\"x\"\n"), "a;b\n1;\"x\"\n");
    }
}
