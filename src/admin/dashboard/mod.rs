//! The dashboard: one page and its files, which loads nothing from elsewhere.

use hyper::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};

use super::{
    body::ResponseBody,
    response::{HttpResponse, with_body, with_header},
};

/// Scripts, styles and requests from this proxy only, nothing inline, and no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asset {
    name: &'static str,
    text: &'static str,
    media_type: &'static str,
}

macro_rules! assets {
    ($($media_type:literal: $($name:literal)+;)+) => {
        &[$($(Asset {
            name: $name,
            text: include_str!($name),
            media_type: $media_type,
        },)+)+]
    };
}

const ASSETS: &[Asset] = assets! {
    "text/html; charset=utf-8": "index.html";
    "text/css; charset=utf-8": "base.css" "dashboard.css" "narrow.css" "pools.css";
    "text/javascript; charset=utf-8":
        "api.js" "bans.js" "broker.js" "broker_actions.js" "broker_detail.js" "connection.js" "counts.js"
        "dashboard.js" "dialog.js" "dom.js" "duplicates.js" "format.js" "history.js" "log.js" "overview.js"
        "pool.js" "pools.js" "reload.js" "rule_actions.js" "rules.js" "say.js" "search.js" "sign_in.js" "sparkline.js"
        "status_chips.js" "status_words.js" "theme.js" "warnings.js";
};

impl Asset {
    /// The file at a path; `/` is `index.html`.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        let name = match path.strip_prefix('/')? {
            "" => "index.html",
            name => name,
        };
        ASSETS.iter().find(|asset| asset.name == name)
    }

    pub(super) fn response(&self) -> HttpResponse {
        let headers: [(HeaderName, &str); 2] =
            [(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")];
        let response = with_body(ResponseBody::counted(self.text), self.media_type);
        headers
            .into_iter()
            .fold(response, |response, (name, value)| with_header(response, name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/dashboard");
        let mut present: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "mod.rs")
            .collect();
        let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.name).collect();
        present.sort();
        served.sort_unstable();
        assert_eq!(present, served);
    }
}
