//! Certificates, keys and revocation lists, made as they are needed.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams,
    SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use time::OffsetDateTime;

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
        params.subject_alt_names.extend(leaf.names.clone());
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        (params.not_before, params.not_after) = leaf.valid;
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
    /// Alternative names other than `hosts`.
    pub(crate) names: Vec<SanType>,
    pub(crate) serial: u64,
    pub(crate) algorithm: &'static SignatureAlgorithm,
    pub(crate) valid: (OffsetDateTime, OffsetDateTime),
}

impl Leaf {
    pub(crate) fn new(name: &'static str, hosts: &[&str]) -> Self {
        Self {
            name,
            hosts: hosts.iter().map(ToString::to_string).collect(),
            names: Vec::new(),
            serial: 7,
            algorithm: &PKCS_ECDSA_P256_SHA256,
            valid: years(2000, 4000),
        }
    }
}

/// From the first day of one to the first of the other.
pub(crate) fn years(from: i32, to: i32) -> (OffsetDateTime, OffsetDateTime) {
    (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1))
}

pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

/// Takes any certificate, for the client to see which it was shown; offers all schemes where none are
/// named.
#[derive(Debug, Default)]
pub(crate) struct Curious(pub(crate) Vec<SignatureScheme>);

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        if self.0.is_empty() {
            let provider = aws_lc_rs::default_provider();
            return provider.signature_verification_algorithms.supported_schemes();
        }
        self.0.clone()
    }
}
