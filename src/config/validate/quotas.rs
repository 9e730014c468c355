//! Quotas: limits on sessions by a template.

use super::{Checker, DeclaredNames, Valid};
use crate::{
    config::{Quota, USERNAME_QUOTA, at::At, fault::quote, raw},
    template::{Template, Variable},
};

/// The quotas of a section `limits`, of which `max_connections_per_username` is one.
pub(super) fn quotas(checker: &Checker<'_>, raw: &At<raw::Limits>) -> Valid<Vec<Quota>> {
    let limits = raw.get()?;
    let per_username = limits.max_connections_per_username.get().map(|limit| {
        limit.0.map(|max_connections| Quota {
            name: USERNAME_QUOTA.into(),
            key: Template::of(Variable::Username),
            max_connections,
        })
    });
    let names = limits.quotas.get()?.iter().map(|quota| quota.value.as_ref().map(|q| &q.name));
    DeclaredNames::of(checker, names);
    let quotas = limits.quotas.each(|raw| quota(checker, raw));
    Ok(per_username?.into_iter().chain(quotas?).collect())
}

fn quota(checker: &Checker<'_>, raw: &At<raw::Quota>) -> Valid<Quota> {
    let (raw, section) = (raw.get()?, raw.place());
    let name = checker.required(&section, "name", &raw.name, "a name").and_then(|name| {
        if *name.0 == *USERNAME_QUOTA {
            let what = format!("{} is the name of a limit", quote(&name.0));
            return Err(checker.wrong(&raw.name.place(), what, "another name"));
        }
        Ok(name.0.clone())
    });
    let allowed = "text with variables such as ${sni}";
    let key = checker.required(&section, "key", &raw.key, allowed).and_then(|key| {
        if key.0.variables().next().is_none() {
            let what = format!("{} has no variable", quote(&key.0.to_string()));
            return Err(checker.wrong(&raw.key.place(), what, allowed));
        }
        Ok(key.0.clone())
    });
    let number = "a whole number from 1 to 4294967295";
    let max = checker.required(&section, "max_connections", &raw.max_connections, number);
    Ok(Quota { name: name?, key: key?, max_connections: max?.0 })
}
