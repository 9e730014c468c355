//! mqtt-lb.yaml(5) from the JSON Schema of the configuration.
//!
//! Only tests use it: the page is committed, and a test compares it.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The text before the keys.
const INTRODUCTION: &str = include_str!("yaml_introduction.md");

/// The page in Markdown: a section for each mapping, with a table of its keys.
pub(super) fn yaml_page(schema: &Value) -> String {
    let mut page = Page { root: schema, text: INTRODUCTION.to_owned() };
    let top = page.object(schema).expect("a configuration is a mapping");
    let description = page.description(schema);
    if !description.is_empty() {
        writeln!(page.text, "\n{description}").unwrap();
    }
    page.top_level_values(top);
    for (key, value) in properties(top) {
        page.section(key, 2, value);
    }
    page.text.push_str("\n## See also\n\n");
    page.text.push_str("[mqtt-lb(1)](mqtt-lb.1.md), [mqtt-lb-ops(7)](mqtt-lb-ops.7.md)\n");
    page.text
}

struct Page<'a> {
    root: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    /// Writes a table of the keys outside all sections.
    fn top_level_values(&mut self, top: &'a Value) {
        let values: Vec<_> =
            properties(top).into_iter().filter(|(_, v)| self.object(v).is_none()).collect();
        if values.is_empty() {
            return;
        }
        self.text.push_str("\n## Keys outside sections\n\n");
        self.table_head();
        for (key, value) in values {
            let is_required = required(top).any(|name| name == key);
            self.row("", key, value, is_required);
        }
    }

    fn table_head(&mut self) {
        self.text.push_str("| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n");
    }

    /// Writes the section of a mapping, or of a list of mappings, and then the sections of the
    /// mappings in it. `path` is its path, such as `pools[].balance`.
    fn section(&mut self, path: &str, level: usize, schema: &'a Value) {
        let Some(object) = self.object(schema) else { return };
        let heading = path.trim_end_matches("[]");
        writeln!(self.text, "\n{} {heading}\n", "#".repeat(level)).unwrap();
        let description = self.description(schema);
        if !description.is_empty() {
            writeln!(self.text, "{description}\n").unwrap();
        }
        let is_list = self.is_list(schema);
        if is_list {
            writeln!(self.text, "A list; each entry has these keys:\n").unwrap();
        }
        let prefix = format!("{heading}{}", if is_list { "[]" } else { "" });
        self.table_head();
        for (key, value) in properties(object) {
            let is_required = required(object).any(|name| name == key);
            self.row(&prefix, key, value, is_required);
        }
        for (key, value) in properties(object) {
            self.section(&format!("{prefix}.{key}"), 3, value);
        }
    }

    fn row(&mut self, prefix: &str, key: &str, schema: &Value, is_required: bool) {
        let default = match schema.get("default") {
            _ if is_required => "required".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            // A mapping's default consists of its keys' defaults, which are in its own section.
            None | Some(Value::Null | Value::Object(_)) => String::new(),
            Some(other) => format!("`{other}`"),
        };
        let mut meaning = match self.object(schema) {
            // Its section has the description.
            Some(_) => {
                let path = format!("{prefix}.{key}");
                format!("see [{path}](#{})", anchor(&path))
            }
            None => self.description(schema),
        };
        for (value, description) in self.described_values(schema) {
            write!(meaning, " `{value}`: {description}").unwrap();
        }
        let cells = [format!("`{key}`"), self.type_of(schema), default, meaning];
        let cells = cells.map(|cell| cell.trim().replace('\n', " ").replace('|', "\\|"));
        writeln!(self.text, "{}", format!("| {} |", cells.join(" | ")).replace("  ", " ")).unwrap();
    }

    /// The definition that `$ref` names, or the schema itself.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(path) => self.root.pointer(path.trim_start_matches('#')).expect(path),
            None => schema,
        }
    }

    /// Every form that a value may have, except its absence and a text with `${NAME}`.
    fn forms(&self, schema: &'a Value) -> Vec<&'a Value> {
        if schema["$ref"] == "#/$defs/Variable" {
            return Vec::new();
        }
        let schema = self.resolved(schema);
        // Dependencies between its keys are in their descriptions.
        if schema.get("properties").is_some() {
            return vec![schema];
        }
        let forms = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(key)?.as_array());
        match forms {
            Some(forms) => forms.iter().flat_map(|form| self.forms(form)).collect(),
            None if schema["type"] == "null" => Vec::new(),
            None => vec![schema],
        }
    }

    /// The mapping that a value is, or that the entries of a list are.
    fn object(&self, schema: &'a Value) -> Option<&'a Value> {
        self.forms(schema).into_iter().find_map(|form| match form.get("items") {
            Some(items) => self.object(items),
            None => form.get("properties").map(|_| form),
        })
    }

    /// Whether a value is a list of mappings.
    fn is_list(&self, schema: &'a Value) -> bool {
        let mut forms = self.forms(schema).into_iter();
        forms.any(|form| form.get("items").is_some_and(|items| self.object(items).is_some()))
    }

    fn description(&self, schema: &'a Value) -> String {
        let candidates = [schema, self.resolved(schema)].into_iter().chain(self.object(schema));
        let texts = candidates.map(|schema| schema["description"].as_str().unwrap_or_default());
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned()
    }

    /// The values of an enumeration in which each has a description.
    fn described_values(&self, schema: &'a Value) -> Vec<(&'a str, &'a str)> {
        let forms = self.forms(schema).into_iter();
        forms
            .filter_map(|form| Some((form["const"].as_str()?, form["description"].as_str()?)))
            .collect()
    }

    fn type_of(&self, schema: &'a Value) -> String {
        let mut types: Vec<String> = Vec::new();
        for form in self.forms(schema) {
            for name in self.types_of_form(form) {
                if !types.contains(&name) {
                    types.push(name);
                }
            }
        }
        match types.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => types.concat(),
        }
    }

    fn types_of_form(&self, form: &'a Value) -> Vec<String> {
        if let Some(values) = form["enum"].as_array() {
            let values = values.iter().filter_map(Value::as_str);
            return values.map(|value| format!("`{value}`")).collect();
        }
        vec![self.type_of_form(form)]
    }

    fn type_of_form(&self, form: &'a Value) -> String {
        if let Some(value) = form["const"].as_str() {
            return format!("`{value}`");
        }
        if let Some(items) = form.get("items") {
            return format!("list of {}", self.type_of(items));
        }
        if form["pattern"].as_str().is_some_and(|pattern| pattern.contains("KiB")) {
            return format!("size{}", range(form));
        }
        let kinds = match &form["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => vec![kind.as_str().unwrap_or("any")],
        };
        let kind = kinds.into_iter().find(|kind| *kind != "null").unwrap_or("any");
        match kind {
            "object" => "mapping".to_owned(),
            "string" => text_type(form),
            "integer" | "number" => format!("{kind}{}", range(form)),
            other => other.to_owned(),
        }
    }
}

