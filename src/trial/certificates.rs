//! Fresh certificates for a server that lives for a minute.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// PEM files, by the names under which the test looks for them.
pub(super) struct Certificates {
    pub(super) files: Vec<(&'static str, String)>,
}

impl Certificates {
    /// An authority, a server's certificate of it for `localhost`, and another authority that has signed nothing.
    pub(super) fn fresh() -> Result<Self, rcgen::Error> {
        let (authority, authority_key) = authority("pgproof test authority")?;
        let (stranger, _) = self::authority("pgproof test stranger")?;
        let authority_pem = authority.clone().self_signed(&authority_key)?.pem();
        let stranger_pem = {
            let key = KeyPair::generate()?;
            stranger.self_signed(&key)?.pem()
        };
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(authority, authority_key);
        let server = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        Ok(Self {
            files: vec![
                ("authority.crt", authority_pem),
                ("server.crt", server.pem()),
                ("server.key", key.serialize_pem()),
                ("stranger.crt", stranger_pem),
            ],
        })
    }
}

fn authority(name: &str) -> Result<(CertificateParams, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok((params, KeyPair::generate()?))
}
