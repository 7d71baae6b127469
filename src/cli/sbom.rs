//! The command that tells what things consist of, `sbom`, and the same for what was just built.

use std::fs::File;

use pgproof::check::{Release, ReleaseError};
use pgproof::compression::Compression;
use pgproof::definitions::Definitions;
use pgproof::lockfile::Name;
use pgproof::output::{self, Companion, Output};
use pgproof::sbom::{self, Documents, Form, Sealed};
use pgproof::store::Store;
use pgproof::target::{Target, Triple};
use serde_json::{Value, json};

use super::arguments::{Sbom, SbomFormat};
use super::failure::Failure;
use super::{Answer, Session};

/// `pgproof sbom …`
pub(super) fn sbom(session: &Session, request: &Sbom) -> Result<Answer, Failure> {
    let documents = if request.own {
        sbom::of_pgproof()
    } else if let Some(version) = request.environment {
        let target = Target { version, triple: request.target.map_or_else(Triple::host, Ok)? };
        sbom::of_environment(&session.definitions, target, request.toolchain.as_ref())?
    } else {
        of_archives(session, request)?
    };
    if let Some(directory) = &request.out {
        let mut written = Vec::new();
        for form in Form::ALL.into_iter().filter(|form| request.format.is_none_or(|wanted| Form::from(wanted) == *form))
        {
            let name = file_name(&documents, form)?;
            output::publish_apart(&Companion { name: &name, bytes: documents.form(form) }, directory)?;
            written.push(directory.join(name.as_str()));
        }
        let text: Vec<_> = written.iter().map(|path| format!("wrote {}", path.display())).collect();
        return Ok(Answer::new(text.join("\n"), json!({ "name": documents.name, "written": written })));
    }
    let form = request.format.map_or(Form::Text, Form::from);
    let bytes = documents.form(form);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let document = match form {
        Form::Spdx | Form::CycloneDx => serde_json::from_slice(bytes).unwrap_or(Value::Null),
        Form::Text => json!(text),
    };
    Ok(Answer::verbatim(text, json!({ "name": documents.name, "document": document })))
}

/// The bills of materials that are published with what was built: the release's and its environment's.
pub(super) fn of_build(
    definitions: &Definitions,
    store: &Store,
    target: Target,
    toolchain: Option<&Name>,
    outputs: &[Output],
) -> Result<Vec<(Name, Vec<u8>)>, Failure> {
    let mut sealed = Vec::new();
    for output in outputs {
        let bytes = store.read(output.archive())?;
        sealed.push(Sealed { name: output.name().clone(), compression: Compression::Gzip, bytes });
    }
    let release = sbom::of_release(sealed, Some(&sbom::source(definitions, target)?))?;
    let environment = sbom::of_environment(definitions, target, toolchain)?;
    // The environment's is short enough as it is: a line for each package is what its lockfile has.
    let wanted = [(&release, &Form::ALL[..]), (&environment, &[Form::Spdx, Form::CycloneDx])];
    let mut files = Vec::new();
    for (documents, forms) in wanted {
        for form in forms {
            files.push((file_name(documents, *form)?, documents.form(*form).to_vec()));
        }
    }
    Ok(files)
}

fn file_name(documents: &Documents, form: Form) -> Result<Name, Failure> {
    Ok(format!("{}{}", documents.name, form.ending()).parse()?)
}

impl From<SbomFormat> for Form {
    fn from(format: SbomFormat) -> Self {
        match format {
            SbomFormat::Spdx => Self::Spdx,
            SbomFormat::Cyclonedx => Self::CycloneDx,
            SbomFormat::Text => Self::Text,
        }
    }
}

fn of_archives(session: &Session, request: &Sbom) -> Result<Documents, Failure> {
    let releases = request.archives.iter().map(|path| Release::open(path)).collect::<Result<Vec<_>, ReleaseError>>()?;
    let mut sealed = Vec::new();
    for release in &releases {
        let path = release.path();
        let failed = |source| Failure::File { action: "opened", path: path.to_owned(), source };
        let bytes = File::open(path).map_err(failed)?;
        sealed.push(Sealed { name: release.name().clone(), compression: release.compression(), bytes });
    }
    // What nobody here has locked is told without its tarball.
    let target = releases.iter().find_map(|release| Target::of_archive(release.stem()));
    let source = target.and_then(|target| sbom::source(&session.definitions, target).ok());
    let activity = session.ui.work("sbom");
    activity.now(&format!("{} archives", sealed.len()));
    let documents = sbom::of_release(sealed, source.as_ref())?;
    drop(activity);
    Ok(documents)
}
