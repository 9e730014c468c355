//! Where the clients of a listener may go.

use super::{Checker, DeclaredNames, Valid, checker::given, network_access::networks};
use crate::{
    config::{
        at::At,
        raw::{self, Entries, List},
        values::PatternText,
    },
    rules::{Action, Conditions, Percent, Rule, TextCondition, TextField, TextMatcher},
    template::{Pattern, Variable},
};

/// The most entries with `*` in a file: each is compared with every client.
const MAX_LISTED_PATTERNS: usize = 1000;

/// `valid_pools`: the pools have no fault.
pub(super) fn rules(
    checker: &Checker<'_>,
    raw: &At<List<raw::Rule>>,
    pools: &DeclaredNames,
    valid_pools: bool,
) -> Valid<Vec<Rule>> {
    let names = raw.get()?.iter().map(|rule| rule.value.as_ref().map(|rule| &rule.name));
    DeclaredNames::of(checker, names);
    raw.each(|rule| {
        let (raw, section) = (rule.get()?, rule.place());
        let name = checker.required(&section, "name", &raw.name, "a name");
        let when = raw.when.get().and_then(|when| conditions(checker, when));
        let percent = raw.when.get().and_then(|when| given(when.percent.as_ref(), At::get));
        let action = action(checker, rule, pools, valid_pools);
        Ok(Rule {
            name: name?.0.clone(),
            when: when?,
            percent: percent?.map_or(Percent::ALL, |percent| percent.0),
            action: action?,
        })
    })
}

fn action(
    checker: &Checker<'_>,
    rule: &At<raw::Rule>,
    pools: &DeclaredNames,
    valid_pools: bool,
) -> Valid<Action> {
    const ALLOWED: &str = "exactly one of them";
    let raw = rule.get()?;
    match (&raw.pool, &raw.refuse, &raw.redirect) {
        (Some(pool), None, None) => pools.find(checker, pool, valid_pools).map(Action::Pool),
        (None, Some(refusal), None) => refusal.get().copied().map(Action::Refuse),
        (None, None, Some(server)) => server.get().map(|server| Action::Redirect(server.0.clone())),
        (None, None, None) => {
            Err(checker.wrong(&rule.place(), "has none of pool, refuse and redirect", ALLOWED))
        }
        _ => Err(checker.wrong(
            &rule.place(),
            "has more than one of pool, refuse and redirect",
            ALLOWED,
        )),
    }
}

fn conditions(checker: &Checker<'_>, raw: &raw::When) -> Valid<Conditions> {
    let mut texts = Vec::new();
    for (field, entries) in [
        (TextField::Variable(Variable::ClientId), &raw.client_id),
        (TextField::Variable(Variable::Username), &raw.username),
        (TextField::Variable(Variable::Sni), &raw.sni),
        (TextField::Variable(Variable::TlsCn), &raw.tls_cn),
        (TextField::Variable(Variable::TlsSanUri), &raw.tls_san_uri),
        (TextField::Variable(Variable::TlsSanDns), &raw.tls_san_dns),
        (TextField::Path, &raw.path),
    ] {
        texts.extend(entries.as_ref().map(|entries| text_condition(checker, field, entries)));
    }
    for (key, entries) in &raw.claims.get()?.0 {
        let claim = key.parse().unwrap_or(Variable::ClientId);
        texts.push(text_condition(checker, TextField::Variable(claim), entries));
    }
    let source = given(raw.source.as_ref(), |entries| networks(checker, entries));
    let levels = given(raw.protocol_version.as_ref(), |versions| {
        let levels = versions.get()?.0.iter().map(|at| at.get().map(|version| version.0));
        levels.collect::<Valid<Vec<_>>>()
    });
    let flag = |at: &Option<At<bool>>| given(at.as_ref(), |at| at.get().copied());
    let (clean_start, has_password, will) =
        (flag(&raw.clean_start), flag(&raw.has_password), flag(&raw.will));
    Ok(Conditions {
        texts: texts.into_iter().collect::<Valid<_>>()?,
        source: source?,
        protocol_version: levels?,
        clean_start: clean_start?,
        has_password: has_password?,
        will: will?,
    })
}

fn text_condition(
    checker: &Checker<'_>,
    field: TextField,
    raw: &At<Entries<PatternText>>,
) -> Valid<TextCondition> {
    // Names in DNS are the same in either case (RFC 4343).
    let is_host = field == TextField::Variable(Variable::Sni);
    let mut matcher = TextMatcher::default();
    let written = checker.entries(raw, |at| {
        let PatternText(pattern) = at.get()?;
        Ok(if is_host { pattern.to_ascii_lowercase() } else { pattern.clone() })
    });
    let mut listed_patterns = 0;
    let listed = given(raw.get()?.file.as_ref(), |file| {
        checker.list_file(file, |entry| {
            let lower = is_host.then(|| entry.to_ascii_lowercase());
            let entry = lower.as_deref().unwrap_or(entry);
            if entry.contains('*') {
                listed_patterns += 1;
                if listed_patterns > MAX_LISTED_PATTERNS {
                    return Err(format!("more than {MAX_LISTED_PATTERNS} entries have a *"));
                }
                matcher.patterns.push(Pattern::literal(entry));
            } else if !matcher.listed.insert(entry) {
                return Err("the file has more than 4 GiB of text".to_owned());
            }
            Ok(())
        })
    });
    listed?;
    matcher.listed.shrink();
    for pattern in written? {
        // A list of texts is looked up at once, however long it is.
        let is_listed = pattern.as_text().is_some_and(|text| matcher.listed.insert(text));
        if !is_listed {
            matcher.patterns.push(pattern);
        }
    }
    Ok(TextCondition { field, matcher })
}
