//! Certificates, keys and revocation lists, made as they are needed, and files of them.

use std::{fs, path::Path};

use mqtt_lb::config::{Config, Faults};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use tempfile::TempDir;

use crate::{SMALLEST, with};

pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Issued {
        let mut params = CertificateParams::new(leaf.hosts.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, leaf.name);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        (params.not_before, params.not_after) =
            (date_time_ymd(leaf.years.0, 1, 1), date_time_ymd(leaf.years.1, 1, 1));
        let key = KeyPair::generate_for(leaf.algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            cert: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// In which these serial numbers are revoked.
    pub(crate) fn crl(&self, serials: &[u64], next_update: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

pub(crate) struct Leaf {
    pub(crate) name: &'static str,
    pub(crate) hosts: Vec<String>,
    pub(crate) serial: u64,
    pub(crate) algorithm: &'static SignatureAlgorithm,
    /// From the first day of one to the first of the other.
    pub(crate) years: (i32, i32),
}

impl Leaf {
    pub(crate) fn new(name: &'static str, hosts: &[&str]) -> Self {
        Self {
            name,
            hosts: hosts.iter().map(ToString::to_string).collect(),
            serial: 7,
            algorithm: &PKCS_ECDSA_P256_SHA256,
            years: (2000, 4000),
        }
    }
}

pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

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
