//! Tables in roff: for tbl(1) if they fit into 80 columns, otherwise as a list of terms.

use roff::{Inline, Roff, bold, italic, roman};

/// Columns for text: 80, less the indent of man(7) on the left, and a margin.
const MAX_WIDTH: usize = 71;
/// The space that tbl(1) puts between columns.
const COLUMN_GAP: usize = 3;
/// Up to this length the cells that describe a term form one sentence; otherwise each begins a
/// line.
const MAX_INLINE: usize = 140;

type Cell = Vec<Inline>;

/// A table under construction; its first row is the heading.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn start_row(&mut self) {
        self.rows.push(Vec::new());
    }

    pub(super) fn push(&mut self, cell: Cell) {
        if let Some(row) = self.rows.last_mut() {
            row.push(cell);
        }
    }

    pub(super) fn write(mut self, roff: &mut Roff) {
        if self.rows.is_empty() {
            return;
        }
        let heading = self.rows.remove(0);
        if self.width(&heading) <= MAX_WIDTH {
            write_columns(heading, self.rows, roff);
        } else {
            let titles: Vec<_> = heading.iter().map(|cell| text_of(cell)).collect();
            let is_inline = self.rows.iter().all(|row| described_width(&titles, row) <= MAX_INLINE);
            for row in self.rows {
                write_term(&titles, row, is_inline, roff);
            }
        }
    }

    fn width(&self, heading: &[Cell]) -> usize {
        let columns = heading.iter().enumerate().map(|(column, title)| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(width).chain([width(title)]).max().unwrap_or(0) + COLUMN_GAP
        });
        columns.sum::<usize>().saturating_sub(COLUMN_GAP)
    }
}

fn write_columns(heading: Vec<Cell>, rows: Vec<Vec<Cell>>, roff: &mut Roff) {
    let format = vec!["l"; heading.len()].join(" ") + ".";
    roff.control("PP", []).control("TS", []).text([roman(format)]);
    if heading.iter().any(|cell| !cell.is_empty()) {
        write_row(heading.into_iter().map(in_bold).collect(), roff);
    }
    for row in rows {
        write_row(row, roff);
    }
    roff.control("TE", []);
}

fn write_row(row: Vec<Cell>, roff: &mut Roff) {
    let mut line = Vec::new();
    for (column, cell) in row.into_iter().enumerate() {
        if column > 0 {
            line.push(roman("\t"));
        }
        line.extend(cell);
    }
    roff.text(line);
}

/// The first cell as a term, the others as its description, each with the title of its column if
/// there are several.
fn write_term(titles: &[String], row: Vec<Cell>, is_inline: bool, roff: &mut Roff) {
    let is_single = titles.len() == 2;
    let mut cells = row.into_iter();
    roff.control("TP", ["7"]).text(in_bold(cells.next().unwrap_or_default()));
    let described: Vec<_> =
        cells.zip(titles.iter().skip(1)).filter(|(cell, _)| !cell.is_empty()).collect();
    let mut line = Vec::new();
    for (index, (cell, title)) in described.into_iter().enumerate() {
        match index {
            0 => {}
            _ if is_inline => line.push(roman("; ")),
            _ => line.push(Inline::LineBreak),
        }
        if !is_single && !title.is_empty() {
            line.push(italic(format!("{title}:")));
            line.push(roman(" "));
        }
        line.extend(cell);
    }
    // The next macro's line would become the description of a term that has none.
    if line.is_empty() {
        line.push(roman(" "));
    }
    roff.text(line);
}

fn described_width(titles: &[String], row: &[Cell]) -> usize {
    let cells = row.iter().zip(titles).skip(1);
    cells.map(|(cell, title)| width(cell) + ": ; ".len() + title.chars().count()).sum()
}

fn in_bold(cell: Cell) -> Cell {
    let inlines = cell.into_iter().map(|inline| match inline {
        Inline::Roman(text) => bold(text),
        other => other,
    });
    inlines.collect()
}

fn width(cell: &Cell) -> usize {
    text_of(cell).chars().count()
}

/// The text without font changes.
pub(super) fn text_of(line: &[Inline]) -> String {
    let texts = line.iter().map(|inline| match inline {
        Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text.as_str(),
        Inline::LineBreak => " ",
    });
    texts.collect()
}
