//! An inventory as SPDX 2.3, in JSON (ISO/IEC 5962:2021 and the 2.3 specification).

use std::collections::{BTreeMap, BTreeSet};

use spdx_rs::models::{
    Algorithm as SpdxAlgorithm, Checksum, CreationInfo, DocumentCreationInformation, ExternalPackageReference,
    ExternalPackageReferenceCategory as Category, FileInformation, FileType, OtherLicensingInformationDetected,
    PackageInformation, PackageVerificationCode, PrimaryPackagePurpose, Relationship, RelationshipType, SPDX,
    SpdxExpression,
};

use super::inventory::{Algorithm, Component, File, Id, Inventory, Kind, Licence, Sum, Verb};
use super::{FORMAT, archive, release};

/// What nothing is said about.
const NOASSERTION: &str = "NOASSERTION";

/// The document's own identifier (clause 6.3).
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// The document's bytes.
pub(super) fn write(inventory: &Inventory) -> Vec<u8> {
    let files = by_component(inventory);
    let packages = inventory
        .components
        .iter()
        .map(|(id, component)| package(id, component, files.get(id).map_or(&[], Vec::as_slice)));
    let document = SPDX {
        document_creation_information: creation(inventory),
        package_information: packages.collect(),
        other_licensing_information_detected: texts(inventory),
        file_information: inventory.files.iter().map(file).collect(),
        snippet_information: Vec::new(),
        relationships: relationships(inventory),
        annotations: Vec::new(),
        spdx_ref_counter: 0,
    };
    let mut json = serde_json::to_vec_pretty(&document).expect("a document is JSON");
    json.push(b'\n');
    json
}

fn creation(inventory: &Inventory) -> DocumentCreationInformation {
    let uuid = inventory.uuid("SPDX");
    DocumentCreationInformation {
        spdx_version: "SPDX-2.3".to_owned(),
        data_license: "CC0-1.0".to_owned(),
        spdx_identifier: DOCUMENT.to_owned(),
        document_name: inventory.name.clone(),
        // Clause 6.5: unique, and under this address for who has none of their own. It need not lead anywhere.
        spdx_document_namespace: format!("https://spdx.org/spdxdocs/{}-{uuid}", inventory.name),
        external_document_references: Vec::new(),
        creation_info: CreationInfo {
            license_list_version: None,
            // Not this program's version: the document would change with it and say the same.
            creators: vec!["Organization: pgproof".to_owned(), format!("Tool: pgproof-sbom-{FORMAT}")],
            created: inventory.created.to_string().parse().expect("a time of one library is one of the other"),
            creator_comment: None,
        },
        document_comment: Some(inventory.comment.clone()),
        document_describes: Vec::new(),
    }
}

/// The files of each archive, and those of each component.
fn by_component(inventory: &Inventory) -> BTreeMap<&Id, Vec<&File>> {
    let mut files: BTreeMap<&Id, Vec<&File>> = BTreeMap::new();
    for file in &inventory.files {
        for id in std::iter::once(&file.archive).chain(&file.owner) {
            files.entry(id).or_default().push(file);
        }
    }
    files
}

fn package(id: &Id, component: &Component, files: &[&File]) -> PackageInformation {
    let organisation = |name: &'static str| format!("Organization: {name}");
    let security = component.cpe.iter().map(|cpe| (Category::Security, "cpe23Type", cpe));
    let manager = component.purl.iter().map(|purl| (Category::PackageManager, "purl", purl));
    let size = component.size.map(|size| format!("{size} bytes."));
    let comment: Vec<_> = component.comment.iter().cloned().chain(size).collect();
    PackageInformation {
        package_name: component.name.clone(),
        package_spdx_identifier: reference(id),
        package_version: component.version.clone(),
        package_file_name: component.file_name.clone(),
        package_supplier: Some(component.supplier.map_or_else(|| NOASSERTION.to_owned(), organisation)),
        package_originator: component.originator.map(organisation),
        package_download_location: component.origin.clone().unwrap_or_else(|| NOASSERTION.to_owned()),
        files_analyzed: Some(!files.is_empty()),
        package_verification_code: (!files.is_empty()).then(|| {
            let sums = files.iter().filter_map(|file| release::sha1(&file.sums));
            PackageVerificationCode::new(archive::verification_code(sums), Vec::new())
        }),
        package_checksum: component.sums.iter().map(checksum).collect(),
        // What the package's own authors say is the declared one; nobody here has drawn a conclusion of their own.
        concluded_license: Some(expression(NOASSERTION)),
        declared_license: Some(expression(component.licence.expression())),
        copyright_text: Some(NOASSERTION.to_owned()),
        package_comment: (!comment.is_empty()).then(|| comment.join(" ")),
        external_reference: security
            .chain(manager)
            .map(|(category, kind, locator)| {
                ExternalPackageReference::new(category, kind.to_owned(), locator.clone(), None)
            })
            .collect(),
        primary_package_purpose: Some(match component.kind {
            Kind::Archive => PrimaryPackagePurpose::Archive,
            Kind::Application => PrimaryPackagePurpose::Application,
            Kind::Library => PrimaryPackagePurpose::Library,
            Kind::Package => PrimaryPackagePurpose::Install,
            Kind::Image => PrimaryPackagePurpose::Container,
            Kind::Source => PrimaryPackagePurpose::Source,
        }),
        ..PackageInformation::default()
    }
}

