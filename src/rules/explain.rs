//! Why a rule decides about a client, or does not.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{client_facts::ClientFacts, percent::Percent, rule::Rule};

/// Whether a rule holds for a client, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub rule: Arc<str>,
    pub holds: bool,
    /// The first condition that is not met, or the share that decides.
    pub why: String,
}

/// The verdicts on the rules up to the first that holds, which decides. `rules`: with the shares in
/// force; `key_hash`: of the client's key, see [`Percent`].
pub(crate) fn explain<'a>(
    rules: impl IntoIterator<Item = (&'a Rule, Percent)>,
    client: &ClientFacts<'_>,
    key_hash: Option<u64>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (rule, percent) in rules {
        let verdict = verdict(rule, percent, client, key_hash);
        let holds = verdict.holds;
        verdicts.push(verdict);
        if holds {
            break;
        }
    }
    verdicts
}

fn verdict(
    rule: &Rule,
    percent: Percent,
    client: &ClientFacts<'_>,
    key_hash: Option<u64>,
) -> Verdict {
    let (holds, why) = match rule.when.unmet(client) {
        Some(unmet) if unmet.has_fact(client) => (false, format!("{unmet} does not match")),
        Some(unmet) => (false, format!("{unmet} is absent")),
        None if percent == Percent::ALL => (true, "all conditions hold".to_owned()),
        None => match key_hash {
            Some(hash) => {
                let share = Percent::of_client(hash);
                (percent.includes(key_hash), format!("share {share} of percent {percent}"))
            }
            None => (false, format!("no key for percent {percent}")),
        },
    };
    Verdict { rule: rule.name.clone(), holds, why }
}

/// `stolen: client_id does not match`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rules::{Action, Conditions, key_hash},
        template::ClientFields,
    };

    fn rule(name: &str, when: Conditions) -> Rule {
        Rule { name: name.into(), when, percent: Percent::ALL, action: Action::Pool(0) }
    }

    #[test]
    fn the_rules_up_to_the_first_that_holds() {
        let versions = |levels: &[u8]| Conditions {
            protocol_version: Some(levels.to_vec()),
            ..Conditions::default()
        };
        let password = Conditions { has_password: Some(true), ..Conditions::default() };
        let rules = [
            rule("old", versions(&[3])),
            rule("secret", password),
            rule("canary", Conditions::default()),
            rule("more", Conditions::default()),
            rule("rest", Conditions::default()),
        ];
        let percents = [10_000, 10_000, 2500, 2600, 10_000].map(Percent::from_hundredths);
        let fields = ClientFields {
            client_id: "dev-1",
            protocol_version: Some(5),
            ..ClientFields::default()
        };
        let client = ClientFacts { fields, ..ClientFacts::default() };
        let told = |hash| -> Vec<_> {
            let rules = rules.iter().zip(percents.map(Option::unwrap));
            explain(rules, &client, hash).iter().map(ToString::to_string).collect()
        };
        let common = ["old: protocol_version does not match", "secret: has_password is absent"];
        assert_eq!(
            told(Some(key_hash(b"dev-1"))),
            [
                &common[..],
                &["canary: share 25.89 of percent 25", "more: share 25.89 of percent 26"]
            ]
            .concat()
        );
        let without_key = [
            "canary: no key for percent 25",
            "more: no key for percent 26",
            "rest: all conditions hold",
        ];
        assert_eq!(told(None), [&common[..], &without_key].concat());
    }
}
