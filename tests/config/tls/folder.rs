//! A folder with a configuration and the files that it names.

use std::{fs, path::Path};

use mqtt_lb::testing::config::{Config, Faults};
use tempfile::TempDir;

use crate::{SMALLEST, with};

/// A folder in which configurations and their files lie.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, contents) in files {
            folder.write(name, contents);
        }
        folder
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), contents).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The smallest configuration with this `tls` in its listener, in line 5.
    pub(crate) fn listener(&self, tls: &str) -> Result<Config, Vec<String>> {
        self.parse(&with("    pool: brokers\n", &format!("    pool: brokers\n    tls: {tls}\n")))
    }

    /// The smallest configuration with this `tls` in its pool, in line 7.
    pub(crate) fn pool(&self, tls: &str) -> Result<Config, Vec<String>> {
        self.parse(&with("    upstreams:\n", &format!("    tls: {tls}\n    upstreams:\n")))
    }

    pub(crate) fn parse(&self, text: &str) -> Result<Config, Vec<String>> {
        let file = self.path().join("t.yaml");
        let prefix = format!("{}:", file.display());
        let lines = |faults: Faults| -> Vec<_> {
            let line = |line: &str| line.strip_prefix(&prefix).expect("the file's name").to_owned();
            faults.to_string().lines().map(line).collect()
        };
        let env = |name: &str| (name == "NAME").then(|| "cert".to_owned());
        Config::parse(text, &file, &env).map_err(lines)
    }

    /// The one thing that is said of a `tls` of the listener, after `listeners[0].tls`.
    #[track_caller]
    pub(crate) fn fault(&self, tls: &str) -> String {
        only(tls, self.listener(tls), "5:", ": listeners[0].tls")
    }

    /// The one thing that is said of a `tls` of the pool, after `pools[0].tls`.
    #[track_caller]
    pub(crate) fn pool_fault(&self, tls: &str) -> String {
        only(tls, self.pool(tls), "7:", ": pools[0].tls")
    }
}

#[track_caller]
fn only(tls: &str, parsed: Result<Config, Vec<String>>, line: &str, path: &str) -> String {
    let faults = parsed.expect_err(tls);
    assert_eq!(faults.len(), 1, "{tls}: {faults:#?}");
    faults[0]
        .strip_prefix(line)
        .and_then(|fault| fault.split_once(path))
        .map_or_else(|| panic!("{tls}: {faults:?}"), |(column, said)| format!("{column}{said}"))
}

#[test]
fn the_smallest_config_has_no_tls() {
    let config = Folder::new([]).parse(SMALLEST).unwrap();
    assert!(config.listeners[0].tls.is_none() && config.pools[0].tls.is_none());
}