fn file(file: &File) -> FileInformation {
    FileInformation {
        file_name: format!("./{}", file.path),
        file_spdx_identifier: reference(&file.id),
        file_type: file_type(&file.path).into_iter().collect(),
        file_checksum: file.sums.iter().map(checksum).collect(),
        ..FileInformation::default()
    }
}

/// Clause 8.3, where the name tells.
fn file_type(path: &str) -> Option<FileType> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "h" | "c" | "sql" | "pl" | "pm" | "sh" => Some(FileType::Source),
        "so" | "a" | "debug" => Some(FileType::Binary),
        "txt" | "sample" => Some(FileType::Text),
        _ if name.contains(".so.") || directory.ends_with("/bin") => Some(FileType::Binary),
        _ => None,
    }
}

/// The texts of the licences that no expression names.
fn texts(inventory: &Inventory) -> Vec<OtherLicensingInformationDetected> {
    let mut texts = BTreeMap::new();
    for component in inventory.components.values() {
        if let Licence::Text { id, name, text } = &component.licence {
            texts.entry(id.clone()).or_insert_with(|| OtherLicensingInformationDetected {
                license_identifier: id.clone(),
                extracted_text: text.clone(),
                license_name: name.clone(),
                license_cross_reference: Vec::new(),
                license_comment: None,
            });
        }
    }
    texts.into_values().collect()
}

fn relationships(inventory: &Inventory) -> Vec<Relationship> {
    let relation = |from: &str, kind, to: &str| Relationship::new(from, to, kind, None);
    let described =
        inventory.described.iter().map(|id| relation(DOCUMENT, RelationshipType::Describes, &reference(id)));
    let components = inventory.relations.iter().map(|one| {
        let kind = match one.verb {
            Verb::Contains => RelationshipType::Contains,
            Verb::DependsOn => RelationshipType::DependsOn,
            Verb::GeneratedFrom => RelationshipType::GeneratedFrom,
            Verb::BuildToolOf => RelationshipType::BuildToolOf,
            Verb::BuildDependencyOf => RelationshipType::BuildDependencyOf,
            Verb::DevDependencyOf => RelationshipType::DevDependencyOf,
        };
        relation(&reference(&one.from), kind, &reference(&one.to))
    });
    let files = inventory.files.iter().flat_map(|file| {
        let holders: BTreeSet<&Id> = std::iter::once(&file.archive).chain(&file.owner).collect();
        holders.into_iter().map(|holder| relation(&reference(holder), RelationshipType::Contains, &reference(&file.id)))
    });
    described.chain(components).chain(files).collect()
}

fn checksum(sum: &Sum) -> Checksum {
    let algorithm = match sum.algorithm {
        Algorithm::Sha1 => SpdxAlgorithm::SHA1,
        Algorithm::Sha256 => SpdxAlgorithm::SHA256,
        Algorithm::Sha512 => SpdxAlgorithm::SHA512,
    };
    Checksum::new(algorithm, &sum.hex)
}

fn expression(text: &str) -> SpdxExpression {
    SpdxExpression::parse(text).expect("expressions are declared, and a test parses all of them")
}

fn reference(id: &Id) -> String {
    format!("SPDXRef-{id}")
}
