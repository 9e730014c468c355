use clap::CommandFactory;
use serde_json::json;

use super::{yaml_page::yaml_page, *};

fn rendered(markdown: &str) -> String {
    let page = render::page("x", 7, markdown);
    let start = page.find("mqtt-lb manual\"\n").unwrap() + "mqtt-lb manual\"\n".len();
    page[start..].to_owned()
}

#[test]
fn headings() {
    let page = render::page("mqtt-lb-ops", 7, "# mqtt-lb-ops(7)\n\n## Name\n\n### Of `x`\n");
    assert!(page.starts_with("'\\\" t\n.ie"), "{page}");
    let title = concat!(".TH mqtt-lb-ops 7 \"\" \"mqtt-lb ", env!("CARGO_PKG_VERSION"), "\"");
    assert!(page.contains(title), "{page}");
    assert!(page.ends_with(".SH NAME\n.SS \"Of x\"\n"), "{page}");
}

#[test]
fn text() {
    for (markdown, roff) in [
        ("a **b** *c* `d-e`.", ".PP\na \\fBb\\fR \\fIc\\fR \\fBd\\-e\\fR.\n"),
        ("first\nsecond", ".PP\nfirst second\n"),
        ("[text](#anchor)", ".PP\ntext\n"),
        ("[text](https://example.org)", ".PP\ntext <https://example.org>\n"),
        (r"`^` `~` `a\b`", ".PP\n\\fB\\(ha\\fR \\fB\\(ti\\fR \\fBa\\\\b\\fR\n"),
        ("it's", ".PP\nit\\*(Aqs\n"),
        ("<!-- for editors -->", ""),
    ] {
        assert_eq!(rendered(markdown), roff, "{markdown}");
    }
}

#[test]
fn lists() {
    let bullet = ".IP \\(bu 2\n";
    assert_eq!(rendered("- a\n- b\n"), format!("{bullet}a\n{bullet}b\n"));
    assert_eq!(rendered("1. a\n2. b\n"), ".IP 1. 4\na\n.IP 2. 4\nb\n");
    assert_eq!(rendered("- a\n\n  b\n"), format!("{bullet}a\n.IP\nb\n"));
    assert_eq!(rendered("- a\n  - b\n"), format!("{bullet}a\n.RS 2\n{bullet}b\n.RE\n"));
}

#[test]
fn code() {
    let roff = rendered("```sh\n.a\n\n'b\n```\n");
    assert_eq!(roff, ".PP\n.RS 4\n.EX\n\\&.a\n\n\\*(Aqb\n.EE\n.RE\n");
}

#[test]
fn narrow_tables_are_columns() {
    let roff = rendered("| Key | Is |\n| --- | --- |\n| `a` | .b |\n| | c |\n");
    let wanted = ".PP\n.TS\nl l.\n\\fBKey\\fR\t\\fBIs\\fR\n\\fBa\\fR\t.b\n\tc\n.TE\n";
    assert_eq!(roff, wanted);
    assert!(!rendered("| | |\n| --- | --- |\n| a | b |\n").contains("\\fB"));
}

#[test]
fn wide_tables_are_terms() {
    let long = "w".repeat(MAX_LINE);
    let two = rendered(&format!("| Key | Is |\n| --- | --- |\n| `a` | {long} |\n| b | |\n"));
    assert_eq!(two, format!(".TP 7\n\\fBa\\fR\n{long}\n.TP 7\n\\fBb\\fR\n \n"));
    let three = rendered(&format!("| A | B | |\n| --- | --- | --- |\n| a | b | {long} |\n"));
    assert_eq!(three, format!(".TP 7\n\\fBa\\fR\n\\fIB:\\fR b; {long}\n"));
    let lines = rendered(&format!("| A | B | C |\n| - | - | - |\n| a | {long} | {long} |\n"));
    assert_eq!(lines, format!(".TP 7\n\\fBa\\fR\n\\fIB:\\fR {long}\n.br\n\\fIC:\\fR {long}\n"));
}

/// Too wide for a table, in columns.
const MAX_LINE: usize = 80;

#[test]
fn every_page_has_its_name() {
    for page in ManPage::value_variants() {
        let roff = page.roff();
        let (name, section) = (page.name(), page.section());
        assert!(page.markdown().starts_with(&format!("# {name}({section})\n")), "{name}");
        // The line that whatis(1) reads.
        let line = format!(".SH NAME\n.PP\n{} \\- ", name.replace('-', r"\-"));
        assert!(roff.contains(&line), "{name}");
    }
}

