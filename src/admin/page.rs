//! The dashboard: one page, which asks nobody but this proxy.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};

use super::answer::{Answer, content, with};

/// Only what is served here, and nothing inside of the page; no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Html,
    Script,
    Style,
}

impl Part {
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Html),
            "/dashboard.js" => Some(Self::Script),
            "/dashboard.css" => Some(Self::Style),
            _ => None,
        }
    }

    pub(super) fn answer(self) -> Answer {
        let (text, media_type) = match self {
            Self::Html => (include_str!("dashboard/index.html"), "text/html; charset=utf-8"),
            Self::Script => {
                (include_str!("dashboard/dashboard.js"), "text/javascript; charset=utf-8")
            }
            Self::Style => (include_str!("dashboard/dashboard.css"), "text/css; charset=utf-8"),
        };
        let headers: [(HeaderName, &str); 2] =
            [(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")];
        headers
            .into_iter()
            .fold(content(text, media_type), |answer, (name, value)| with(answer, name, value))
    }
}
