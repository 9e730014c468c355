//! Text files with one entry a line, such as lists of networks or of client IDs.

use std::{
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use super::regular_file::open_regular_file;

/// The most entries of a file. A million client IDs take some 100 MB, and a second to read.
pub(super) const MAX_ENTRIES: usize = 1_000_000;
/// The longest line, without its line end: the longest string of MQTT (5.0 and 3.1.1, section 1.5.3).
const MAX_LINE_BYTES: usize = u16::MAX as usize;
/// The most invalid lines that are described; the others are counted.
const MAX_DESCRIBED: usize = 10;

/// Reads the entries of a file, each by `parse`, whose error is a clause such as `"x" is not a
/// network`. Lines end in LF or CRLF; spaces around an entry, blank lines, lines that begin with
/// `#`, and a byte order mark are ignored. Entries have no control characters.
///
/// # Errors
/// What is wrong with the file, as ends of sentences that begin with its name: that it cannot be
/// read, that it has too many entries, or each invalid line with its number.
pub(super) fn read_list_file<T>(
    path: &Path,
    parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<String>> {
    let file = open_regular_file(path).map_err(|error| vec![cannot_read(&error)])?;
    read_list(BufReader::new(file), parse)
}

fn read_list<T>(
    mut lines: impl BufRead,
    mut parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<String>> {
    let (mut entries, mut faults, mut invalid) = (Vec::new(), Vec::new(), 0_usize);
    let (mut number, mut line) = (0_usize, Vec::new());
    while read_line(&mut lines, &mut line).map_err(|error| vec![cannot_read(&error)])? {
        number += 1;
        match entry(&line, number == 1) {
            Ok("") => {}
            Ok(_) if entries.len() == MAX_ENTRIES => {
                faults.push(format!("has more than {MAX_ENTRIES} entries, from line {number} on"));
                return Err(faults);
            }
            Ok(text) => match parse(text) {
                Ok(entry) => entries.push(entry),
                Err(wrong) => note(&mut faults, &mut invalid, number, &wrong),
            },
            Err(wrong) => note(&mut faults, &mut invalid, number, wrong),
        }
        if line.len() > MAX_LINE_BYTES + 2 {
            // The rest of the file may be of any size, and is hardly a list.
            break;
        }
    }
    if invalid > MAX_DESCRIBED {
        faults.push(format!("has {} more invalid lines", invalid - MAX_DESCRIBED));
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

/// Reads the next line with its line end, or the start of one that is too long; false at the end.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let most = MAX_LINE_BYTES + "\r\n".len() + 1;
    Ok(lines.take(most as u64).read_until(b'\n', line)? > 0)
}

/// The entry of a line; empty if the line has none.
fn entry(line: &[u8], is_first: bool) -> Result<&str, &'static str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_LINE_BYTES {
        return Err("has more than 65535 bytes");
    }
    let text = str::from_utf8(line).map_err(|_| "is not UTF-8")?;
    let text = text.strip_prefix('\u{feff}').filter(|_| is_first).unwrap_or(text);
    let entry = text.trim_matches([' ', '\t']);
    if entry.starts_with('#') {
        return Ok("");
    }
    // No name that MQTT recommends has one (5.0 and 3.1.1, section 1.5.4), and nobody would see it.
    match entry.chars().find(|char| char.is_control()) {
        Some('\r') => Err("has a carriage return in its middle: end lines with LF or CRLF"),
        Some(_) => Err("has a control character: remove it"),
        None => Ok(entry),
    }
}

fn note(faults: &mut Vec<String>, invalid: &mut usize, number: usize, wrong: &str) {
    *invalid += 1;
    if *invalid <= MAX_DESCRIBED {
        faults.push(format!("line {number}: {wrong}"));
    }
}

fn cannot_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist: create it, even if it is empty".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<String>, Vec<String>> {
        read_list(text, |entry| match entry {
            "bad" => Err(format!("{entry} is not an ID")),
            entry => Ok(entry.to_owned()),
        })
    }

    #[test]
    fn entries_and_what_is_ignored() {
        for (text, wanted) in [
            (&b""[..], &[][..]),
            (b"a", &["a"]),
            (b"a\nb\n", &["a", "b"]),
            (b"\xEF\xBB\xBFa\r\nb\r\n", &["a", "b"]),
            (b"\xEF\xBB\xBF# comment\r\n\r\n \t \n  # another\n\ta b \n", &["a b"]),
            (b"a\na\n", &["a", "a"]),
            (b"a#b\n", &["a#b"]),
            ("zähler\n".as_bytes(), &["zähler"]),
            // A mark elsewhere is part of the entry.
            ("a\n\u{feff}b\n".as_bytes(), &["a", "\u{feff}b"]),
            (b"# a\rb\x07\n", &[]),
        ] {
            assert_eq!(read(text).unwrap(), wanted, "{text:?}");
        }
    }

    #[test]
    fn invalid_lines_are_numbered() {
        assert_eq!(
            read(b"# c\n\nbad\nok\n\xFF\n"),
            Err(vec!["line 3: bad is not an ID".to_owned(), "line 5: is not UTF-8".to_owned()])
        );
        let faults = read("bad\n".repeat(1000).as_bytes()).unwrap_err();
        assert_eq!(faults.len(), MAX_DESCRIBED + 1);
        assert_eq!(faults[MAX_DESCRIBED], "has 990 more invalid lines");
    }

    #[test]
    fn control_characters() {
        let carriage_return = "has a carriage return in its middle: end lines with LF or CRLF";
        let other = "has a control character: remove it";
        for (line, wrong) in [
            ("a\rb", carriage_return),
            ("a\r\r", carriage_return),
            ("a\0", other),
            ("a\tb", other),
            ("\x1B[31ma", other),
            ("a\x7F", other),
            ("a\u{85}b", other),
        ] {
            let wanted = Err(vec![format!("line 2: {wrong}")]);
            assert_eq!(read(format!("x\n{line}\ny\n").as_bytes()), wanted, "{line:?}");
        }
    }

    #[test]
    fn long_lines() {
        let longest = "x".repeat(MAX_LINE_BYTES);
        for end in ["", "\n", "\r\n"] {
            assert_eq!(read(format!("{longest}{end}").as_bytes()), Ok(vec![longest.clone()]));
            let wanted = vec!["line 2: has more than 65535 bytes".to_owned()];
            assert_eq!(read(format!("a\n{longest}x{end}").as_bytes()), Err(wanted));
        }
        // Not all of it is read.
        let endless = BufReader::new(io::repeat(b'x'));
        assert!(read_list(endless, |_| Ok(())).is_err());
    }

    #[test]
    fn a_million_entries_and_no_more() {
        let text = "a\n".repeat(MAX_ENTRIES);
        assert_eq!(read_list(text.as_bytes(), |_| Ok(())).map(|all| all.len()), Ok(MAX_ENTRIES));
        let more = format!("{text}\n# end\na\n");
        let wanted = "has more than 1000000 entries, from line 1000003 on".to_owned();
        assert_eq!(read_list(more.as_bytes(), |_| Ok(())), Err(vec![wanted]));
    }

    #[test]
    fn files_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &Path| read_list_file(path, |_| Ok(()));
        let missing = read(&folder.path().join("missing.txt")).unwrap_err();
        assert_eq!(missing, ["does not exist: create it, even if it is empty"]);
        for special in [folder.path(), Path::new("/dev/zero")] {
            assert_eq!(read(special).unwrap_err(), ["cannot be read: it is not a regular file"]);
        }
    }
}