fn text_type(form: &Value) -> String {
    let pattern = form["pattern"].as_str().unwrap_or_default();
    let name = match pattern {
        _ if pattern.contains("(ms|s|m|h)") => "duration",
        _ if pattern.starts_with(r"\$\{") => "template",
        _ => form["title"].as_str().unwrap_or("string"),
    };
    match form["$comment"].as_str() {
        // A year is no limit in practice.
        Some(range) if !range.ends_with("8760h") => format!("{}, {range}", name.to_lowercase()),
        _ => name.to_lowercase(),
    }
}

fn range(form: &Value) -> String {
    let bound = |key: &str| form[key].as_f64();
    // The largest number of the type is no limit in practice.
    let max = bound("maximum").filter(|max| *max < f64::from(u32::MAX));
    match (bound("minimum"), max) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) if min > 0.0 => format!(", at least {min}"),
        (None, Some(max)) => format!(", at most {max}"),
        _ => String::new(),
    }
}

/// The keys of a mapping, required ones first. Keys of a pattern are one, with the name in its title.
fn properties(object: &Value) -> Vec<(&str, &Value)> {
    let members = |name: &str| object[name].as_object().map(Map::iter).into_iter().flatten();
    let named = members("properties").map(|(key, value)| (key.as_str(), value));
    let of_patterns = members("patternProperties");
    let titled = of_patterns.filter_map(|(_, value)| Some((value["title"].as_str()?, value)));
    let mut keys: Vec<_> = named.chain(titled).collect();
    keys.sort_by_key(|(key, _)| !required(object).any(|name| name == *key));
    keys
}

fn required(object: &Value) -> impl Iterator<Item = &str> {
    object["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    kept.collect::<String>().to_lowercase()
}
