//! The results as tables of the manual.

use std::fmt::Write as _;

use crate::{
    policy_fleet::PolicyRow,
    scenario::{Row, Spread},
};

/// All clients placed without and with `bounded_load`.
pub(crate) struct Bounds {
    /// Sessions of the busiest broker, over an even share.
    pub(crate) unbounded: f64,
    pub(crate) bounded: f64,
    /// Clients that are placed elsewhere because of the bound.
    pub(crate) away: usize,
}

pub(crate) fn events<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut table = "\
| Event | Moved | Needless | Sessions ended | CONNECTs refused | Busiest broker, worst \
| Busiest, idlest after 1 min | after 10 min | Disputed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"
    .to_owned();
    for row in rows {
        let spread = |spread: Spread| format!("{:.2}, {:.2}", spread.busiest, spread.idlest);
        let dispute = match row.disagreed {
            0 => "none".to_owned(),
            seconds => format!("{:.1} %, {seconds} s", row.disputed * 100.0),
        };
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {:.2} | {} | {} | {dispute} |",
            row.event,
            grouped(row.moved),
            grouped(row.needless),
            grouped(row.ended as usize),
            grouped(row.refused as usize),
            row.peak,
            spread(row.after_a_minute),
            spread(row.at_the_end),
        )
        .unwrap();
    }
    table
}

pub(crate) fn bounds(bounds: &[Bounds; 2]) -> String {
    let [ids, usernames] = bounds;
    let row = |bounds: &Bounds| {
        let (unbounded, bounded) = (bounds.unbounded, bounds.bounded);
        format!("{unbounded:.2} | {bounded:.2} | {}", grouped(bounds.away))
    };
    format!(
        "\
| Key | Busiest broker | with `bounded_load: 1.25` | Clients placed elsewhere |
| --- | --- | --- | --- |
| client ID, all different | {} |
| username, 1,000 of them, the n-th with 1/n of the first's clients | {} |
",
        row(ids),
        row(usernames),
    )
}

pub(crate) fn rules(rows: &[PolicyRow]) -> String {
    let mut table = "\
| Event | Moved | Needless | Sessions ended | CONNECTs refused | Disputed |
| --- | --- | --- | --- | --- | --- |
"
    .to_owned();
    for row in rows {
        let dispute = match row.disagreed {
            0 => "none".to_owned(),
            seconds => format!("{:.1} %, {seconds} s", row.disputed * 100.0),
        };
        let [moved, needless, ended, refused] =
            [row.moved, row.needless, row.ended, row.refused].map(grouped);
        writeln!(
            table,
            "| {} | {moved} | {needless} | {ended} | {refused} | {dispute} |",
            row.event
        )
        .unwrap();
    }
    table
}

/// The tables in the manual's section, separated by an empty line.
pub(crate) fn in_manual() -> String {
    const HEADING: &str = "\n### Placement changes\n";
    let (_, after) =
        include_str!("../../deploy/man/mqtt-lb-ops.7.md").split_once(HEADING).expect(HEADING);
    let section = after.split("\n#").next().unwrap();
    let tables = section.split("\n\n").filter(|paragraph| paragraph.starts_with('|'));
    tables.map(|table| table.trim_end().to_owned() + "\n").collect::<Vec<_>>().join("\n")
}

/// 1234567 as 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