/// mqtt-lb(1) is handwritten, so this test checks that it has every command and every option.
#[test]
fn every_command_and_option_is_described() {
    let page = ManPage::MqttLb.markdown();
    let mut commands = vec![(String::new(), crate::cli::Cli::command())];
    while let Some((name, command)) = commands.pop() {
        for option in command.get_arguments().filter(|option| option.get_id() != "help") {
            let Some(long) = option.get_long() else { continue };
            let is_there = page.contains(&format!("--{long}"));
            assert!(is_there, "mqtt-lb.1.md does not describe --{long} of mqtt-lb{name}");
        }
        for sub in command.get_subcommands() {
            let path = format!("{name} {}", sub.get_name());
            let is_there = page.contains(&format!("### {}\n", sub.get_name()))
                || page.contains(&format!("| `{}", sub.get_name()));
            assert!(is_there, "mqtt-lb.1.md does not describe mqtt-lb{path}");
            commands.push((path, sub.clone()));
        }
    }
}

#[test]
fn the_page_of_a_schema() {
    let schema = json!({
        "type": "object",
        "required": ["pools"],
        "properties": {
            "pools": { "type": "array", "items": { "$ref": "#/$defs/Pool" }, "description": "Brokers." },
            "limits": { "$ref": "#/$defs/Limits", "default": {} },
        },
        "$defs": {
            "Pool": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": { "type": "string", "description": "Its name.\nIn logs." },
                    "tries": { "type": "integer", "minimum": 1, "maximum": 9, "default": 3 },
                    "tls": { "anyOf": [{ "$ref": "#/$defs/Tls" }, { "type": "null" }] },
                    "key": { "$ref": "#/$defs/Key", "default": "client_id", "description": "Hashed." },
                    "algorithm": { "enum": ["maglev", "ketama"], "default": "maglev" },
                },
            },
            "Tls": { "type": "object", "description": "To brokers.", "properties": {
                "ca": { "type": ["string", "null"], "description": "a | b" },
            } },
            "Limits": { "type": "object", "properties": {
                "idle": { "anyOf": [{ "type": "string", "title": "Duration" }, { "const": "none" }] },
                "to": { "type": "array", "items": { "type": "string" }, "default": [] },
            } },
            "Key": { "oneOf": [
                { "const": "client_id", "description": "The ID." },
                { "const": "sni", "description": "The host." },
            ] },
        },
    });
    let page = yaml_page(&schema);
    let (_, keys) = page.split_once("\n## pools\n").unwrap();
    assert_eq!(
        keys,
        "
Brokers.

A list; each entry has these keys:

| Key | Type | Default | Meaning |
| --- | --- | --- | --- |
| `name` | string | required | Its name. In logs. |
| `algorithm` | `maglev` or `ketama` | `maglev` | |
| `key` | `client_id` or `sni` | `client_id` | Hashed. `client_id`: The ID. `sni`: The host. |
| `tls` | mapping | | see [pools[].tls](#poolstls) |
| `tries` | integer, 1 to 9 | `3` | |

### pools[].tls

To brokers.

| Key | Type | Default | Meaning |
| --- | --- | --- | --- |
| `ca` | string | | a \\| b |

## limits

| Key | Type | Default | Meaning |
| --- | --- | --- | --- |
| `idle` | duration or `none` | | |
| `to` | list of string | `[]` | |

## See also

[mqtt-lb(1)](mqtt-lb.1.md), [mqtt-lb-ops(7)](mqtt-lb-ops.7.md)
"
    );
}

/// mqtt-lb.yaml(5) is generated from the schema that `deploy/` ships. To update it:
/// `UPDATE_PAGES=1 cargo test --lib cli::man`.
#[test]
fn the_page_of_the_configuration() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let Ok(schema) = fs::read_to_string(deploy.join("config.schema.json")) else { return };
    let generated = yaml_page(&serde_json::from_str(&schema).unwrap());
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(deploy.join("man/mqtt-lb.yaml.5.md"), &generated).unwrap();
    } else {
        let hint = "regenerate it: UPDATE_PAGES=1 cargo test --lib cli::man";
        assert!(generated == ManPage::Yaml.markdown(), "mqtt-lb.yaml.5.md is outdated; {hint}");
    }
}
