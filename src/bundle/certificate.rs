//! What a signing certificate says.

use std::collections::{BTreeMap, BTreeSet};

use sigstore_crypto::{CertificateInfo, parse_certificate_info};
use sigstore_types::DerCertificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::refused::Refused;
use super::signer::{CertificateIdentity, Claim};
use super::verified::{Identity, SignedBy};

/// A certificate that was read; nothing of it is proven.
pub(super) struct Certificate {
    pub(super) info: CertificateInfo,
    identity: String,
    issuer: String,
    claims: BTreeMap<Claim, String>,
}

impl Certificate {
    pub(super) fn parse(der: &DerCertificate) -> Result<Self, Refused> {
        let wrong = |reason: String| Refused::Certificate(reason);
        let info = parse_certificate_info(der).map_err(|error| wrong(error.to_string()))?;
        let parsed =
            x509_cert::Certificate::from_der(der.as_bytes()).map_err(|error| wrong(error.to_string()))?.tbs_certificate;
        // RFC 5280, section 4.2: of two equal extensions, two readers could each see another one.
        let mut seen = BTreeSet::new();
        for extension in parsed.extensions.iter().flatten() {
            if !seen.insert(extension.extn_id) {
                return Err(wrong(format!("it has the extension {} twice", extension.extn_id)));
            }
        }
        let names: Option<(bool, SubjectAltName)> = parsed.get().map_err(|error| wrong(error.to_string()))?;
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        // The crate takes the first of several names; another verifier may take another one.
        let [GeneralName::Rfc822Name(_) | GeneralName::UniformResourceIdentifier(_)] = names.as_slice() else {
            return Err(wrong(format!("it has {} names, not one e-mail address or URI", names.len())));
        };
        let identity = info.identity.as_ref().map(|name| name.as_str().to_owned());
        let identity = identity.ok_or_else(|| wrong("it has no identity".to_owned()))?;
        let issuer =
            info.issuer.clone().ok_or_else(|| wrong("it does not say who attested the identity".to_owned()))?;
        let claims = claims(&info);
        Ok(Self { info, identity, issuer, claims })
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether this is whom `wanted` describes; the error tells the first thing that is not so.
    pub(super) fn check(&self, wanted: &CertificateIdentity) -> Result<(), Refused> {
        if !wanted.identity().matches(&self.identity) {
            return Err(Refused::Identity { actual: self.identity.clone(), wanted: wanted.identity().to_string() });
        }
        if !wanted.issuer().matches(&self.issuer) {
            return Err(Refused::Issuer {
                identity: self.identity.clone(),
                actual: self.issuer.clone(),
                wanted: wanted.issuer().to_string(),
            });
        }
        for (&claim, wanted) in wanted.claims() {
            let actual = self.claims.get(&claim);
            if !actual.is_some_and(|actual| wanted.matches(actual)) {
                return Err(Refused::Claim { claim, actual: actual.cloned(), wanted: wanted.clone() });
            }
        }
        Ok(())
    }

    pub(super) fn into_signer(self) -> SignedBy {
        let identity = Identity::Certificate { identity: self.identity, issuer: self.issuer };
        SignedBy { identity, claims: self.claims }
    }
}

fn claims(info: &CertificateInfo) -> BTreeMap<Claim, String> {
    let (all, github) = (&info.ci_claims, &info.ci_claims.deprecated_github);
    let value = |claim| match claim {
        Claim::WorkflowTrigger => &github.workflow_trigger,
        Claim::WorkflowSha => &github.workflow_sha,
        Claim::WorkflowName => &github.workflow_name,
        Claim::WorkflowRepository => &github.workflow_repository,
        Claim::WorkflowRef => &github.workflow_ref,
        Claim::BuildSignerUri => &all.build_signer_uri,
        Claim::BuildSignerDigest => &all.build_signer_digest,
        Claim::RunnerEnvironment => &all.runner_environment,
        Claim::SourceRepositoryUri => &all.source_repository_uri,
        Claim::SourceRepositoryDigest => &all.source_repository_digest,
        Claim::SourceRepositoryRef => &all.source_repository_ref,
        Claim::SourceRepositoryIdentifier => &all.source_repository_identifier,
        Claim::SourceRepositoryOwnerUri => &all.source_repository_owner_uri,
        Claim::SourceRepositoryOwnerIdentifier => &all.source_repository_owner_identifier,
        Claim::BuildConfigUri => &all.build_config_uri,
        Claim::BuildConfigDigest => &all.build_config_digest,
        Claim::BuildTrigger => &all.build_trigger,
        Claim::RunInvocationUri => &all.run_invocation_uri,
        Claim::SourceRepositoryVisibility => &all.source_repository_visibility_at_signing,
        Claim::DeploymentEnvironment => &all.deployment_environment,
    };
    Claim::ALL.iter().filter_map(|&claim| Some((claim, value(claim).clone()?))).collect()
}
