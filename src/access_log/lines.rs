//! Finds and counts the lines in a buffer. No line contains a line break, whatever a client sends.

/// Bytes up to the end of the last whole line.
pub(super) fn whole_lines_len(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

/// Bytes of the first line, its line break included.
pub(super) fn first_line_len(lines: &[u8]) -> usize {
    lines.iter().position(|&byte| byte == b'\n').map_or(lines.len(), |end| end + 1)
}

/// Number of line breaks.
#[expect(clippy::naive_bytecount, reason = "only lost lines are counted")]
pub(super) fn count_lines(lines: &[u8]) -> usize {
    lines.iter().filter(|&&byte| byte == b'\n').count()
}
