//! Who must have signed, in the words of the command line. The words are cosign's.

use std::path::PathBuf;

use clap::Args;
use pgproof::bundle::{CertificateIdentity, Claim, Pattern, PatternError, PublicKey, Signer};

use super::failure::Failure;
use super::trust;

/// Who must have signed.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Who must have signed")]
#[expect(clippy::struct_field_names, reason = "they are the options' names, which are cosign's")]
pub(crate) struct Who {
    /// The identity in the signing certificate, exactly: an e-mail address, or a URI as of a workflow
    #[arg(long, value_name = "IDENTITY", conflicts_with = "certificate_identity_regexp")]
    certificate_identity: Option<String>,

    /// The same as a regular expression, which must match the whole identity
    #[arg(long, value_name = "EXPRESSION")]
    certificate_identity_regexp: Option<String>,

    /// Who attested the identity, exactly: the issuer's URL
    #[arg(long, value_name = "URL", conflicts_with = "certificate_oidc_issuer_regexp")]
    certificate_oidc_issuer: Option<String>,

    /// The same as a regular expression, which must match the whole URL
    #[arg(long, value_name = "EXPRESSION")]
    certificate_oidc_issuer_regexp: Option<String>,

    /// The repository of the GitHub workflow that signed: OWNER/NAME
    #[arg(long, value_name = "OWNER/NAME")]
    certificate_github_workflow_repository: Option<String>,

    /// The branch or tag of the GitHub workflow that signed: refs/…
    #[arg(long, value_name = "REF")]
    certificate_github_workflow_ref: Option<String>,

    /// The name of the GitHub workflow that signed
    #[arg(long, value_name = "NAME")]
    certificate_github_workflow_name: Option<String>,

    /// The commit of the GitHub workflow that signed
    #[arg(long, value_name = "COMMIT")]
    certificate_github_workflow_sha: Option<String>,

    /// The event that started the GitHub workflow that signed
    #[arg(long, value_name = "EVENT")]
    certificate_github_workflow_trigger: Option<String>,

    /// Any other claim of the signing certificate, exactly, such as source-repository-uri=URL; repeatable
    #[arg(long, value_name = "CLAIM=VALUE", value_parser = claim)]
    certificate_claim: Vec<(Claim, String)>,
}

fn claim(text: &str) -> Result<(Claim, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is not CLAIM=VALUE")?;
    if value.is_empty() {
        return Err("an empty value asks for nothing".to_owned());
    }
    let claim = name.parse::<Claim>().map_err(|error| error.to_string())?;
    Ok((claim, value.to_owned()))
}

impl Who {
    /// Everybody who was named, with these keys in PEM; empty if nobody was.
    pub(super) fn signers(&self, keys: &[PathBuf]) -> Result<Vec<Signer>, Failure> {
        let mut signers = Vec::new();
        let identity = pattern(self.certificate_identity.as_ref(), self.certificate_identity_regexp.as_ref())?;
        let issuer = pattern(self.certificate_oidc_issuer.as_ref(), self.certificate_oidc_issuer_regexp.as_ref())?;
        let claims = self.claims();
        match (identity, issuer) {
            (Some(identity), Some(issuer)) => {
                let mut signer = CertificateIdentity::new(identity, issuer);
                for (claim, wanted) in claims {
                    signer = signer.claiming(claim, Pattern::exact(wanted)?);
                }
                signers.push(Signer::Certificate(signer));
            }
            (None, None) if claims.is_empty() => {}
            // An identity is somebody's only together with who attested it.
            _ => {
                return Err(Failure::Usage(
                    "an identity is somebody's only together with who attested it: give both --certificate-identity and \
                     --certificate-oidc-issuer, or their -regexp forms",
                ));
            }
        }
        for path in keys {
            let key = PublicKey::from_pem(&trust::read(path)?)
                .map_err(|source| Failure::PublicKey { path: path.clone(), source })?;
            signers.push(Signer::Key(key));
        }
        Ok(signers)
    }

    /// Whether anything was said.
    pub(super) fn is_given(&self) -> bool {
        let identity = [
            &self.certificate_identity,
            &self.certificate_identity_regexp,
            &self.certificate_oidc_issuer,
            &self.certificate_oidc_issuer_regexp,
        ];
        identity.into_iter().any(Option::is_some) || !self.claims().is_empty()
    }

    fn claims(&self) -> Vec<(Claim, &str)> {
        let github = [
            (Claim::WorkflowRepository, &self.certificate_github_workflow_repository),
            (Claim::WorkflowRef, &self.certificate_github_workflow_ref),
            (Claim::WorkflowName, &self.certificate_github_workflow_name),
            (Claim::WorkflowSha, &self.certificate_github_workflow_sha),
            (Claim::WorkflowTrigger, &self.certificate_github_workflow_trigger),
        ];
        let github = github.into_iter().filter_map(|(claim, wanted)| Some((claim, wanted.as_deref()?)));
        github.chain(self.certificate_claim.iter().map(|(claim, wanted)| (*claim, wanted.as_str()))).collect()
    }
}

fn pattern(exact: Option<&String>, expression: Option<&String>) -> Result<Option<Pattern>, PatternError> {
    match (exact, expression) {
        (Some(text), _) => Pattern::exact(text).map(Some),
        (None, Some(text)) => Pattern::expression(text).map(Some),
        (None, None) => Ok(None),
    }
}
