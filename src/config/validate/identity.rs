//! Who the clients of a listener are.

use std::sync::Arc;

use super::{Checker, Valid, checker::given};
use crate::{
    config::{
        Identity, Jwt, PasswordRewrite, RequiredField, Requirement, Rewrite,
        at::At,
        raw::{self, ConnectCheck, List, OnExpiry},
        values::{MqttString, PatternText, TemplateText},
    },
    jwt,
    template::Template,
};

pub(super) fn identity(checker: &Checker<'_>, raw: &raw::Listener) -> Valid<Identity> {
    let jwt = given(raw.authenticate.as_ref(), |raw| authenticate(checker, raw));
    let require = require(checker, &raw.require);
    let rewrite = given(raw.rewrite.as_ref(), |raw| rewrite(checker, raw));
    let lenient = *raw.connect.get()? == ConnectCheck::Lenient;
    Ok(Identity { jwt: jwt?, require: require?, rewrite: rewrite?, lenient })
}

fn authenticate(checker: &Checker<'_>, raw: &At<raw::Authenticate>) -> Valid<Jwt> {
    let (raw, section) = (raw.get()?, raw.place());
    let keys_and_algorithms = "a mapping with keys and algorithms";
    let jwt = checker.required(&section, "jwt", &raw.jwt, keys_and_algorithms)?;
    let section = raw.jwt.place();
    let keys = checker
        .required(&section, "keys", &jwt.keys, jwt::KEYS)
        .and_then(|_| checker.file(&jwt.keys, jwt::KEYS, jwt::Keys::parse));
    let algorithms = checker
        .required(&section, "algorithms", &jwt.algorithms, "a list such as [ES256, RS256]")
        .and_then(|_| checker.some(&jwt.algorithms, |at| at.get().copied()));
    let text = |at: &At<MqttString>| at.get().map(|text| text.0.as_ref().into());
    let issuer = given(jwt.issuer.as_ref(), text);
    let audience = given(jwt.audience.as_ref(), text);
    let verifier = jwt::Verifier {
        keys: keys?.1,
        algorithms: algorithms?,
        issuer: issuer?,
        audience: audience?,
        leeway: jwt.leeway.get()?.0.as_secs(),
    };
    Ok(Jwt {
        from: *jwt.from.get()?,
        verifier: Arc::new(verifier),
        closes_on_expiry: *jwt.on_expiry.get()? == OnExpiry::Close,
    })
}

fn require(checker: &Checker<'_>, raw: &At<List<raw::Requirement>>) -> Valid<Vec<Requirement>> {
    let mut index = 0;
    let entries = raw.each(|entry| {
        let (entry, section) = (entry.get()?, entry.place());
        if entry.client_id.is_none() && entry.username.is_none() {
            let allowed = "a pattern for it; or username instead, or both";
            return Err(checker.missing(&section, "client_id", allowed));
        }
        let required = |field, at: Option<&At<PatternText>>| {
            given(at, |at| {
                let (pattern, line) = (at.get()?.0.clone(), at.place().position.line);
                Ok(Requirement { line, index, field, pattern })
            })
        };
        let client_id = required(RequiredField::ClientId, entry.client_id.as_ref());
        let username = required(RequiredField::Username, entry.username.as_ref());
        index += 1;
        Ok([client_id?, username?])
    });
    Ok(entries?.into_iter().flatten().flatten().collect())
}

fn rewrite(checker: &Checker<'_>, raw: &At<raw::Rewrite>) -> Valid<Rewrite> {
    let raw = raw.get()?;
    let template = |at: &At<TemplateText>| at.get().map(|template| template.0.clone());
    let client_id = given(raw.client_id.as_ref(), template);
    let username = given(raw.username.as_ref(), template);
    let password = password(checker, raw);
    let properties = given(raw.user_properties.as_ref(), |list| {
        checker.some(list, |entry| user_property(checker, entry))
    });
    Ok(Rewrite {
        client_id: client_id?,
        username: username?,
        password: password?,
        user_properties: properties?.unwrap_or_default(),
    })
}

fn password(checker: &Checker<'_>, raw: &raw::Rewrite) -> Valid<PasswordRewrite> {
    let file = given(raw.password_file.as_ref(), |file| checker.password(file))?;
    match (&raw.password, file) {
        (Some(at), Some(_)) => {
            let what = "cannot be combined with password_file";
            Err(checker.wrong(&at.place(), what, "one of password and password_file"))
        }
        (Some(at), None) => at.get().map(|_| PasswordRewrite::Remove),
        (None, Some(password)) => Ok(PasswordRewrite::Set(password)),
        (None, None) => Ok(PasswordRewrite::Keep),
    }
}

fn user_property(
    checker: &Checker<'_>,
    raw: &At<raw::UserProperty>,
) -> Valid<(Arc<str>, Template)> {
    let (raw, section) = (raw.get()?, raw.place());
    let name = checker.required(&section, "name", &raw.name, "a name");
    let value = checker.required(&section, "value", &raw.value, "text, with or without variables");
    Ok((name?.0.clone(), value?.0.clone()))
}
