//! The dashboard: one page, which asks nobody but this proxy.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};

use super::{
    answer::{Answer, content_of, with},
    body::Body,
};

/// Only what is served here, and nothing inside of the page; no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    name: &'static str,
    text: &'static str,
    media_type: &'static str,
}

macro_rules! parts {
    ($($media_type:literal: $($name:literal)+;)+) => {
        &[$($(Part {
            name: $name,
            text: include_str!(concat!("dashboard/", $name)),
            media_type: $media_type,
        },)+)+]
    };
}

const PARTS: &[Part] = parts! {
    "text/html; charset=utf-8": "index.html";
    "text/css; charset=utf-8": "base.css" "dashboard.css" "narrow.css" "pools.css";
    "text/javascript; charset=utf-8":
        "api.js" "broker.js" "broker_actions.js" "broker_detail.js" "connection.js" "counts.js"
        "dashboard.js" "dialog.js" "dom.js" "format.js" "history.js" "log.js" "overview.js"
        "pool.js" "pools.js" "reload.js" "say.js" "search.js" "sign_in.js" "sparkline.js"
        "status_chips.js" "status_words.js" "theme.js" "warnings.js";
};

impl Part {
    /// At `/` is `index.html`.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        let name = match path.strip_prefix('/')? {
            "" => "index.html",
            name => name,
        };
        PARTS.iter().find(|part| part.name == name)
    }

    pub(super) fn answer(&self) -> Answer {
        let headers: [(HeaderName, &str); 2] =
            [(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")];
        let answer = content_of(Body::counted(self.text), self.media_type);
        headers.into_iter().fold(answer, |answer, (name, value)| with(answer, name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/dashboard");
        let mut there: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut served: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        there.sort();
        served.sort_unstable();
        assert_eq!(there, served);
    }
}
