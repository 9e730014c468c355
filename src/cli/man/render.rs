//! From Markdown to roff with the macros of man(7).

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, roman};

use super::table::{Table, text_of};

/// A manual page in roff. Its first line asks man(1) to run tbl(1).
pub(super) fn page(name: &str, section: u8, markdown: &str) -> String {
    let mut renderer = Renderer::default();
    let (section, version) = (section.to_string(), concat!("mqtt-lb ", env!("CARGO_PKG_VERSION")));
    // No date, so that the same version always has the same page. The argument must not be empty.
    renderer.roff.control("TH", [name, &section, "\"\"", version, "mqtt-lb manual"]);
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        renderer.event(event);
    }
    let text = renderer.roff.render();
    // Unescaped, groff turns these into typographic accents and quotes, even in code.
    let text = text.replace('^', r"\(ha").replace('~', r"\(ti").replace('`', r"\(ga");
    format!("'\\\" t\n{text}")
}

#[derive(Default)]
struct Renderer {
    roff: Roff,
    /// The text of the current block.
    line: Vec<Inline>,
    font: Font,
    /// The open lists, with the next number of ordered ones.
    lists: Vec<Option<u64>>,
    /// Whether the current list item already has text.
    item_has_text: bool,
    table: Option<Table>,
    /// Targets of the open links.
    links: Vec<String>,
    is_code: bool,
}

#[derive(Clone, Copy, Default)]
enum Font {
    #[default]
    Roman,
    Bold,
    Italic,
}

impl Renderer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.is_code => self.line.push(roman(text.trim_end_matches('\n'))),
            Event::Text(text) => self.push(text.into_string()),
            Event::Code(code) => self.line.push(bold(code.into_string())),
            Event::SoftBreak => self.push(" ".to_owned()),
            Event::HardBreak => self.line.push(Inline::LineBreak),
            // The pages use nothing else; HTML comments are for their editors.
            _ => {}
        }
    }

    fn push(&mut self, text: String) {
        self.line.push(match self.font {
            Font::Roman => roman(text),
            Font::Bold => bold(text),
            Font::Italic => italic(text),
        });
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph if self.lists.is_empty() => {
                self.roff.control("PP", []);
            }
            // A further paragraph of a list item, at the item's indent.
            Tag::Paragraph if self.item_has_text => {
                self.roff.control("IP", []);
            }
            Tag::Strong => self.font = Font::Bold,
            Tag::Emphasis => self.font = Font::Italic,
            Tag::Link { dest_url, .. } => self.links.push(dest_url.into_string()),
            Tag::List(first) => {
                self.flush();
                if !self.lists.is_empty() {
                    self.roff.control("RS", ["2"]);
                }
                self.lists.push(first);
            }
            Tag::Item => self.start_item(),
            Tag::CodeBlock(_) => {
                self.flush();
                self.roff.control("PP", []).control("RS", ["4"]).control("EX", []);
                self.is_code = true;
            }
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.start_row();
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Paragraph | TagEnd::Item => self.flush(),
            TagEnd::Strong | TagEnd::Emphasis => self.font = Font::Roman,
            TagEnd::Link => {
                // For links inside the manual, the text is enough.
                if let Some(url) = self.links.pop().filter(|url| url.starts_with("https://")) {
                    self.line.push(roman(format!(" <{url}>")));
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
                if !self.lists.is_empty() {
                    self.roff.control("RE", []);
                }
            }
            TagEnd::CodeBlock => {
                self.is_code = false;
                self.flush();
                self.roff.control("EE", []).control("RE", []);
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.line);
                if let Some(table) = &mut self.table {
                    table.push(cell);
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    table.write(&mut self.roff);
                }
            }
            _ => {}
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let line = std::mem::take(&mut self.line);
        // Arguments of a macro cannot hold quotes.
        let text = text_of(&line).replace('"', "");
        match level {
            // The title is in .TH.
            HeadingLevel::H1 => {}
            HeadingLevel::H2 => {
                self.roff.control("SH", [text.to_uppercase().as_str()]);
            }
            HeadingLevel::H3 => {
                self.roff.control("SS", [text.as_str()]);
            }
            _ => {
                self.roff.control("PP", []).text([bold(text)]);
            }
        }
    }

    fn start_item(&mut self) {
        self.item_has_text = false;
        match self.lists.last_mut() {
            Some(Some(number)) => {
                let label = format!("{number}.");
                *number += 1;
                self.roff.control("IP", [label.as_str(), "4"]);
            }
            _ => {
                self.roff.control("IP", [r"\(bu", "2"]);
            }
        }
    }

    /// Ends the text of a block.
    fn flush(&mut self) {
        if !self.line.is_empty() {
            self.roff.text(std::mem::take(&mut self.line));
            self.item_has_text = true;
        }
    }
}
