//! Text in aligned columns.

use std::{
    fmt::Display,
    io::{self, Write},
};

use crate::{api::Counts, escape::plain};

/// A table written in several calls: a column is as wide as its widest cell so far.
pub(super) struct TextTable {
    columns: Vec<Column>,
    titled: bool,
}

struct Column {
    title: &'static str,
    width: usize,
}

impl TextTable {
    pub(super) fn new<const N: usize>(titles: [&'static str; N]) -> Self {
        let column = |title: &'static str| Column { title, width: title.len() };
        Self { columns: titles.map(column).into(), titled: false }
    }

    /// Writes rows, and the titles before the first call's rows.
    pub(super) fn write(
        &mut self,
        out: &mut dyn Write,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> io::Result<()> {
        // Clients choose their IDs, which may contain escape sequences.
        let safe = |row: Vec<String>| row.iter().map(|cell| plain(cell).into_owned()).collect();
        let rows: Vec<Vec<_>> = rows.into_iter().map(safe).collect();
        for row in &rows {
            for (column, cell) in self.columns.iter_mut().zip(row) {
                column.width = column.width.max(cell.chars().count());
            }
        }
        if !std::mem::replace(&mut self.titled, true) {
            let titles: Vec<_> =
                self.columns.iter().map(|column| column.title.to_owned()).collect();
            self.line(out, &titles)?;
        }
        rows.iter().try_for_each(|row| self.line(out, row))
    }

    fn line(&self, out: &mut dyn Write, cells: &[String]) -> io::Result<()> {
        let cells: Vec<_> = self
            .columns
            .iter()
            .zip(cells)
            .map(|(Column { width, .. }, cell)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())
    }
}

/// A value that may be absent.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(super) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// Counts by word, in one cell.
pub(super) fn counts(counts: &Counts) -> String {
    let counts: Vec<_> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    if counts.is_empty() { "-".to_owned() } else { counts.join(", ") }
}

/// Seconds in the two largest units that fit.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_titled_once() {
        let mut table = TextTable::new(["NAME", "N"]);
        let mut out = Vec::new();
        let row = |name: &str, n: &str| vec![name.to_owned(), n.to_owned()];
        table.write(&mut out, [row("long-one", "1"), row("ü", "23")]).unwrap();
        table.write(&mut out, [row("x\x1b[2J\n", "4")]).unwrap();
        let wanted = "NAME      N\nlong-one  1\nü         23\nx\\u{1b}[2J\\n  4\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn durations() {
        let shown = [0.9, 59.9, 61.0, 3599.0, 3600.0, 86399.0, 90000.0].map(duration);
        assert_eq!(shown, ["0s", "59s", "1m01s", "59m59s", "1h00m", "23h59m", "1d01h"]);
    }
}
